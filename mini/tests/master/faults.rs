//! The switches for breaking things.

use std::time::Duration;

use marmoset_mini::{UpdateFault, link::ToAgent};
use marmoset_proto::mesos::v1::TaskState;
use serde_json::json;

use crate::support::{FakeAgent, Scheduler, cluster, patient_framework, task};

#[tokio::test]
async fn updates_are_dropped_duplicated_and_delayed() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let (framework_id, info, _) = agent.run_task().await;
    let send = |state| agent.update(&framework_id, &info.task_id, state);

    cluster.faults().set_updates(UpdateFault { drop_one_in: 2, ..UpdateFault::default() });
    send(TaskState::TaskStarting);
    send(TaskState::TaskRunning);
    send(TaskState::TaskKilling);
    assert_eq!(scheduler.status().await["state"], "TASK_STARTING");
    assert_eq!(scheduler.status().await["state"], "TASK_KILLING");

    let fault = UpdateFault { duplicate_one_in: 1, ..UpdateFault::default() };
    cluster.faults().set_updates(fault);
    send(TaskState::TaskRunning);
    let first = scheduler.status().await;
    assert_eq!(scheduler.status().await, first);

    let delay = Duration::from_millis(200);
    cluster.faults().set_updates(UpdateFault { delay, ..UpdateFault::default() });
    let start = tokio::time::Instant::now();
    send(TaskState::TaskFinished);
    scheduler.status().await;
    assert!(start.elapsed() >= delay);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_new_master_knows_only_what_it_is_told() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    let (framework_id, info, _) = agent.run_task().await;
    let old = agent.id.clone();

    cluster.faults().fail_master_over(Duration::from_millis(50)).await;
    while scheduler.event().await.is_some() {}
    assert_eq!(agent.message().await, None, "the link is closed");
    let mut again = patient_framework();
    again["id"] = scheduler.id.clone();
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), again).await;

    // While the agent may still come and tell, there is no answer; then there is one.
    let reconcile = json!({"type": "RECONCILE", "reconcile": {"tasks": [
        {"task_id": {"value": "t"}, "agent_id": offer["agent_id"]},
        {"task_id": {"value": "elsewhere"}, "agent_id": {"value": "S9"}}]}});
    scheduler.ok(reconcile.clone()).await;
    assert_eq!(scheduler.status().await["task_id"]["value"], "elsewhere");
    agent.reregister(vec![(framework_id, info, TaskState::TaskRunning)]).await;
    assert_eq!(agent.id, old, "agents keep their ids");
    let offer = scheduler.expect("OFFERS").await["offers"]["offers"][0].clone();
    let id = offer["id"]["value"].as_str().unwrap();
    assert!(id.ends_with("-O0"), "{id}");
    assert!(!id.starts_with(old.value.rsplit_once('-').unwrap().0), "a new master's id");
    scheduler.ok(reconcile).await;
    let status = scheduler.status().await;
    assert_eq!(status["task_id"]["value"], "t");
    assert_eq!(status["state"], "TASK_RUNNING");
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_given_up_agent_finds_its_link_closed() {
    let cluster = cluster().await;
    let mut agent = FakeAgent::register(&cluster).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![task("t", &offer, 1.0)]).await;
    agent.run_task().await;
    cluster.faults().mark_unreachable_at(agent.addr).await;
    assert_eq!(scheduler.status().await["state"], "TASK_UNREACHABLE");
    loop {
        match agent.message().await {
            None => break,
            Some(ToAgent::Registered { .. }) => panic!("registered again by itself"),
            Some(_) => {}
        }
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_frozen_master_is_silent_and_then_goes_on() {
    let cluster = cluster().await;
    let scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let silence = Duration::from_millis(300);
    let start = tokio::time::Instant::now();
    cluster.faults().freeze_master(silence).await;
    scheduler.ok(json!({"type": "REVIVE"})).await;
    assert!(start.elapsed() >= silence);
    cluster.shutdown().await;
}
