//! Documents: bounded ones in memory, large ones copied.

use marmoset_http::GetError;

use crate::server::*;

#[tokio::test]
async fn a_document_comes_whole() {
    let server = Server::start().await;
    let client = client();
    let path = "/files/read?path=%2Fvar%2Fx&offset=0&length=100";
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\n{\"d\r\n4\r\n\":1}\r\n0\r\n\r\n";
    let getting = client.get(&server.endpoint, path, 1000);
    let (body, (peer, request)) = tokio::join!(getting, server.answer(answer));
    assert_eq!(body.unwrap(), "{\"d\":1}");
    assert_eq!(request.line, format!("GET {path} HTTP/1.1"));
    assert_eq!(request.header("accept-encoding"), None);
    peer.closed().await;
}

#[tokio::test]
async fn a_document_past_the_limit_is_refused() {
    let server = Server::start().await;
    let client = client();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{}", "x".repeat(11));
    for (limit, fits) in [(10, false), (11, true)] {
        let getting = client.get(&server.endpoint, "/state", limit);
        let (body, _) = tokio::join!(getting, server.answer(&answer));
        assert_eq!(body.is_ok(), fits);
        if let Err(error) = body {
            let message = format!("`/state` of `{}` is larger than 10 bytes", server.endpoint);
            assert_eq!(error.to_string(), message);
        }
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let server = Server::start().await;
    let client = client();
    for (answer, shown) in [
        (plain("404 Not Found", "", "404 Not Found."), "has no `/files/read?path=x`"),
        (
            plain("400 Bad Request", "", "Expecting 'path=value' in query."),
            "refused `/files/read?path=x`: refused with status 400: Expecting 'path=value' in \
             query.",
        ),
        (
            plain("503 Service Unavailable", "", "No leader elected"),
            "refused `/files/read?path=x`: not ready yet (503): No leader elected",
        ),
    ] {
        let getting = client.get(&server.endpoint, "/files/read?path=x", 1000);
        let (body, _) = tokio::join!(getting, server.answer(answer));
        let error = body.unwrap_err();
        assert_eq!(error.to_string(), format!("`{}` {shown}", server.endpoint));
    }
    let error = client.get(&server.endpoint, "no path", 1000).await.unwrap_err();
    assert!(matches!(error, GetError::BadPath { .. }), "{error:?}");
}

#[tokio::test]
async fn a_follower_sends_to_the_leader() {
    let (follower, leader) = (Server::start().await, Server::start().await);
    let client = client();
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: //{}/master/state?x=1\r\n\
         Content-Length: 0\r\n\r\n",
        leader.endpoint
    );
    let (body, _, (_, request)) = tokio::join!(
        client.get(&follower.endpoint, "/master/state?x=1", 1000),
        follower.answer(redirect),
        leader.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    );
    assert_eq!(body.unwrap(), "{}");
    assert_eq!(request.line, "GET /master/state?x=1 HTTP/1.1");
}

#[tokio::test]
async fn a_download_of_any_size_is_copied() {
    let server = Server::start().await;
    let client = client();
    let content: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).into_bytes();
    answer.extend_from_slice(&content);
    let file = tempfile::NamedTempFile::new().unwrap();
    let to = tokio::fs::File::create(file.path()).await.unwrap();
    let downloading = client.download(&server.endpoint, "/files/download?path=x", to);
    let (length, _) = tokio::join!(downloading, server.answer(&answer));
    assert_eq!(length.unwrap(), 3_000_000);
    assert!(std::fs::read(file.path()).unwrap() == content);
}

#[tokio::test]
async fn a_download_that_breaks_or_stalls_or_cannot_be_written_fails() {
    let server = Server::start().await;
    let client = client();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";

    let mut to = Vec::new();
    let breaking = async { drop(server.answer(answer).await) };
    let (length, ()) = tokio::join!(client.download(&server.endpoint, "/x", &mut to), breaking);
    assert!(matches!(length, Err(GetError::Broken { .. })), "{length:?}");
    assert_eq!(to, b"abc");

    let full = tokio::fs::OpenOptions::new().write(true).open("/dev/full").await.unwrap();
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let (length, _) =
        tokio::join!(client.download(&server.endpoint, "/x", full), server.answer(whole));
    assert!(matches!(length, Err(GetError::Write { .. })), "{length:?}");

    let stalling = async {
        let answered = server.answer(answer).await;
        tokio::time::pause();
        answered
    };
    let (length, _peer) =
        tokio::join!(client.download(&server.endpoint, "/x", Vec::new()), stalling);
    assert!(matches!(length, Err(GetError::Timeout { .. })), "{length:?}");
}
