//! Just enough of an HTTP client to be an executor in JSON, or a dashboard.

use std::{net::SocketAddr, time::Duration};

use marmoset_proto::recordio;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything should take; a test that waits for it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Gets a path.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Answer {
    request(addr, "GET", path, &[], b"").await
}

/// Makes a call in JSON.
pub(crate) async fn call(addr: SocketAddr, call: &Value) -> Answer {
    let headers = [("Content-Type", "application/json")];
    request(addr, "POST", "/api/v1/executor", &headers, call.to_string().as_bytes()).await
}

/// A call of executor `e` of framework `f`.
pub(crate) fn of_e(kind: &str, name: &str, content: Value) -> Value {
    let mut call = json!({
        "type": kind, "framework_id": {"value": "f"}, "executor_id": {"value": "e"},
    });
    call[name] = content;
    call
}

/// An UPDATE of executor `e`, with this number as uuid.
pub(crate) fn update(task: &str, state: &str, number: u8) -> Value {
    use base64::Engine as _;
    let uuid = uuid::Builder::from_random_bytes([number; 16]).into_uuid();
    let uuid = base64::engine::general_purpose::STANDARD.encode(uuid.as_bytes());
    json!({"status": {
        "task_id": {"value": task}, "state": state, "source": "SOURCE_EXECUTOR", "uuid": uuid,
    }})
}

/// A subscription in JSON.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    raw: Vec<u8>,
    records: recordio::Decoder,
}

impl Stream {
    /// Subscribes as executor `e`; must be accepted.
    pub(crate) async fn open(addr: SocketAddr, subscribe: Value) -> Self {
        let body = of_e("SUBSCRIBE", "subscribe", subscribe).to_string();
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let head = format!(
            "POST /slave%281%29/api/v1/executor HTTP/1.1\r\nHost: {addr}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut stream = Self { socket, raw: Vec::new(), records: recordio::Decoder::new(1 << 20) };
        let end = loop {
            if let Some(end) = stream.raw.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            assert!(stream.fill().await, "the connection ended in the head");
        };
        let head = String::from_utf8(stream.raw.drain(..end + 4).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("content-type: application/json\r\n"), "{head}");
        assert!(lower.contains("transfer-encoding: chunked\r\n"), "{head}");
        stream
    }

    async fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        // A connection that is reset has ended, too.
        let read = timeout(PATIENCE, self.socket.read(&mut piece)).await.expect("an event in time");
        let length = read.unwrap_or(0);
        self.raw.extend_from_slice(&piece[..length]);
        length > 0
    }

    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(record) = self.records.next().unwrap() {
                return Some(serde_json::from_slice(&record).unwrap());
            }
            let line = self.raw.windows(2).position(|window| window == b"\r\n");
            let size = line.map(|end| {
                let text = std::str::from_utf8(&self.raw[..end]).unwrap();
                (usize::from_str_radix(text, 16).unwrap(), end + 2)
            });
            match size {
                Some((0, _)) => return None,
                Some((size, start)) if self.raw.len() >= start + size + 2 => {
                    self.records.push(&self.raw[start..start + size]);
                    self.raw.drain(..start + size + 2);
                }
                Some(_) | None => {
                    if !self.fill().await {
                        return None;
                    }
                }
            }
        }
    }

    /// The next event in short: its type and what it is about.
    pub(crate) async fn told(&mut self) -> String {
        let Some(event) = self.next().await else { return "end".to_owned() };
        let kind = event["type"].as_str().unwrap();
        let id = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        match kind {
            "LAUNCH" => format!("LAUNCH {}", id(&event["launch"]["task"]["task_id"])),
            "KILL" => format!("KILL {}", id(&event["kill"]["task_id"])),
            "ACKNOWLEDGED" => format!("ACKNOWLEDGED {}", id(&event["acknowledged"]["task_id"])),
            "MESSAGE" => format!("MESSAGE {}", event["message"]["data"].as_str().unwrap()),
            _ => kind.to_owned(),
        }
    }
}
