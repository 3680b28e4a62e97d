//! Order, answers and losses of calls.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use marmoset_http::{Answer, CallError, Calls, Client, ClientConfig, Refusal};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::server::*;

/// A handle whose connection is open, and the other end of it.
async fn open() -> (Calls, Peer<TcpStream>, Server, Client) {
    let (subscription, _stream, server, client) = subscribed().await;
    let calls = subscription.calls();
    let first = call("first");
    let (answer, (peer, request)) = tokio::join!(calls.send(&first), server.answer(ACCEPTED));
    assert_eq!(answer.unwrap(), Answer::Accepted);
    assert_eq!(request.call(), first);
    (calls, peer, server, client)
}

/// Sends one call and answers it on the same connection.
async fn exchange(
    calls: &Calls,
    peer: &mut Peer<TcpStream>,
    answer: &str,
) -> Result<Answer, CallError> {
    let next = call("next");
    let answering = async {
        assert_eq!(peer.request().await.call(), next);
        peer.write(answer).await;
    };
    tokio::join!(calls.send(&next), answering).0
}

#[tokio::test]
async fn a_call_carries_the_stream_id() {
    let (subscription, _stream, server, _) = subscribed().await;
    let (calls, call) = (subscription.calls(), call("f"));
    let (answer, (_peer, request)) = tokio::join!(calls.send(&call), server.answer(ACCEPTED));
    assert_eq!(answer.unwrap(), Answer::Accepted);
    assert_eq!(request.line, "POST /api/v1/scheduler HTTP/1.1");
    assert_eq!(request.header("mesos-stream-id"), Some("5df25fa7-8ba1-433d-af79-879aa66e71b3"));
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(request.header("accept"), Some("application/x-protobuf"));
}

#[tokio::test]
async fn calls_go_over_one_connection_one_by_one_in_order() {
    let (calls, mut peer, server, _) = open().await;
    let names: Vec<String> = (0..20).map(|index| format!("c{index}")).collect();
    let sending = async {
        let sends = names.iter().map(|name| {
            let (calls, call) = (calls.clone(), call(name));
            async move { calls.send(&call).await.unwrap() }
        });
        let mut sends: Vec<_> = sends.map(Box::pin).collect();
        for send in &mut sends {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(send.as_mut().poll(&mut cx).is_pending());
        }
        for send in sends {
            assert_eq!(send.await, Answer::Accepted);
        }
    };
    let answering = async {
        for name in &names {
            assert_eq!(peer.request().await.call(), call(name));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(peer.is_quiet(), "the next call did not wait for this answer");
            peer.write(ACCEPTED).await;
        }
    };
    tokio::join!(sending, answering);
    assert!(server.is_quiet());
    drop(calls);
    peer.closed().await;
}

#[tokio::test]
async fn each_handle_has_its_own_connection() {
    let (subscription, _stream, server, _) = subscribed().await;
    let (one, two, call) = (subscription.calls(), subscription.calls(), call("f"));
    let (answer, (mut first, _)) = tokio::join!(one.send(&call), server.answer(ACCEPTED));
    answer.unwrap();
    let (answer, (_second, _)) = tokio::join!(two.send(&call), server.answer(ACCEPTED));
    answer.unwrap();
    let answering = async {
        first.request().await;
        first.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (answer, ()) = tokio::join!(one.send(&call), answering);
    assert_eq!(answer.unwrap(), Answer::Done);
}

#[tokio::test]
async fn refusals_keep_the_connection_and_say_what_to_do() {
    let (calls, mut peer, server, _) = open().await;
    let mismatch = "The stream ID 'a' included in this request didn't match the stream ID \
                    currently associated with framework ID b";
    for (status, headers, body, expected) in [
        ("503 Service Unavailable", "", "Agent has not finished recovery", (true, false, false)),
        ("404 Not Found", "", "404 Not Found.", (true, false, false)),
        ("403 Forbidden", "", "Framework is not subscribed", (false, true, false)),
        ("400 Bad Request", "", mismatch, (false, true, false)),
        (
            "307 Temporary Redirect",
            "Location: //m2:5050/api/v1/scheduler\r\n",
            "",
            (false, true, false),
        ),
        ("400 Bad Request", "", "Framework cannot be found", (false, false, true)),
        ("401 Unauthorized", "", "401 Unauthorized.", (false, false, true)),
    ] {
        let error = exchange(&calls, &mut peer, &plain(status, headers, body)).await.unwrap_err();
        let reaction = (error.is_retryable(), error.needs_resubscribe(), error.is_fatal());
        assert_eq!(reaction, expected, "{error:?}");
        assert!(error.was_not_executed());
        assert!(error.to_string().contains(body), "{error}");
        if status.starts_with("307") {
            assert_eq!(error.leader().unwrap().to_string(), "m2:5050");
        }
    }
    assert_eq!(exchange(&calls, &mut peer, ACCEPTED).await.unwrap(), Answer::Accepted);
    assert!(server.is_quiet() && !calls.is_broken());
}

#[tokio::test]
async fn a_refusal_too_long_to_read_costs_only_the_connection() {
    let (calls, mut peer, server, _) = open().await;
    let answer = plain("400 Bad Request", "", &"x".repeat(100_000));
    let error = exchange(&calls, &mut peer, &answer).await.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Fatal { body, .. }) if body.len() < 9000));
    drop(peer);
    let next = call("next");
    let (answer, _) = tokio::join!(calls.send(&next), server.answer(ACCEPTED));
    answer.unwrap();
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_opened_anew() {
    let (calls, mut peer, server, _) = open().await;
    // The client closes its side when it has seen the end of the other.
    peer.stream.shutdown().await.unwrap();
    peer.closed().await;
    let next = call("next");
    let (answer, (mut peer, request)) = tokio::join!(calls.send(&next), server.answer(ACCEPTED));
    assert_eq!(answer.unwrap(), Answer::Accepted);
    assert_eq!(request.call(), next);
    // So is one that was announced to close.
    let closing = ACCEPTED.replace("Content", "Connection: close\r\nContent");
    exchange(&calls, &mut peer, &closing).await.unwrap();
    let (answer, _) = tokio::join!(calls.send(&next), server.answer(ACCEPTED));
    answer.unwrap();
}

