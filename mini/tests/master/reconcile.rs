//! Explicit and implicit reconciliation.

use marmoset_proto::mesos::v1::TaskState;
use serde_json::{Value, json};

use crate::support::{FakeAgent, Scheduler, cluster, framework, patient_framework, task};

fn explicit(tasks: Value) -> Value {
    json!({"type": "RECONCILE", "reconcile": {"tasks": tasks}})
}

#[tokio::test]
async fn answers_tell_what_the_master_knows() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let lost = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offers = scheduler.next("OFFERS").await;
    let offer = offers["offers"]["offers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|offer| offer["agent_id"]["value"] == agent.id.value)
        .unwrap()
        .clone();
    scheduler.launch(&offer, vec![task("a", &offer, 1.0), task("b", &offer, 1.0)]).await;
    let (framework_id, a, _) = agent.run_task().await;
    agent.run_task().await;
    agent.update_ahead(&framework_id, &a.task_id, TaskState::TaskRunning, TaskState::TaskFinished);
    scheduler.status().await;
    cluster.faults().set_leadership(marmoset_mini::Leadership::Leading);
    // The second agent is given up; its id is remembered.
    lost.disconnect();

    scheduler
        .ok(explicit(json!([
            {"task_id": {"value": "a"}, "agent_id": offer["agent_id"]},
            {"task_id": {"value": "never-was"}},
            {"task_id": {"value": "unknown-there"}, "agent_id": offer["agent_id"]},
            {"task_id": {"value": "b"}},
        ])))
        .await;
    for (id, state, message) in [
        // What the scheduler was told last, not what the agent knows by now.
        ("a", "TASK_RUNNING", "Reconciliation: Latest task state"),
        ("never-was", "TASK_UNKNOWN", "Reconciliation: Task is unknown"),
        ("unknown-there", "TASK_GONE", "Reconciliation: Task is unknown to the agent"),
        ("b", "TASK_STAGING", "Reconciliation: Latest task state"),
    ] {
        let status = scheduler.status().await;
        assert_eq!(status["task_id"]["value"], id);
        assert_eq!(status["state"], state, "{id}");
        assert_eq!(status["message"], message, "{id}");
        assert_eq!(status["reason"], "REASON_RECONCILIATION");
        assert_eq!(status["source"], "SOURCE_MASTER");
        assert!(status.get("uuid").is_none() && status.get("data").is_none(), "{status}");
        assert_eq!(status.get("executor_id").is_some(), id.len() == 1, "{status}");
        assert_eq!(status.get("agent_id").is_some(), id != "never-was", "{status}");
    }

    // Implicit: all, also what has ended and is not acknowledged.
    agent.update(&framework_id, &a.task_id, TaskState::TaskFinished);
    scheduler.status().await;
    scheduler.ok(explicit(json!([]))).await;
    for (id, state) in [("a", "TASK_FINISHED"), ("b", "TASK_STAGING")] {
        let status = scheduler.status().await;
        assert_eq!(status["task_id"]["value"], id);
        assert_eq!(status["state"], state);
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn frameworks_that_do_not_know_partitions_hear_of_lost_tasks() {
    let cluster = cluster().await;
    let mut info = framework();
    info["capabilities"] = json!([]);
    info["role"] = info["roles"][0].clone();
    info.as_object_mut().unwrap().remove("roles");
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), info).await;
    scheduler.ok(explicit(json!([{"task_id": {"value": "x"}}]))).await;
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_LOST");
    assert_eq!(status["message"], "Reconciliation: Task is unknown");
    cluster.shutdown().await;
}

#[tokio::test]
async fn operations_are_unknown() {
    let cluster = cluster().await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    scheduler
        .ok(json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": {
            "operations": [{"operation_id": {"value": "o"}}]}}))
        .await;
    let event = scheduler.expect("UPDATE_OPERATION_STATUS").await;
    assert_eq!(event["update_operation_status"]["status"]["state"], "OPERATION_UNKNOWN");
    cluster.shutdown().await;
}
