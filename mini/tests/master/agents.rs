//! Agents that go, come back, and are given up.

use std::time::Duration;

use marmoset_mini::link::ToAgent;
use marmoset_proto::mesos::v1::TaskState;
use serde_json::json;

use crate::support::{
    FakeAgent, Scheduler, cluster, cluster_with, framework, get, patient_framework, task,
};

#[tokio::test]
async fn without_checkpointing_tasks_are_lost_with_their_agent() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    agent.run_task().await;
    let rest = scheduler.offer().await;
    agent.disconnect();
    assert_eq!(scheduler.expect("RESCIND").await["rescind"]["offer_id"], rest["id"]);
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_LOST");
    assert_eq!(status["reason"], "REASON_AGENT_DISCONNECTED");
    assert_eq!(status["message"], "Agent a1 disconnected");
    assert!(status.get("uuid").is_none());

    agent.reregister(Vec::new()).await;
    let offer = scheduler.offer().await;
    assert_eq!(offer["resources"][1]["scalar"]["value"], 8.0);
    assert_eq!(offer["agent_id"]["value"], agent.id.value);
    cluster.shutdown().await;
}

#[tokio::test]
async fn with_checkpointing_they_wait_and_what_is_missing_is_asked_for() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("kept", &offer, 1.0), task("lost", &offer, 1.0)]).await;
    let (framework_id, kept, _) = agent.run_task().await;
    agent.run_task().await;
    scheduler.offer().await;
    agent.disconnect();
    scheduler.expect("RESCIND").await;
    agent.reregister(vec![(framework_id.clone(), kept, TaskState::TaskRunning)]).await;
    match agent.message().await {
        Some(ToAgent::ReconcileTasks { framework, tasks }) => {
            assert_eq!(framework.id.unwrap(), framework_id);
            assert_eq!(tasks, ["lost".into()]);
        }
        other => panic!("{other:?}"),
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_stays_away_is_unreachable_until_it_returns() {
    let cluster = cluster_with(|master| {
        master.timers.agent_timeout = Duration::from_millis(100);
    })
    .await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let (framework_id, info, _) = agent.run_task().await;
    agent.disconnect();
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_UNREACHABLE");
    assert_eq!(status["reason"], "REASON_AGENT_REMOVED");
    assert_eq!(status["message"], "Agent a1 is unreachable: health check timed out");
    assert!(status["unreachable_time"]["nanoseconds"].as_i64().unwrap() > 0);
    let failure = scheduler.next("FAILURE").await;
    assert_eq!(failure["failure"], json!({"agent_id": {"value": agent.id.value}}));
    let state = get(cluster.master_addr(), "/state").await;
    assert_eq!(state["unreachable_slaves"], 1.0);
    assert_eq!(state["frameworks"][0]["unreachable_tasks"][0]["id"], "t");
    scheduler
        .ok(json!({"type": "RECONCILE", "reconcile": {"tasks": [
            {"task_id": {"value": "t"}, "agent_id": offer["agent_id"]}]}}))
        .await;
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_UNREACHABLE");
    assert_eq!(status["message"], "Reconciliation: Task is unreachable");

    agent.reregister(vec![(framework_id, info, TaskState::TaskRunning)]).await;
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_RUNNING");
    assert_eq!(status["reason"], "REASON_AGENT_REREGISTERED");
    assert_eq!(status["message"], "Unreachable agent re-reregistered");
    assert!(status.get("uuid").is_none());
    let rest = scheduler.offer().await;
    assert_eq!(rest["resources"][1]["scalar"]["value"], 7.0, "the executor was not told of");
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_starts_anew_replaces_the_one_at_its_address() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    agent.run_task().await;
    let (old, rest) = (agent.id.clone(), scheduler.offer().await);
    agent.register_anew().await;
    assert_ne!(agent.id, old);
    assert_eq!(scheduler.expect("RESCIND").await["rescind"]["offer_id"], rest["id"]);
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_GONE");
    assert_eq!(status["reason"], "REASON_AGENT_REMOVED");
    assert_eq!(status["message"], "Agent a1 removed: a new agent registered at the same address");
    let failure = scheduler.next("FAILURE").await;
    assert_eq!(failure["failure"], json!({"agent_id": {"value": old.value}}));
    let offer = scheduler.offer().await;
    assert_eq!(offer["agent_id"]["value"], agent.id.value);
    assert_eq!(offer["resources"][1]["scalar"]["value"], 8.0);
    let state = get(cluster.master_addr(), "/state").await;
    assert_eq!(state["slaves"].as_array().unwrap().len(), 1);
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_vanishes_is_missed_when_it_is_spoken_to() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    agent.vanish();
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_LOST");
    assert_eq!(status["reason"], "REASON_AGENT_DISCONNECTED");
    agent.reregister(Vec::new()).await;
    assert_eq!(scheduler.offer().await["agent_id"]["value"], agent.id.value);
    cluster.shutdown().await;
}
