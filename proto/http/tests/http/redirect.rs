//! 307, as a master that does not lead answers.

use marmoset_http::{Auth, Client, ClientConfig, Refusal};

use crate::server::*;

fn to(location: &str) -> String {
    format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

fn to_server(server: &Server) -> String {
    to(&format!("//{}/api/v1/scheduler", server.endpoint))
}

#[tokio::test]
async fn the_leader_gets_the_same_request() {
    let (follower, leader) = (Server::start().await, Server::start().await);
    let auth = Auth::Basic { principal: "marmoset".into(), secret: "tamarin".into() };
    let client = Client::new(ClientConfig { auth, ..ClientConfig::default() }).unwrap();
    let (subscription, (_, mut asked), (_stream, mut led)) = tokio::join!(
        subscribe(&client, &follower),
        follower.answer(to_server(&leader)),
        leader.answer(STREAM)
    );
    let subscription = subscription.unwrap();
    assert_eq!(subscription.leader(), Some(&leader.endpoint));
    assert_eq!(subscription.endpoint(), &leader.endpoint);
    assert!(led.header("authorization").is_some());
    for request in [&mut asked, &mut led] {
        request.headers.retain(|(name, _)| name != "host");
    }
    assert_eq!(asked, led);
    // Calls go to the leader.
    let (calls, call) = (subscription.calls(), call("f"));
    let (answer, _) = tokio::join!(calls.send(&call), leader.answer(ACCEPTED));
    answer.unwrap();
}

#[tokio::test]
async fn a_second_redirect_is_left_to_the_caller() {
    let (one, two) = (Server::start().await, Server::start().await);
    let client = client();
    let (outcome, ..) = tokio::join!(
        subscribe(&client, &one),
        one.answer(to_server(&two)),
        two.answer(to("//m3:5050/api/v1/scheduler"))
    );
    let error = outcome.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.leader().unwrap().to_string(), "m3:5050");
    let message = format!("`{}` refused SUBSCRIBE: redirected to `m3:5050`", two.endpoint);
    assert_eq!(error.to_string(), message);
}

#[tokio::test]
async fn circles_are_detected() {
    let (one, two) = (Server::start().await, Server::start().await);
    let client = client();
    let (outcome, _) = tokio::join!(subscribe(&client, &one), one.answer(to_server(&one)));
    let error = outcome.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::RedirectLoop { to: one.endpoint.clone() }));
    assert!(error.is_retryable() && error.leader().is_none());

    let (outcome, ..) = tokio::join!(
        subscribe(&client, &one),
        one.answer(to_server(&two)),
        two.answer(to_server(&one))
    );
    let error = outcome.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::RedirectLoop { to: one.endpoint.clone() }));

    let (outcome, ..) = tokio::join!(
        subscribe(&client, &one),
        one.answer(to_server(&two)),
        two.answer(to_server(&two))
    );
    let error = outcome.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::RedirectLoop { to: two.endpoint.clone() }));
}

#[tokio::test]
async fn a_leader_that_is_gone_is_retryable() {
    let (follower, leader) = (Server::start().await, Server::start().await);
    let answer = to_server(&leader);
    let gone = leader.endpoint.clone();
    drop(leader);
    let client = client();
    let (outcome, _) = tokio::join!(subscribe(&client, &follower), follower.answer(answer));
    let error = outcome.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), format!("cannot reach `{gone}`"));
}

#[tokio::test]
async fn credentials_are_not_carried_just_anywhere() {
    for (answer, reason) in [
        (to("//m2:5050/login?next=api"), "it leads to another path"),
        (to("ftp://m2:5050/api/v1/scheduler"), "its scheme is neither `http` nor `https`"),
        (to("//:::/"), "it is no address"),
    ] {
        let error = refused(answer).await;
        assert!(error.is_fatal());
        assert!(
            error.to_string().ends_with(&format!("which is not followed: {reason}")),
            "{error}"
        );
    }
    // Without a Location it is the place itself.
    let error = refused("HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n").await;
    assert!(matches!(error.refusal(), Some(Refusal::RedirectLoop { .. })), "{error:?}");
}
