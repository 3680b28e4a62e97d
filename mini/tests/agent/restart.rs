//! The agent's own restart, as its executors see it.

use std::time::Duration;

use marmoset_mini::{
    AgentTimers,
    link::{ToAgent, ToMaster},
};
use marmoset_proto::mesos::v1::TaskState;
use serde_json::json;

use crate::{
    http::{PATIENCE, Stream, call, of_e, update},
    lone::{Lone, framework, idle},
};

async fn running(checkpoint: bool, timers: AgentTimers) -> (Lone, Stream) {
    let mut lone = Lone::start_with(timers).await;
    let framework = framework(checkpoint);
    lone.send(ToAgent::RunTask { framework, task: idle("a"), launch_executor: true });
    let probe = of_e("MESSAGE", "message", json!({"data": ""}));
    while call(lone.addr, &probe).await.body.starts_with("Framework") {}
    let mut stream = Stream::open(lone.addr, json!({})).await;
    call(lone.addr, &of_e("UPDATE", "update", update("a", "TASK_RUNNING", 1))).await;
    for expected in ["SUBSCRIBED", "LAUNCH a", "ACKNOWLEDGED a"] {
        assert_eq!(stream.told().await, expected);
    }
    lone.update().await;
    (lone, stream)
}

#[tokio::test]
async fn an_executor_finds_its_agent_again_and_nothing_is_lost() {
    let timers = AgentTimers {
        executor_reregistration_timeout: Duration::from_millis(1500),
        executor_shutdown_grace_period: Duration::from_millis(300),
        ..AgentTimers::default()
    };
    let (mut lone, mut stream) = running(true, timers).await;
    lone.agent.stop().await;
    assert_eq!(stream.told().await, "end");
    assert!(tokio::net::TcpStream::connect(lone.addr).await.is_err(), "nobody listens");
    assert!(matches!(lone.next().await, ToMaster::Disconnected { .. }));
    lone.agent.restart().await;
    let early = of_e("UPDATE", "update", update("a", "TASK_RUNNING", 2));
    let answer = call(lone.addr, &early).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "Agent has not finished recovery"));
    // The first 503 is for everybody, the later one for all but SUBSCRIBE.
    let subscribe = of_e("SUBSCRIBE", "subscribe", json!({}));
    let unready = async {
        loop {
            let mut socket = tokio::net::TcpStream::connect(lone.addr).await.unwrap();
            let text = subscribe.to_string();
            let head = format!(
                "POST /api/v1/executor HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{text}",
                text.len()
            );
            tokio::io::AsyncWriteExt::write_all(&mut socket, head.as_bytes()).await.unwrap();
            let mut start = [0; 12];
            tokio::io::AsyncReadExt::read_exact(&mut socket, &mut start).await.unwrap();
            if &start == b"HTTP/1.1 200" {
                return;
            }
            assert_eq!(&start, b"HTTP/1.1 503");
        }
    };
    tokio::time::timeout(PATIENCE, unready).await.unwrap();
    let mut stream = Stream::open(lone.addr, json!({})).await;
    assert_eq!(stream.told().await, "SUBSCRIBED");
    assert_eq!(call(lone.addr, &early).await.status, 503);
    let tasks = lone.accept_again().await;
    assert_eq!(tasks, [("a".into(), TaskState::TaskRunning)]);
    let (again, _) = lone.update().await;
    assert_eq!(again.uuid.as_ref().unwrap()[0], 1, "the update of before");
    lone.acknowledge(&again);
    assert_eq!(call(lone.addr, &early).await.status, 202);
    assert_eq!(stream.told().await, "ACKNOWLEDGED a");
    assert_eq!(lone.told().await, "a TASK_RUNNING SOURCE_EXECUTOR");
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn an_executor_that_stays_away_is_killed() {
    let timers = AgentTimers {
        executor_reregistration_timeout: Duration::from_millis(200),
        executor_shutdown_grace_period: Duration::from_millis(300),
        ..AgentTimers::default()
    };
    let (mut lone, _stream) = running(true, timers).await;
    lone.agent.restart().await;
    assert!(matches!(lone.next().await, ToMaster::Disconnected { .. }));
    lone.accept_again().await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match lone.next().await {
            ToMaster::ExitedExecutor { status, .. } => assert_eq!(status, 9),
            ToMaster::StatusUpdate { status, .. } => {
                lone.acknowledge(&status);
                seen.push(crate::lone::tell(&status));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        seen[1],
        "a TASK_GONE SOURCE_AGENT REASON_EXECUTOR_REREGISTRATION_TIMEOUT 'Executor did not reregister within 200ms'"
    );
    lone.agent.shutdown().await;
}

#[tokio::test]
async fn executors_of_others_are_strangers_to_a_restarted_agent() {
    let (mut lone, _stream) = running(false, AgentTimers::default()).await;
    lone.agent.restart().await;
    assert!(matches!(lone.next().await, ToMaster::Disconnected { .. }));
    assert_eq!(lone.accept_again().await, []);
    let answer = call(lone.addr, &of_e("SUBSCRIBE", "subscribe", json!({}))).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "Framework cannot be found"));
    lone.send(ToAgent::ReconcileTasks { framework: framework(false), tasks: vec!["a".into()] });
    assert_eq!(
        lone.told().await,
        "a TASK_DROPPED SOURCE_AGENT REASON_RECONCILIATION 'Reconciliation: task unknown to the agent'"
    );
    lone.agent.shutdown().await;
}