#[tokio::test]
async fn after_a_lost_call_nothing_is_sent() {
    let (calls, mut peer, server, _) = open().await;
    let (one, two) = (call("one"), call("two"));
    let losing = async {
        assert_eq!(peer.request().await.call(), one);
        peer.reset();
    };
    let (first, second, ()) = tokio::join!(calls.send(&one), calls.send(&two), losing);
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    assert!(matches!(first, CallError::Broken { .. }), "{first:?}");
    assert!(first.needs_resubscribe() && !first.was_not_executed());
    assert!(matches!(second, CallError::NotSent { .. }), "{second:?}");
    assert!(second.needs_resubscribe() && second.was_not_executed());
    let third = calls.send(&two).await.unwrap_err();
    assert!(matches!(third, CallError::NotSent { .. }), "{third:?}");
    assert!(calls.is_broken() && server.is_quiet());
}

#[tokio::test]
async fn an_end_before_the_answer_loses_the_call() {
    for half in ["", "HTTP/1.1 202 Acc"] {
        let (calls, mut peer, ..) = open().await;
        let next = call("next");
        let losing = async {
            peer.request().await;
            peer.write(half).await;
            drop(peer);
        };
        let (answer, ()) = tokio::join!(calls.send(&next), losing);
        let error = answer.unwrap_err();
        assert!(matches!(error, CallError::Broken { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_call_without_answer_is_given_up_on() {
    let (calls, mut peer, server, _) = open().await;
    let next = call("next");
    let stalling = async {
        peer.request().await;
        tokio::time::pause();
        peer.closed().await;
    };
    let (answer, ()) = tokio::join!(calls.send(&next), stalling);
    let error = answer.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{}` did not answer a call within 30s", server.endpoint)
    );
    assert!(error.needs_resubscribe() && !error.was_not_executed());
    assert!(calls.is_broken());
}

#[tokio::test]
async fn without_a_connection_the_handle_is_broken() {
    let (subscription, stream, server, _) = subscribed().await;
    drop((server, stream));
    let calls = subscription.calls();
    let error = calls.send(&call("f")).await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error:?}");
    assert!(error.needs_resubscribe() && error.was_not_executed());
    let error = calls.send(&call("f")).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error:?}");
}

#[tokio::test]
async fn a_caller_that_stops_waiting_does_not_stop_the_call() {
    let (calls, mut peer, _, client) = open().await;
    let (left, next) = (call("left"), call("next"));
    {
        let mut leaving = pin!(calls.send(&left));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(leaving.as_mut().poll(&mut cx).is_pending());
    }
    let answering = async {
        assert_eq!(peer.request().await.call(), left);
        peer.write(ACCEPTED).await;
        assert_eq!(peer.request().await.call(), next);
        peer.write(ACCEPTED).await;
    };
    let (answer, ()) = tokio::join!(calls.send(&next), answering);
    answer.unwrap();
    drop(calls);
    client.drained().await;
    peer.closed().await;
}

#[tokio::test]
async fn something_else_that_took_over_the_port_is_named() {
    let (calls, mut peer, ..) = open().await;
    let error = exchange(&calls, &mut peer, "220 smtp ready\r\n").await.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::NotMesos { .. })), "{error:?}");
    assert!(error.is_fatal());
}

#[tokio::test]
async fn calls_of_the_chosen_encoding() {
    let config = ClientConfig { encoding: marmoset_http::Encoding::Json, ..Default::default() };
    let (subscription, _stream, server, _) = subscribed_with(config).await;
    let (calls, call) = (subscription.calls(), call("f"));
    let (answer, (_peer, request)) = tokio::join!(calls.send(&call), server.answer(ACCEPTED));
    answer.unwrap();
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.body, br#"{"framework_id":{"value":"f"},"type":"REVIVE"}"#);
}
