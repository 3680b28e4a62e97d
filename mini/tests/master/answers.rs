//! Statuses, headers and bodies against those of a real master, byte for byte.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::cluster;

/// What a real Mesos answered: see the head of each case.
const RECORDED: &str = include_str!("../../testdata/http-answers.txt");

/// One recorded request to a master and its answer.
struct Case {
    title: String,
    method: String,
    path: String,
    headers: Vec<String>,
    body: String,
    /// Without `Date`, sorted.
    answer_headers: Vec<String>,
    status: String,
    answer: String,
}

#[tokio::test]
async fn answers_are_those_of_a_real_master() {
    let cluster = cluster().await;
    let cases = cases();
    assert!(cases.len() >= 14, "{}", cases.len());
    for case in cases {
        let (status, headers, body) = send(cluster.master_addr(), &case).await;
        let title = &case.title;
        assert_eq!(status, case.status, "{title}");
        let port = format!(":{}", cluster.master_addr().port());
        let headers = headers
            .iter()
            .map(|header| header.replace("localhost", "master.example").replace(&port, ":6050"))
            .collect::<Vec<_>>();
        assert_eq!(headers, case.answer_headers, "{title}");
        assert_eq!(body, case.answer, "{title}");
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn paths_have_their_long_form_and_unknown_ones_do_not_exist() {
    let cluster = cluster().await;
    for (path, expected) in [
        ("/master/health", "HTTP/1.1 200 OK"),
        ("/master/redirect", "HTTP/1.1 307 Temporary Redirect"),
        ("/master/api/v1/scheduler", "HTTP/1.1 405 Method Not Allowed"),
        ("/master", "HTTP/1.1 404 Not Found"),
        ("/redirect/more", "HTTP/1.1 404 Not Found"),
        ("/health/", "HTTP/1.1 404 Not Found"),
        ("/mastery/health", "HTTP/1.1 404 Not Found"),
        ("/tasks?limit=many", "HTTP/1.1 400 Bad Request"),
    ] {
        let case = Case {
            title: path.to_owned(),
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
            answer_headers: Vec::new(),
            status: String::new(),
            answer: String::new(),
        };
        let (status, ..) = send(cluster.master_addr(), &case).await;
        assert_eq!(status, expected, "{path}");
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let cluster = crate::support::cluster_with(|master| master.max_body = 100).await;
    let case = Case {
        title: String::new(),
        method: "POST".to_owned(),
        path: "/api/v1/scheduler".to_owned(),
        headers: vec!["Content-Type: application/json".to_owned()],
        body: "x".repeat(101),
        answer_headers: Vec::new(),
        status: String::new(),
        answer: String::new(),
    };
    let (status, _, body) = send(cluster.master_addr(), &case).await;
    assert_eq!(status, "HTTP/1.1 413 Payload Too Large");
    assert_eq!(body, "the request body is longer than 100 bytes");
    cluster.shutdown().await;
}

/// Sends a request as curl would and reads the answer until the server closes or is silent in
/// the middle of a stream.
async fn send(addr: SocketAddr, case: &Case) -> (String, Vec<String>, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut request = format!("{} {} HTTP/1.1\r\nHost: {addr}\r\n", case.method, case.path);
    for header in &case.headers {
        request += &format!("{header}\r\n");
    }
    if case.method == "POST" {
        request += &format!("Content-Length: {}\r\n", case.body.len());
    }
    request += "\r\n";
    request += &case.body;
    stream.write_all(request.as_bytes()).await.unwrap();

    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let chunked = head.contains("Transfer-Encoding: chunked");
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .map(|length| length.parse::<usize>().unwrap());
            let done = match length {
                Some(length) => body.len() >= length,
                None => chunked && body.ends_with("0\r\n\r\n"),
            };
            if done {
                if chunked {
                    // After a stream its connection ends.
                    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                }
                return split(head, body, chunked);
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the answer breaks off: {text}");
        answer.extend_from_slice(&buffer[..read]);
    }
}

fn split(head: &str, body: &str, chunked: bool) -> (String, Vec<String>, String) {
    let mut lines = head.lines();
    let status = lines.next().unwrap().to_owned();
    let body = if chunked {
        // One chunk and the terminating one.
        body.split("\r\n").nth(1).unwrap().to_owned()
    } else {
        body.to_owned()
    };
    (status, comparable(lines), body)
}

/// Headers without what differs from run to run, sorted.
fn comparable<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut headers = lines
        .filter(|line| !line.starts_with("Date: "))
        .map(|line| match line.split_once(": ") {
            Some(("Mesos-Stream-Id", _)) => "Mesos-Stream-Id: …".to_owned(),
            Some(_) | None => line.to_owned(),
        })
        .collect::<Vec<_>>();
    headers.sort();
    headers
}

fn cases() -> Vec<Case> {
    RECORDED
        .split("### ")
        .skip(1)
        .filter_map(|text| {
            let (title, rest) = text.split_once('\n')?;
            let (command, answer) = rest.split_once('\n')?;
            let (flags, target) = command.strip_prefix("$ curl -i ")?.rsplit_once("http://")?;
            let path = target.strip_prefix("MASTER")?;
            // The build is another one.
            if path == "/version" {
                return None;
            }
            let (head, body) = answer.split_once("\n\n").unwrap_or((answer, ""));
            let mut lines = head.lines();
            let status = lines.next()?.trim_end().to_owned();
            let (method, headers, sent) = request(flags);
            let body = body.trim_end_matches('\n');
            let body = match body.split_once('\n') {
                // A record: its length comes first, in the recording as on the wire.
                Some((length, _)) if length.parse::<usize>().is_ok() => body.to_owned(),
                Some(_) | None => body.to_owned(),
            };
            Some(Case {
                title: title.to_owned(),
                method,
                path: path.trim_end().to_owned(),
                headers,
                body: sent,
                answer_headers: comparable(lines.map(str::trim_end)),
                status,
                answer: body,
            })
        })
        .collect()
}

/// Reads the part of a curl command between `-i` and the URL.
fn request(flags: &str) -> (String, Vec<String>, String) {
    let mut headers = Vec::new();
    let mut rest = flags.trim();
    let mut body = None;
    let mut method = "GET";
    rest = rest.strip_prefix("-X POST").map_or(rest, |rest| {
        method = "POST";
        rest.trim_start()
    });
    while let Some(after) = rest.strip_prefix("-H ") {
        let end = [" -H ", " -d ", " --data-binary "]
            .iter()
            .filter_map(|next| after.find(next))
            .min()
            .unwrap_or(after.len());
        let header = &after[..end];
        // curl leaves a header without value out.
        if !header.ends_with(':') {
            headers.push(header.to_owned());
        }
        rest = after[end..].trim_start();
    }
    for flag in ["-d ", "--data-binary "] {
        if let Some(data) = rest.strip_prefix(flag) {
            body = Some(data.to_owned());
        }
    }
    (method.to_owned(), headers, body.unwrap_or_default())
}
