//! What SUBSCRIBE sends, and what its answers mean.

use marmoset_http::{
    Auth, Client, ClientConfig, ConnectError, EXECUTOR_PATH, Encoding, Refusal, SubscribeError,
    Subscription,
};
use marmoset_proto::mesos::v1::{executor, scheduler};

use crate::server::*;

#[tokio::test]
async fn the_request_is_exactly_what_mesos_expects() {
    for (encoding, media_type) in
        [(Encoding::Protobuf, "application/x-protobuf"), (Encoding::Json, "application/json")]
    {
        let server = Server::start().await;
        let client = Client::new(ClientConfig { encoding, ..ClientConfig::default() }).unwrap();
        let (subscription, (_peer, request)) =
            tokio::join!(subscribe(&client, &server), server.answer(STREAM));
        assert_eq!(request.line, "POST /api/v1/scheduler HTTP/1.1");
        let length = request.body.len().to_string();
        let host = server.endpoint.to_string();
        let agent = concat!("marmoset/", env!("CARGO_PKG_VERSION"));
        let mut headers = request.headers.clone();
        headers.sort();
        let expected = [
            ("accept", media_type),
            ("content-length", &length),
            ("content-type", media_type),
            ("host", &host),
            ("user-agent", agent),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(request.call(), subscribe_call());
        let subscription = subscription.unwrap();
        assert_eq!(subscription.stream_id(), Some("5df25fa7-8ba1-433d-af79-879aa66e71b3"));
        assert_eq!(subscription.endpoint(), &server.endpoint);
        assert_eq!(subscription.leader(), None);
    }
}

#[tokio::test]
async fn executors_have_no_stream_id() {
    let server = Server::start().await;
    let client = client();
    let call = executor::Call {
        executor_id: "e".into(),
        framework_id: "f".into(),
        r#type: Some(executor::call::Type::Subscribe.into()),
        subscribe: Some(executor::call::Subscribe::default()),
        ..executor::Call::default()
    };
    let stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/x-protobuf\r\n\r\n";
    let subscribing = client.subscribe(&server.endpoint, EXECUTOR_PATH, &call);
    let (subscription, (_peer, request)) = tokio::join!(subscribing, server.answer(stream));
    let subscription: Subscription<executor::Event> = subscription.unwrap();
    assert_eq!(request.line, "POST /api/v1/executor HTTP/1.1");
    assert_eq!(subscription.stream_id(), None);
    let calls = subscription.calls();
    let (answer, (_peer, request)) = tokio::join!(calls.send(&call), server.answer(ACCEPTED));
    answer.unwrap();
    assert_eq!(request.header("mesos-stream-id"), None);
}

#[tokio::test]
async fn credentials_go_with_every_request_and_never_show() {
    let basic = Auth::Basic { principal: "marmoset".into(), secret: "tamarin".into() };
    for (auth, expected) in [
        (basic, "Basic bWFybW9zZXQ6dGFtYXJpbg=="),
        (Auth::Bearer("tamarin".into()), "Bearer tamarin"),
    ] {
        let server = Server::start().await;
        let client = Client::new(ClientConfig { auth, ..ClientConfig::default() }).unwrap();
        let (subscription, (_stream, request)) =
            tokio::join!(subscribe(&client, &server), server.answer(STREAM));
        assert_eq!(request.header("authorization"), Some(expected));
        let subscription = subscription.unwrap();
        let (calls, call) = (subscription.calls(), call("f"));
        let (answer, (_peer, request)) = tokio::join!(calls.send(&call), server.answer(ACCEPTED));
        answer.unwrap();
        assert_eq!(request.header("authorization"), Some(expected));
        for shown in [format!("{client:?}"), format!("{subscription:?}"), format!("{calls:?}")] {
            assert!(!shown.contains("tamarin") && !shown.contains("dGFtYXJpbg"), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_refused_framework_is_an_event() {
    let server = Server::start().await;
    let client = client();
    let error = r#"{"type":"ERROR","error":{"message":"Framework has been removed"}}"#;
    let record = format!("{}\n{error}", error.len());
    let answer =
        [STREAM.replace("x-protobuf", "json").as_bytes(), &chunk(record), b"0\r\n\r\n"].concat();
    let (subscription, _peer) = tokio::join!(subscribe(&client, &server), server.answer(answer));
    // Asked in protobuf, answered in JSON: the answer's own type decides.
    let mut subscription = subscription.unwrap();
    let event = subscription.next().await.unwrap().unwrap();
    assert_eq!(event.r#type(), scheduler::event::Type::Error);
    assert_eq!(event.error.unwrap().message, "Framework has been removed");
    assert!(subscription.next().await.unwrap().is_none());
    assert!(subscription.next().await.unwrap().is_none());
}

#[tokio::test]
async fn not_ready_is_retryable() {
    for (status, body) in [
        ("404 Not Found", "404 Not Found."),
        ("503 Service Unavailable", "Agent has not finished recovery"),
        ("503 Service Unavailable", "No leader elected"),
    ] {
        let error = refused(plain(status, "", body)).await;
        assert!(error.is_retryable() && !error.is_fatal());
        let Some(Refusal::NotReady { body: told, .. }) = error.refusal() else {
            panic!("{error:?}");
        };
        assert_eq!(told, body);
    }
}

#[tokio::test]
async fn unauthorized_tells_what_the_server_asks_for() {
    let error = refused(plain(
        "401 Unauthorized",
        "WWW-Authenticate: Basic realm=\"mesos-master-scheduler\"\r\n",
        "401 Unauthorized.",
    ))
    .await;
    assert!(error.is_fatal());
    assert!(error.to_string().contains("check principal and secret"), "{error}");
    let refusal = error.refusal().unwrap();
    assert_eq!(
        refusal,
        &Refusal::Unauthorized {
            challenge: Some("Basic realm=\"mesos-master-scheduler\"".to_owned()),
            body: "401 Unauthorized.".to_owned(),
        }
    );
}

#[tokio::test]
async fn wrong_requests_are_fatal_with_the_servers_words() {
    for (status, body) in [
        ("400 Bad Request", "Failed to validate scheduler::Call: Expecting 'type' to be present"),
        ("406 Not Acceptable", "Expecting 'Accept' to allow 'application/x-protobuf' or …"),
        ("415 Unsupported Media Type", "Expecting 'Content-Type' of application/json or …"),
    ] {
        let error = refused(plain(status, "", body)).await;
        assert!(error.is_fatal());
        assert!(error.to_string().contains(body), "{error}");
    }
}

#[tokio::test]
async fn whatever_else_listens_there_is_named() {
    let html = "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Type: text/html\r\n\
         Content-Length: 6\r\n\r\n<html>";
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let post = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    for (answer, found) in [
        (html, "`nginx` answered 404 with content of type `text/html`"),
        (page, "it answered 200 with content of type `text/html`"),
        (post, "it answered 202 with no content type"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "it does not speak HTTP (if it expects TLS, write `https://`)"),
        (
            "\x15\x03\x03\x00\x02\x02\x0a",
            "it does not speak HTTP (if it expects TLS, write `https://`)",
        ),
    ] {
        let error = refused(answer).await;
        assert!(error.is_fatal());
        assert!(error.to_string().contains(found), "{error}");
        assert!(error.to_string().contains("check host and port"), "{error}");
        assert!(matches!(error.refusal(), Some(Refusal::NotMesos { .. })));
    }
}

#[tokio::test]
async fn an_endless_complaint_is_cut() {
    let config = ClientConfig { max_error_body: 100, ..ClientConfig::default() };
    let client = Client::new(config).unwrap();
    let server = Server::start().await;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 10000000000\r\n\r\n{}",
        "x".repeat(5000)
    );
    let (outcome, (peer, _)) = tokio::join!(subscribe(&client, &server), server.answer(answer));
    let error = outcome.unwrap_err();
    let Some(Refusal::Fatal { status: 400, body }) = error.refusal() else { panic!("{error:?}") };
    assert_eq!(*body, format!("{} […]", "x".repeat(100)));
    peer.closed().await;
}

#[tokio::test]
async fn a_complaint_that_stalls_does_not_hold_up_the_refusal() {
    let server = Server::start().await;
    let client = client();
    let answering = async {
        let answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\nFail";
        let answered = server.answer(answer).await;
        tokio::time::pause();
        answered
    };
    let (outcome, _peer) = tokio::join!(subscribe(&client, &server), answering);
    let error = outcome.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Fatal { status: 400, .. })), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_retryable() {
    let server = Server::start().await;
    let endpoint = server.endpoint.clone();
    drop(server);
    let subscribing =
        client().subscribe::<_, scheduler::Event>(&endpoint, "/x", &subscribe_call()).await;
    let error = subscribing.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), format!("cannot reach `{endpoint}`"));
    let SubscribeError::Connect { source: ConnectError::Io { source, .. }, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_retryable() {
    for half in ["", "HTTP/1.1 200 OK\r\nTransfer-Enc"] {
        let server = Server::start().await;
        let client = client();
        let answering = async { drop(server.answer(half).await) };
        let (outcome, ()) = tokio::join!(subscribe(&client, &server), answering);
        let error = outcome.unwrap_err();
        assert!(matches!(error, SubscribeError::Broken { .. }), "{error:?}");
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn slow_headers_are_given_up_on() {
    for start in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chu"] {
        let server = Server::start().await;
        let client = client();
        let answering = async {
            let answered = server.answer(start).await;
            tokio::time::pause();
            answered
        };
        let (outcome, _peer) = tokio::join!(subscribe(&client, &server), answering);
        let error = outcome.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(
            error.to_string(),
            format!("`{}` did not answer SUBSCRIBE within 30s", server.endpoint)
        );
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_sent_is_refused() {
    let server = Server::start().await;
    let (client, call) = (client(), subscribe_call());
    for path in ["", "a b", "/x\r\nHost: y"] {
        let subscribing = client.subscribe::<_, scheduler::Event>(&server.endpoint, path, &call);
        let error = subscribing.await.unwrap_err();
        assert!(error.is_fatal());
        assert!(matches!(error, SubscribeError::BadPath { .. }), "{error:?}");
    }
}
