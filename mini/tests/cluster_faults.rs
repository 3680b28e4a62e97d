//! Master, agent and real executors together, while things break.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "made for the tests of the master, which use the rest of it")]
#[path = "master/support.rs"]
mod support;

use std::{path::PathBuf, time::Duration};

use marmoset_mini::{
    AgentConfig, AgentTimers, Cluster, ClusterConfig, CommandLine, MasterConfig, MasterTimers,
    UpdateFault,
};
use serde_json::{Value, json};
use support::{Scheduler, command_task, framework, patient_framework};
use tempfile::TempDir;

async fn start() -> (Cluster, TempDir) {
    let work_dir = tempfile::tempdir().unwrap();
    let agent = AgentConfig {
        resources: support::RESOURCES.to_owned(),
        work_dir: work_dir.path().to_owned(),
        timers: AgentTimers {
            update_retry_min: Duration::from_millis(100),
            executor_reregistration_timeout: Duration::from_millis(2_500),
            ..AgentTimers::default()
        },
        command_executor: CommandLine {
            program: PathBuf::from(env!("CARGO_BIN_EXE_marmoset-mini-command-executor")),
            arguments: Vec::new(),
        },
        ..AgentConfig::default()
    };
    let master = MasterConfig {
        timers: MasterTimers {
            allocation_interval: Duration::from_millis(50),
            ..MasterTimers::default()
        },
        ..MasterConfig::default()
    };
    let config = ClusterConfig { master, agents: vec![agent], ..ClusterConfig::default() };
    (Cluster::start(config).await.unwrap(), work_dir)
}

/// A command that ends when the file is there.
fn waiting(id: &str, offer: &Value, go: &std::path::Path) -> Value {
    let mut task = command_task(id, offer, 0.5);
    task["command"]["value"] =
        json!(format!("while ! test -e {}; do sleep 0.05; done", go.display()));
    task
}

/// Acknowledges updates until a task is in this state; other tasks' are acknowledged, too.
async fn until(scheduler: &mut Scheduler, task: &str, state: &str) -> Value {
    loop {
        let status = scheduler.status().await;
        if status.get("uuid").is_some() {
            scheduler.acknowledge(&status).await;
        }
        if status["task_id"]["value"] == task {
            let now = status["state"].as_str().unwrap();
            let over = !matches!(now, "TASK_STARTING" | "TASK_RUNNING" | "TASK_STAGING");
            assert!(now == state || !over, "{status}");
            if now == state {
                return status;
            }
        }
    }
}

#[tokio::test]
async fn a_checkpointing_frameworks_task_survives_the_restart_of_its_agent() {
    let (cluster, dir) = start().await;
    let go = dir.path().join("go");
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![waiting("t", &offer, &go)]).await;
    until(&mut scheduler, "t", "TASK_RUNNING").await;
    let addr = cluster.agent_addr(0);
    assert!(cluster.faults().restart_agent(0).await);
    assert_eq!(cluster.agent_addr(0), addr);
    std::fs::write(&go, "").unwrap();
    until(&mut scheduler, "t", "TASK_FINISHED").await;
    // And the agent is of use again.
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![waiting("u", &offer, &go)]).await;
    until(&mut scheduler, "u", "TASK_FINISHED").await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn other_tasks_are_lost_and_the_agent_is_of_use_again() {
    let (cluster, dir) = start().await;
    let go = dir.path().join("go");
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![waiting("t", &offer, &go)]).await;
    until(&mut scheduler, "t", "TASK_RUNNING").await;
    assert!(cluster.faults().restart_agent(0).await);
    let status = until(&mut scheduler, "t", "TASK_LOST").await;
    assert_eq!(status["reason"], "REASON_AGENT_DISCONNECTED");
    std::fs::write(&go, "").unwrap();
    let offer = loop {
        let offer = scheduler.offer().await;
        if support::amount(&offer, "cpus") == 8.0 {
            break offer;
        }
        scheduler.decline(&offer, 0.0).await;
    };
    scheduler.launch(&offer, vec![waiting("u", &offer, &go)]).await;
    until(&mut scheduler, "u", "TASK_FINISHED").await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_executor_whose_stream_breaks_comes_back() {
    let (cluster, dir) = start().await;
    let go = dir.path().join("go");
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), patient_framework()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![waiting("t", &offer, &go)]).await;
    until(&mut scheduler, "t", "TASK_RUNNING").await;
    for _ in 0..3 {
        assert!(cluster.faults().cut_executor_streams(0).await);
    }
    std::fs::write(&go, "").unwrap();
    until(&mut scheduler, "t", "TASK_FINISHED").await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_task_outlives_its_master() {
    let (cluster, dir) = start().await;
    let go = dir.path().join("go");
    let mut info = patient_framework();
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), info.clone()).await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, vec![waiting("t", &offer, &go)]).await;
    until(&mut scheduler, "t", "TASK_RUNNING").await;
    cluster.faults().fail_master_over(Duration::from_millis(200)).await;
    while scheduler.event().await.is_some() {}
    // The command ends while nobody is there to hear of it.
    std::fs::write(&go, "").unwrap();
    info["id"] = scheduler.id.clone();
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), info).await;
    until(&mut scheduler, "t", "TASK_FINISHED").await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn lost_and_doubled_updates_are_made_good() {
    let (cluster, dir) = start().await;
    let go = dir.path().join("go");
    std::fs::write(&go, "").unwrap();
    let fault = UpdateFault { drop_one_in: 2, duplicate_one_in: 3, ..UpdateFault::default() };
    cluster.faults().set_updates(fault);
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    let ids = ["a", "b", "c", "d"];
    let tasks = ids.iter().map(|id| waiting(id, &offer, &go)).collect();
    scheduler.launch(&offer, tasks).await;
    let mut finished = std::collections::BTreeSet::new();
    while finished.len() < ids.len() {
        let status = scheduler.status().await;
        scheduler.acknowledge(&status).await;
        if status["state"] == "TASK_FINISHED" {
            finished.insert(status["task_id"]["value"].as_str().unwrap().to_owned());
        }
    }
    cluster.shutdown().await;
}
