//! From bytes of a stream to events, and every way a stream can end.

use std::time::Duration;

use marmoset_http::{ClientConfig, StreamError};
use marmoset_proto::recordio::RecordIoError;
use tokio::time::Instant;

use crate::server::*;

#[tokio::test]
async fn records_and_chunks_are_independent() {
    let (mut subscription, mut peer, ..) = subscribed().await;
    // Byte by byte, then three at once with the beginning of a fourth, and an empty one.
    for byte in b"2\n\x08\x08" {
        peer.write(chunk([*byte])).await;
    }
    peer.write(chunk(b"2\n\x08\x082\n\x08\x082\n\x08\x082\n\x08")).await;
    peer.write(chunk(b"\x080\n")).await;
    for _ in 0..5 {
        assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
    }
    assert_eq!(subscription.next().await.unwrap().unwrap(), Default::default());
    peer.write("0\r\n\r\n").await;
    assert!(subscription.next().await.unwrap().is_none());
    peer.closed().await;
}

#[tokio::test]
async fn chunk_extensions_and_trailers_do_not_matter() {
    let (mut subscription, mut peer, ..) = subscribed().await;
    peer.write(b"4;x=y\r\n2\n\x08\x08\r\n0\r\nX-Y: z\r\n\r\n").await;
    assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
    assert!(subscription.next().await.unwrap().is_none());
}

#[tokio::test]
async fn waiting_for_an_event_can_be_cancelled() {
    let (mut subscription, mut peer, ..) = subscribed().await;
    peer.write(chunk(b"2\n\x08")).await;
    // The half record was read, and is kept.
    tokio::select! {
        biased;
        event = subscription.next() => panic!("{event:?}"),
        () = tokio::task::yield_now() => {}
    }
    peer.write(chunk(b"\x08")).await;
    assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
}

#[tokio::test]
async fn an_absurd_length_ends_the_stream_before_it_takes_memory() {
    let (mut subscription, mut peer, ..) = subscribed().await;
    peer.write(HEARTBEAT).await;
    peer.write(chunk(b"10000000000\n\x08")).await;
    assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
    let error = subscription.next().await.unwrap_err();
    assert!(error.ends_stream());
    let StreamError::Framing(RecordIoError::TooLarge { length, limit }) = error else {
        panic!("{error:?}");
    };
    assert_eq!((length, limit), (10_000_000_000, 64 << 20));
    assert!(subscription.next().await.unwrap().is_none());
    peer.closed().await;
}

#[tokio::test]
async fn what_is_no_length_ends_the_stream() {
    let (mut subscription, mut peer, ..) = subscribed().await;
    peer.write(chunk(b"<html>")).await;
    let error = subscription.next().await.unwrap_err();
    assert!(matches!(error, StreamError::Framing(RecordIoError::NotALength { .. })), "{error:?}");
    peer.closed().await;
}

#[tokio::test]
async fn an_end_within_a_record_is_told_apart_from_a_proper_one() {
    for start in [&b"2"[..], b"2\n", b"2\n\x08"] {
        let (mut subscription, mut peer, ..) = subscribed().await;
        peer.write([&chunk(start)[..], b"0\r\n\r\n"].concat()).await;
        let error = subscription.next().await.unwrap_err();
        assert!(matches!(error, StreamError::Truncated), "{error:?}");
        assert!(error.ends_stream());
        assert!(subscription.next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_stream_that_breaks_says_so_after_the_events_before() {
    // Without the last chunk; a malformed chunk; within a chunk.
    for end in [&b""[..], b"zz\r\n", b"ff\r\n2\n"] {
        let (mut subscription, mut peer, ..) = subscribed().await;
        peer.write([HEARTBEAT, end].concat()).await;
        drop(peer);
        assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
        let error = subscription.next().await.unwrap_err();
        assert!(matches!(error, StreamError::Broken(_)), "{error:?}");
        assert!(error.ends_stream());
        assert!(subscription.next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_reset_breaks_the_stream() {
    let (mut subscription, peer, ..) = subscribed().await;
    peer.reset();
    let error = subscription.next().await.unwrap_err();
    assert!(matches!(error, StreamError::Broken(_)), "{error:?}");
}

#[tokio::test]
async fn a_record_that_is_no_event_is_skipped() {
    let (mut subscription, mut peer, ..) = subscribed().await;
    peer.write(chunk(b"3\nzzz2\n\x08\x08")).await;
    let error = subscription.next().await.unwrap_err();
    assert!(!error.ends_stream());
    assert!(matches!(error, StreamError::Decode { length: 3, .. }), "{error:?}");
    assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
}

#[tokio::test]
async fn silence_is_noticed_and_any_record_breaks_it() {
    let silence = Some(Duration::from_secs(75));
    let (mut subscription, mut peer, ..) =
        subscribed_with(ClientConfig { silence, ..ClientConfig::default() }).await;
    tokio::time::pause();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(74)).await;
        peer.write(HEARTBEAT).await;
        assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
    }
    let before = Instant::now();
    let error = subscription.next().await.unwrap_err();
    assert_eq!(error.to_string(), "nothing heard for 75s");
    assert!(error.ends_stream());
    assert!(before.elapsed() >= Duration::from_secs(75));
    assert!(subscription.next().await.unwrap().is_none());
    peer.closed().await;
}

#[tokio::test]
async fn silence_is_not_what_arrived_while_nobody_looked() {
    let (mut subscription, mut peer, ..) = subscribed().await;
    tokio::time::pause();
    subscription.set_silence(Some(Duration::from_secs(75)));
    peer.write(HEARTBEAT).await;
    tokio::time::advance(Duration::from_secs(200)).await;
    assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
}

#[tokio::test]
async fn without_a_limit_a_stream_may_be_silent_for_days() {
    let (mut subscription, mut peer, ..) = subscribed_with(ClientConfig {
        silence: Some(Duration::from_secs(1)),
        ..Default::default()
    })
    .await;
    subscription.set_silence(None);
    tokio::time::pause();
    let speaking = async {
        tokio::time::sleep(Duration::from_secs(3 * 24 * 3600)).await;
        peer.write(HEARTBEAT).await;
    };
    let (event, ()) = tokio::join!(subscription.next(), speaking);
    assert_eq!(event.unwrap().unwrap(), heartbeat());
}

#[tokio::test]
async fn dropping_a_subscription_closes_its_connection() {
    let (subscription, peer, ..) = subscribed().await;
    drop(subscription);
    peer.closed().await;
}
