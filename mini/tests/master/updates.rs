//! Status updates, acknowledgements, kills and messages.

use marmoset_mini::link::ToAgent;
use marmoset_proto::mesos::v1::TaskState;
use serde_json::json;

use crate::support::{
    FakeAgent, Scheduler, amount, cluster, command_task, framework, get, patient_framework, task,
};

#[tokio::test]
async fn a_task_is_over_when_its_terminal_update_is_acknowledged() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let (framework_id, info, _) = agent.run_task().await;
    let rest = scheduler.offer().await;

    // The latest state is ahead: resources are free although the scheduler knows of RUNNING only.
    let finished = TaskState::TaskFinished;
    agent.update_ahead(&framework_id, &info.task_id, TaskState::TaskRunning, finished);
    let running = scheduler.expect("UPDATE").await["update"]["status"].clone();
    assert_eq!(running["state"], "TASK_RUNNING");
    assert_eq!(running["data"], "ZGF0YQ==");
    let freed = scheduler.offer().await;
    assert_eq!(amount(&freed, "cpus"), 1.0);
    scheduler.acknowledge(&running).await;
    match agent.message().await {
        Some(ToAgent::Acknowledge { task_id, uuid, .. }) => {
            assert_eq!(task_id, info.task_id);
            assert_eq!(uuid.len(), 16);
        }
        other => panic!("{other:?}"),
    }
    let state = get(cluster.master_addr(), "/state").await;
    assert_eq!(state["frameworks"][0]["tasks"][0]["state"], "TASK_FINISHED");

    agent.update(&framework_id, &info.task_id, finished);
    let status = scheduler.status().await;
    // Until it is acknowledged the id is taken.
    scheduler.launch(&rest, vec![task("t", &rest, 1.0)]).await;
    assert_eq!(scheduler.status().await["message"], "Task has duplicate ID: t");
    scheduler.acknowledge(&status).await;
    let state = get(cluster.master_addr(), "/state").await;
    let framework = &state["frameworks"][0];
    assert_eq!(framework["tasks"], json!([]));
    let statuses = framework["completed_tasks"][0]["statuses"].as_array().unwrap();
    let states = statuses.iter().map(|status| &status["state"]).collect::<Vec<_>>();
    assert_eq!(states, ["TASK_RUNNING", "TASK_FINISHED"]);
    assert!(statuses[0].get("data").is_none());
    cluster.shutdown().await;
}

#[tokio::test]
async fn updates_wait_for_a_framework_that_is_away() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let (framework_id, info, _) = agent.run_task().await;
    let mut again = patient_framework();
    again["id"] = scheduler.id.clone();
    cluster.faults().cut_scheduler_streams().await;
    while scheduler.event().await.is_some() {}
    agent.update(&framework_id, &info.task_id, TaskState::TaskRunning);

    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), again).await;
    // The agent is told that the framework is back, and sends what waits.
    assert!(matches!(agent.message().await, Some(ToAgent::UpdateFramework { .. })));
    agent.update(&framework_id, &info.task_id, TaskState::TaskRunning);
    assert_eq!(scheduler.status().await["state"], "TASK_RUNNING");
    cluster.shutdown().await;
}

#[tokio::test]
async fn kills_go_to_the_agent_or_are_answered() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![command_task("t", &offer, 1.0)]).await;
    let (framework_id, info, _) = agent.run_task().await;
    scheduler.offer().await;
    let kill = |id: &str, agent: Option<&str>| {
        let mut kill = json!({"task_id": {"value": id},
            "kill_policy": {"grace_period": {"nanoseconds": 5}}});
        if let Some(agent) = agent {
            kill["agent_id"] = json!({"value": agent});
        }
        json!({"type": "KILL", "kill": kill})
    };
    scheduler.ok(kill("t", Some("S9"))).await;
    for _ in 0..2 {
        scheduler.ok(kill("t", None)).await;
        match agent.message().await {
            Some(ToAgent::KillTask { task_id, kill_policy, .. }) => {
                assert_eq!(task_id, info.task_id);
                assert_eq!(kill_policy.unwrap().grace_period.unwrap().nanoseconds, 5);
            }
            other => panic!("{other:?}"),
        }
    }
    scheduler.ok(kill("never-was", None)).await;
    let status = scheduler.status().await;
    assert_eq!(status["state"], "TASK_UNKNOWN");
    assert_eq!(status["reason"], "REASON_RECONCILIATION");

    // Kept for an agent that is away.
    agent.disconnect();
    scheduler.expect("RESCIND").await;
    scheduler.ok(kill("t", None)).await;
    agent.reregister(vec![(framework_id, info, TaskState::TaskRunning)]).await;
    assert!(matches!(agent.message().await, Some(ToAgent::KillTask { .. })));
    cluster.shutdown().await;
}

#[tokio::test]
async fn messages_and_shutdowns_pass_through() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let (framework_id, ..) = agent.run_task().await;
    let target = json!({"agent_id": offer["agent_id"], "executor_id": {"value": "resident"}});
    let mut message = target.clone();
    message["data"] = json!("cGluZw==");
    scheduler.ok(json!({"type": "MESSAGE", "message": message})).await;
    match agent.message().await {
        Some(ToAgent::Message { data, .. }) => assert_eq!(&data[..], b"ping"),
        other => panic!("{other:?}"),
    }
    agent.message_from_executor(&framework_id, b"pong");
    assert_eq!(scheduler.next("MESSAGE").await["message"]["data"], "cG9uZw==");

    let nowhere = json!({"agent_id": {"value": "S9"}, "executor_id": {"value": "resident"}});
    scheduler.ok(json!({"type": "SHUTDOWN", "shutdown": nowhere})).await;
    scheduler.ok(json!({"type": "SHUTDOWN", "shutdown": target})).await;
    assert!(matches!(agent.message().await, Some(ToAgent::ShutdownExecutor { .. })));

    // Calls without effect here.
    scheduler.ok(json!({"type": "REQUEST", "request": {"requests": []}})).await;
    for name in ["accept_inverse_offers", "decline_inverse_offers"] {
        let mut call = json!({"type": name.to_uppercase()});
        call[name] = json!({"inverse_offer_ids": [{"value": "x"}]});
        scheduler.ok(call).await;
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_acknowledgement_needs_a_proper_uuid() {
    let cluster = cluster().await;
    let scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    for uuid in ["AAAAAAAAAAAAAAAAAAAAAA==", "AAECAwQFBgcICQoLDA0O"] {
        let (status, body) = scheduler
            .call(json!({"type": "ACKNOWLEDGE", "acknowledge": {
                "agent_id": {"value": "a"}, "task_id": {"value": "t"}, "uuid": uuid}}))
            .await;
        assert_eq!(status, 400);
        assert_eq!(body, "Failed to validate scheduler::Call: Not a valid UUID");
    }
    // For an agent that is not there: dropped.
    scheduler
        .ok(json!({"type": "ACKNOWLEDGE", "acknowledge": {"agent_id": {"value": "a"},
            "task_id": {"value": "t"}, "uuid": "fTwaUpseTFiKdy9tDluaEA=="}}))
        .await;
    cluster.shutdown().await;
}
