//! Whether the master carries the load it must: 1,000 tasks in one LAUNCH, thousands a second.

use marmoset_mini::link::ToAgent;
use marmoset_proto::mesos::v1::TaskState;

use crate::support::{FakeAgent, Scheduler, cluster, framework, task};

const TASKS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_in_one_launch() {
    let cluster = cluster().await;
    let agent = FakeAgent::register_with(&cluster, "cpus:100;mem:100000", "a", &[]).await;
    let mut scheduler = Scheduler::subscribe(cluster.master_addr(), framework()).await;
    let offer = scheduler.offer().await;
    let tasks = (0..TASKS).map(|index| task(&format!("t.{index}"), &offer, 0.01)).collect();
    let finisher = tokio::spawn(finish_everything(agent));
    let start = tokio::time::Instant::now();
    scheduler.launch(&offer, tasks).await;
    for _ in 0..TASKS {
        let status = scheduler.status().await;
        assert_eq!(status["state"], "TASK_FINISHED", "{status}");
        scheduler.acknowledge(&status).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    // The scheduler of this test is JSON, one acknowledgement at a time, and not optimised.
    println!("{:.0} tasks/s", TASKS as f64 / seconds);
    assert!(seconds < 20.0, "{seconds}");
    finisher.await.unwrap();
    cluster.shutdown().await;
}

/// Runs nothing: every task has finished as soon as it arrives.
async fn finish_everything(mut agent: FakeAgent) {
    let mut acknowledged = 0;
    while acknowledged < TASKS {
        match agent.message().await {
            Some(ToAgent::RunTask { framework, task, .. }) => {
                agent.update(&framework.id.unwrap(), &task.task_id, TaskState::TaskFinished);
            }
            Some(ToAgent::Acknowledge { .. }) => acknowledged += 1,
            other => panic!("{other:?}"),
        }
    }
}
