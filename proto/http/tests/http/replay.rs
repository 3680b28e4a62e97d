//! Recorded streams of a real master and a real agent, served again.

use marmoset_http::{EXECUTOR_PATH, StreamError, Subscription};
use marmoset_proto::Message;
use marmoset_proto::mesos::v1::{executor, scheduler};

use crate::server::*;

/// Serves a recording in pieces of `size` bytes; yields its events and its end.
async fn replay<E: Message>(
    recording: &[u8],
    size: usize,
) -> (Vec<E>, Option<String>, Result<(), StreamError>) {
    let server = Server::start().await;
    let client = client();
    let serving = async {
        let mut peer = server.accept().await;
        peer.request().await;
        for piece in recording.chunks(size) {
            peer.write(piece).await;
        }
    };
    let receiving = async {
        let call = subscribe_call();
        let mut subscription: Subscription<E> =
            client.subscribe(&server.endpoint, EXECUTOR_PATH, &call).await.unwrap();
        let id = subscription.stream_id().map(str::to_owned);
        let mut events = Vec::new();
        loop {
            match subscription.next().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, id, Ok(())),
                Err(error) => return (events, id, Err(error)),
            }
        }
    };
    tokio::join!(receiving, serving).0
}

fn scheduler_story(events: &[scheduler::Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let status = event.update.as_ref().map(|update| &update.status);
            match status {
                Some(status) => format!("{} {}", status.task_id, status.state().as_str_name()),
                None => event.r#type().as_str_name().to_owned(),
            }
        })
        .collect()
}

fn executor_story(events: &[executor::Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let task = match (&event.launch, &event.acknowledged) {
                (Some(launch), _) => format!(" {}", launch.task.task_id),
                (_, Some(acknowledged)) => format!(" {}", acknowledged.task_id),
                (None, None) => String::new(),
            };
            format!("{}{task}", event.r#type().as_str_name())
        })
        .collect()
}

#[tokio::test]
async fn scheduler_in_json() {
    let recording = include_bytes!("../../testdata/json-scheduler.http");
    for size in [1, 7, 1000, 100_000] {
        let (events, id, end) = replay::<scheduler::Event>(recording, size).await;
        end.unwrap();
        assert_eq!(id.as_deref(), Some("afd82c61-df64-45aa-924f-ba5db8367ec7"));
        assert_eq!(scheduler_story(&events), JSON_SCHEDULER, "{size}");
        let subscribed = events[0].subscribed.as_ref().unwrap();
        assert_eq!(subscribed.heartbeat_interval_seconds(), 15.0);
        assert_eq!(subscribed.master_info.as_ref().unwrap().hostname(), "master.example");
    }
}

#[tokio::test]
async fn scheduler_in_protobuf() {
    let recording = include_bytes!("../../testdata/proto-scheduler.http");
    for size in [1, 7, 1000, 100_000] {
        let (events, id, end) = replay::<scheduler::Event>(recording, size).await;
        end.unwrap();
        assert_eq!(id.as_deref(), Some("5df25fa7-8ba1-433d-af79-879aa66e71b3"));
        assert_eq!(scheduler_story(&events), PROTO_SCHEDULER, "{size}");
    }
}

#[tokio::test]
async fn executor_in_json() {
    let recording = include_bytes!("../../testdata/json-executor.http");
    for size in [1, 7, 1000, 100_000] {
        let (events, id, end) = replay::<executor::Event>(recording, size).await;
        // The agent closes without a last chunk once the executor is gone.
        assert!(matches!(end, Err(StreamError::Broken(_))), "{end:?}");
        assert_eq!(id, None);
        assert_eq!(executor_story(&events), JSON_EXECUTOR, "{size}");
    }
}

#[tokio::test]
async fn executor_in_protobuf() {
    let recording = include_bytes!("../../testdata/proto-executor.http");
    for size in [1, 7, 1000, 100_000] {
        let (events, id, end) = replay::<executor::Event>(recording, size).await;
        assert!(matches!(end, Err(StreamError::Broken(_))), "{end:?}");
        assert_eq!(id, None);
        assert_eq!(executor_story(&events), PROTO_EXECUTOR, "{size}");
    }
}

const JSON_SCHEDULER: &[&str] = &[
    "SUBSCRIBED",
    "HEARTBEAT",
    "OFFERS",
    "used-offer TASK_DROPPED",
    "ok TASK_STARTING",
    "fail TASK_STARTING",
    "longer TASK_STARTING",
    "hc TASK_STARTING",
    "ok TASK_RUNNING",
    "fail TASK_RUNNING",
    "longer TASK_RUNNING",
    "longer TASK_RUNNING",
    "never-was TASK_UNKNOWN",
    "hc TASK_STARTING",
    "fail TASK_RUNNING",
    "longer TASK_RUNNING",
    "ok TASK_RUNNING",
    "never-was TASK_UNKNOWN",
    "hc TASK_RUNNING",
    "ok TASK_FINISHED",
    "fail TASK_FAILED",
    "longer TASK_KILLED",
    "OFFERS",
    "OFFERS",
    "hc TASK_FINISHED",
    "OFFERS",
];

const PROTO_SCHEDULER: &[&str] = &[
    "SUBSCRIBED",
    "HEARTBEAT",
    "OFFERS",
    "t0 TASK_RUNNING",
    "t0 TASK_FINISHED",
    "t1 TASK_RUNNING",
    "t1 TASK_FINISHED",
    "t2 TASK_RUNNING",
    "t3 TASK_RUNNING",
    "t2 TASK_FINISHED",
    "t4 TASK_RUNNING",
    "t5 TASK_RUNNING",
    "t4 TASK_FINISHED",
    "t3 TASK_FINISHED",
    "t5 TASK_FINISHED",
];

const JSON_EXECUTOR: &[&str] = &[
    "SUBSCRIBED",
    "LAUNCH ok",
    "LAUNCH fail",
    "LAUNCH longer",
    "LAUNCH hc",
    "ACKNOWLEDGED ok",
    "ACKNOWLEDGED fail",
    "ACKNOWLEDGED longer",
    "ACKNOWLEDGED hc",
    "ACKNOWLEDGED ok",
    "ACKNOWLEDGED fail",
    "ACKNOWLEDGED longer",
    "ACKNOWLEDGED hc",
    "KILL",
    "MESSAGE",
    "ACKNOWLEDGED ok",
    "ACKNOWLEDGED fail",
    "ACKNOWLEDGED longer",
    "ACKNOWLEDGED hc",
    "SHUTDOWN",
];

const PROTO_EXECUTOR: &[&str] = &[
    "SUBSCRIBED",
    "LAUNCH t0",
    "LAUNCH t1",
    "LAUNCH t2",
    "LAUNCH t3",
    "LAUNCH t4",
    "LAUNCH t5",
    "ACKNOWLEDGED t0",
    "ACKNOWLEDGED t0",
    "ACKNOWLEDGED t1",
    "ACKNOWLEDGED t1",
    "ACKNOWLEDGED t2",
    "ACKNOWLEDGED t2",
    "ACKNOWLEDGED t3",
    "ACKNOWLEDGED t3",
    "ACKNOWLEDGED t4",
    "ACKNOWLEDGED t4",
    "ACKNOWLEDGED t5",
    "ACKNOWLEDGED t5",
    "SHUTDOWN",
];
