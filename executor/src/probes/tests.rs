//! Real servers on the loopback, good and bad.

use std::{net::Ipv6Addr, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server that answers each request with what a function makes of its target.
struct Server {
    address: SocketAddr,
    /// Everything that was asked.
    requests: mpsc::UnboundedReceiver<String>,
    _tasks: JoinSet<()>,
}

type Answers = fn(target: &str, port: u16) -> String;

async fn serve(bind: &str, tls: bool, answers: Answers) -> Server {
    let listener = TcpListener::bind(bind).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, requests) = mpsc::unbounded_channel();
    let acceptor = tls.then(acceptor);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (told, acceptor) = (told.clone(), acceptor.clone());
            connections.spawn(async move {
                match acceptor {
                    None => talk(stream, &told, answers, address.port()).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            talk(stream, &told, answers, address.port()).await;
                        }
                    }
                }
            });
        }
    });
    Server { address, requests, _tasks: tasks }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    told: &mpsc::UnboundedSender<String>,
    answers: Answers,
    port: u16,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let answer = answers(&target, port);
    let _ = told.send(head);
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// One that signs its own certificate, for another name.
fn acceptor() -> TlsAcceptor {
    let key = rcgen::generate_simple_self_signed(["elsewhere.example".to_string()]).unwrap();
    let certificate = CertificateDer::from(key.cert.der().to_vec());
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
}

fn redirect(code: u16, to: &str) -> String {
    format!("HTTP/1.1 {code} See\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

async fn get(address: SocketAddr, tls: bool, path: &str) -> Answer {
    let mut probes = Probes::default();
    probes.get(ProbeId(1), Page { tls, address, path: path.into() });
    let (id, answer) = timeout(PATIENCE, probes.next()).await.unwrap();
    assert_eq!(id, ProbeId(1));
    answer
}

fn reason(answer: Answer) -> String {
    match answer {
        Answer::Nothing { reason } | Answer::NotConnected { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_code_of_a_page() {
    let mut server = serve("127.0.0.1:0", false, |target, _| match target {
        "/ok?a=b%20c" => status("200 OK"),
        "/old" => "HTTP/1.0 204 No Content\r\n\r\n".to_string(),
        "/not-modified" => status("304 Not Modified"),
        _ => status("503 Service Unavailable"),
    })
    .await;
    for (path, code) in
        [("/ok?a=b c", 200), ("/old", 204), ("/not-modified", 304), ("/bad#fragment", 503)]
    {
        assert_eq!(get(server.address, false, path).await, Answer::Responded { code }, "{path}");
    }
    let head = server.requests.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("get /ok?a=b%20c http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {}\r\n", server.address)), "{head}");
}

#[tokio::test]
async fn redirects_are_followed_to_the_last_answer() {
    let server = serve("127.0.0.1:0", false, |target, port| match target {
        "/a" => redirect(302, "/b?x"),
        "/b?x" => redirect(307, &format!("http://localhost:{port}/c/d")),
        "/c/d" => redirect(301, "../e"),
        "/e" => status("418 Teapot"),
        "/nowhere" => status("301 Moved"),
        "/round" => redirect(302, "/round"),
        "/away" => redirect(302, "ftp://example.com/"),
        _ => redirect(302, "http://[broken"),
    })
    .await;
    for (path, code) in [("/a", 418), ("/nowhere", 301)] {
        assert_eq!(get(server.address, false, path).await, Answer::Responded { code }, "{path}");
    }
    for (path, text) in [
        ("/round", "redirected more than 50 times, at last to `http://127.0.0.1:"),
        ("/away", "redirected to `ftp://example.com/`, which is neither http nor https"),
        ("/broken", "`http://[broken` is no address of a page"),
    ] {
        let reason = reason(get(server.address, false, path).await);
        assert!(reason.starts_with(text), "{reason}");
    }
}

#[tokio::test]
async fn certificates_do_not_matter() {
    let server = serve("127.0.0.1:0", true, |_, _| status("200 OK")).await;
    assert_eq!(get(server.address, true, "/").await, Answer::Responded { code: 200 });
    // The wrong way round.
    let reason = reason(get(server.address, false, "/").await);
    assert!(reason.starts_with("no answer to `GET http://127.0.0.1:"), "{reason}");
}

#[tokio::test]
async fn a_redirect_may_lead_to_tls() {
    let secure = serve("127.0.0.1:0", true, |_, _| status("202 Accepted")).await;
    static PORT: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    PORT.set(secure.address.port()).unwrap();
    let plain = serve("127.0.0.1:0", false, |_, _| {
        redirect(302, &format!("https://127.0.0.1:{}/", PORT.get().unwrap()))
    })
    .await;
    assert_eq!(get(plain.address, false, "/").await, Answer::Responded { code: 202 });
}

#[tokio::test]
async fn what_is_no_answer() {
    let server = serve("127.0.0.1:0", false, |target, _| match target {
        "/short" => "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi".to_string(),
        "/silent" => String::new(),
        _ => "220 smtp\r\n".to_string(),
    })
    .await;
    for path in ["/short", "/silent", "/other"] {
        let reason = reason(get(server.address, false, path).await);
        assert!(reason.starts_with("no answer to `GET http://127.0.0.1:"), "{reason}");
    }
    let gone = server.address;
    drop(server);
    let text = format!("cannot connect to {gone}: Connection refused");
    assert!(reason(get(gone, false, "/").await).starts_with(&text));
}

#[tokio::test]
async fn connections() {
    for bind in ["127.0.0.1:0".to_string(), format!("[{}]:0", Ipv6Addr::LOCALHOST)] {
        let Ok(listener) = TcpListener::bind(&bind).await else {
            crate::skipped::skip("connections", &format!("{bind} cannot be bound on this machine"));
            continue;
        };
        let address = listener.local_addr().unwrap();
        let mut probes = Probes::default();
        probes.connect(ProbeId(1), address);
        assert_eq!(
            timeout(PATIENCE, probes.next()).await.unwrap(),
            (ProbeId(1), Answer::Connected)
        );
        drop(listener);
        probes.connect(ProbeId(2), address);
        let (id, answer) = timeout(PATIENCE, probes.next()).await.unwrap();
        assert_eq!(id, ProbeId(2));
        let text = format!("cannot connect to {address}: Connection refused");
        assert!(reason(answer).starts_with(&text));
    }
}

#[tokio::test]
async fn what_is_abandoned_gives_no_answer_and_lets_go_of_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut probes = Probes::default();
    // Nobody answers it.
    probes.get(ProbeId(1), Page { tls: false, address, path: "/".into() });
    let accepted = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream
    };
    let mut stream = tokio::select! {
        answer = probes.next() => panic!("{answer:?}"),
        stream = accepted => stream,
    };
    assert!(probes.abandon(ProbeId(1)));
    assert!(!probes.abandon(ProbeId(1)), "once");
    let mut rest = Vec::new();
    let closed = async { stream.read_to_end(&mut rest).await };
    tokio::select! {
        answer = probes.next() => panic!("{answer:?}"),
        closed = timeout(PATIENCE, closed) => {
            // With an end or a reset.
            let _ = closed.expect("the connection is closed");
        }
    }
}
