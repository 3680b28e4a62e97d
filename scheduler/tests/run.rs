//! Jobs against a scripted fake master: what a run puts on the wire, and what it amounts to.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, num::NonZeroU64, path::Path, time::Duration};

use marmoset_proto::{
    codec::{self, Encoding},
    marmoset::v1::{ItemResult, Report, TaskSpec},
    mesos::v1::{CommandInfo, TaskInfo, TaskState, TaskStatus, scheduler::call},
};
use marmoset_scheduler::{
    BatchSize, CancellationToken, Config, ConnectionConfig, FrameworkConfig, Identity, Items, Job,
    JobEvent, JobSpec, Limits, Outcome, RunError, SessionError, Summary, Timing, executor_at, run,
    run_traced,
};
use support::{FakeMaster, Refusal, launched, status};
use tokio::sync::mpsc;

/// Calls that may come between those a test looks for.
const QUIET: &[call::Type] = &[
    call::Type::Revive,
    call::Type::Suppress,
    call::Type::Decline,
    call::Type::Reconcile,
    call::Type::Acknowledge,
];

fn config(master: &FakeMaster) -> FrameworkConfig {
    FrameworkConfig {
        connection: ConnectionConfig::new(vec![master.host_and_port()]),
        core: Config {
            framework: Identity::new("test", "nobody"),
            executor: executor_at(Path::new("/opt/marmoset-executor"), &[]),
            limits: Limits::default(),
            timing: Timing {
                patience: Some(Duration::from_millis(500)),
                waiting_notice: Duration::from_millis(100),
                ..Timing::default()
            },
        },
    }
}

fn job(count: u64, batch: u64) -> JobSpec {
    let command =
        CommandInfo { shell: Some(true), value: Some("true".to_owned()), ..CommandInfo::default() };
    JobSpec {
        batch: BatchSize::Fixed(NonZeroU64::new(batch).unwrap()),
        ..JobSpec::new("j", command, Items::Array { count })
    }
}

/// Starts a run whose events nobody looks at.
fn start<J: Into<Job>>(
    config: FrameworkConfig,
    job: J,
    stop: &CancellationToken,
) -> impl Future<Output = Result<Summary, RunError>> + use<J> {
    let (events, _) = mpsc::channel(1);
    run(config, job, events, stop.clone())
}

/// A terminal update whose report says how each index ended.
fn ended(task: &TaskInfo, uuid: u8, results: &[(u64, i32, u64)]) -> TaskStatus {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let report = Report {
        received_us: Some(u64::try_from(now.as_micros()).unwrap()),
        results: results
            .iter()
            .map(|(index, wait_status, stdout_bytes)| ItemResult {
                index: *index,
                state: Some(
                    if *wait_status == 0 { TaskState::TaskFinished } else { TaskState::TaskFailed }
                        .into(),
                ),
                wait_status: Some(*wait_status),
                started_us: Some(1000),
                ended_us: Some(2000),
                stdout_bytes: Some(*stdout_bytes),
                ..ItemResult::default()
            })
            .collect(),
        ..Report::default()
    };
    TaskStatus {
        data: Some(codec::encode(&report, Encoding::Protobuf)),
        ..status(task, TaskState::TaskFinished, Some(uuid))
    }
}

#[tokio::test]
async fn a_batch_from_offer_to_summary() {
    let mut master = FakeMaster::start().await;
    let stop = CancellationToken::new();
    let run = start(config(&master), job(3, 3), &stop);
    let script = async {
        let subscribe = master.subscribed("f").await.subscribe.unwrap();
        assert_eq!(subscribe.framework_info.user, "nobody");
        master.offer(master.an_offer("o", "f", "cpus:4;mem:4096;ports:[8000-8100]"));
        let accept = master.expect_after(call::Type::Accept, QUIET).await;
        let [task] = &launched(&accept)[..] else { panic!("{accept:?}") };
        let executor = task.executor.as_ref().unwrap();
        let command = executor.command.as_ref().unwrap();
        assert_eq!(command.value.as_deref(), Some("/opt/marmoset-executor"));
        let spec: TaskSpec =
            codec::decode(task.data.as_ref().unwrap(), Encoding::Protobuf).unwrap();
        let batch = spec.batch.unwrap();
        assert_eq!((batch.ranges[0].begin, batch.ranges[0].end), (0, 2));
        master.update(ended(task, 7, &[(0, 0, 0), (1, 3 << 8, 0), (2, 0, 0)]));
        let acknowledge = master.expect_after(call::Type::Acknowledge, QUIET).await;
        assert_eq!(&acknowledge.acknowledge.unwrap().uuid[..], &[7; 16]);
        master.expect_after(call::Type::Teardown, QUIET).await;
    };
    let (summary, ()) = tokio::join!(run, script);
    let summary = summary.unwrap();
    assert_eq!((summary.tasks.finished, summary.tasks.failed), (2, 1));
    assert_eq!((summary.mesos_tasks, summary.executors), (1, 1));
    assert_eq!(summary.outcome, Outcome::Complete);
    let [failure] = &summary.failures[..] else { panic!("{summary:?}") };
    assert_eq!(failure.message, "Command exited with status 3");
    assert_eq!((failure.example.task_id.as_str(), failure.example.index), ("j.1", 1));
    assert!(summary.launch.p50 > Duration::ZERO && summary.launch.p50 <= summary.end.p99);
}

#[tokio::test]
async fn a_trace_has_the_times_of_each_task() {
    let mut master = FakeMaster::start().await;
    let (events, _) = mpsc::channel(1);
    let run = run_traced(config(&master), job(3, 3), events, CancellationToken::new());
    let script = async {
        master.subscribed("f").await;
        master.offer(master.an_offer("o", "f", "cpus:4;mem:4096"));
        let accept = master.expect_after(call::Type::Accept, QUIET).await;
        let [task] = &launched(&accept)[..] else { panic!("{accept:?}") };
        master.update(ended(task, 7, &[(0, 0, 0), (1, 3 << 8, 0), (2, 0, 0)]));
        master.expect_after(call::Type::Teardown, QUIET).await;
    };
    let (traced, ()) = tokio::join!(run, script);
    let (summary, trace) = traced.unwrap();
    assert_eq!(summary.tasks.total(), 3);
    assert_eq!(trace.tasks.len(), 3);
    for times in &trace.tasks {
        let started = times.started.unwrap();
        assert!(times.accepted > Duration::ZERO && times.accepted < started, "{times:?}");
        assert_eq!(times.ended - started, Duration::from_millis(1), "{times:?}");
    }
    let counters = trace.counters;
    assert_eq!((counters.offers, counters.accepts, counters.updates), (1, 1, 1));
}

#[tokio::test]
async fn outputs_are_fetched_before_the_framework_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut master = FakeMaster::start().await;
    let stop = CancellationToken::new();
    let job = Job { spec: job(3, 3), output: Some(folder.path().join("new")) };
    let run = start(config(&master), job, &stop);
    let script = async {
        master.subscribed("f").await;
        master.offer(master.an_offer("o", "f", "cpus:4;mem:4096"));
        let accept = master.expect_after(call::Type::Accept, QUIET).await;
        let [task] = &launched(&accept)[..] else { panic!("{accept:?}") };
        let executor = &task.executor.as_ref().unwrap().executor_id;
        let path = |name: &str| {
            format!("/frameworks/f/executors/{executor}/runs/latest/tasks/{name}/stdout")
        };
        master.file(&path("j.0"), b"zero\n").await;
        // Index 1 is empty; the file of index 2 is not there.
        master.update(ended(task, 1, &[(0, 0, 5), (1, 0, 0), (2, 0, 9)]));
        master.expect_after(call::Type::Teardown, QUIET).await;
    };
    let (summary, ()) = tokio::join!(run, script);
    let summary = summary.unwrap();
    assert_eq!(summary.tasks.finished, 3);
    let names: Vec<_> = fs::read_dir(folder.path().join("new"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["0.out"]);
    assert_eq!(fs::read(folder.path().join("new/0.out")).unwrap(), b"zero\n");
    let [warning] = &summary.warnings[..] else { panic!("{summary:?}") };
    assert!(warning.starts_with("1 outputs could not be fetched, e.g. j.2: "), "{warning}");
}

#[tokio::test]
async fn a_stop_kills_what_runs_and_tells_it() {
    let mut master = FakeMaster::start().await;
    let stop = CancellationToken::new();
    let run = start(config(&master), job(1000, 1), &stop);
    let script = async {
        master.subscribed("f").await;
        master.offer(master.an_offer("o", "f", "cpus:0.3;mem:4096"));
        let accept = master.expect_after(call::Type::Accept, QUIET).await;
        let tasks = launched(&accept);
        for (task, uuid) in tasks.iter().zip(1..) {
            master.update(status(task, TaskState::TaskRunning, Some(uuid)));
        }
        for _ in &tasks {
            master.expect_after(call::Type::Acknowledge, QUIET).await;
        }
        stop.cancel();
        for (_, uuid) in tasks.iter().zip(101..) {
            let kill = master.expect_after(call::Type::Kill, QUIET).await.kill.unwrap();
            let task = tasks.iter().find(|task| task.task_id == kill.task_id).unwrap();
            master.update(status(task, TaskState::TaskKilled, Some(uuid)));
        }
        master.expect_after(call::Type::Teardown, QUIET).await;
        tasks.len() as u64
    };
    let (summary, started) = tokio::join!(run, script);
    let summary = summary.unwrap();
    assert!(started > 0 && started < 1000);
    assert_eq!((summary.tasks.killed, summary.tasks.total()), (1000, 1000));
    assert_eq!((summary.mesos_tasks, summary.outcome), (started, Outcome::Stopped));
    assert!(summary.failures.is_empty(), "{summary:?}");
}

#[tokio::test]
async fn a_stop_before_there_is_a_master_is_no_error() {
    let master = FakeMaster::start().await;
    master.refuse(Refusal::Status(503, "text/plain", "No leader elected")).await;
    let stop = CancellationToken::new();
    let run = start(config(&master), job(5, 1), &stop);
    stop.cancel();
    let summary = run.await.unwrap();
    assert_eq!((summary.tasks.killed, summary.outcome), (5, Outcome::Stopped));
}

#[tokio::test]
async fn no_offers_are_explained() {
    let mut master = FakeMaster::start().await;
    let stop = CancellationToken::new();
    let (events, mut news) = mpsc::channel(100);
    let run = run(config(&master), job(1, 1), events, stop.clone());
    let script = async {
        master.subscribed("f").await;
        let why = loop {
            if let JobEvent::Waiting { why, .. } = news.recv().await.unwrap() {
                break why.to_string();
            }
        };
        stop.cancel();
        master.expect_after(call::Type::Teardown, QUIET).await;
        why
    };
    let (summary, why) = tokio::join!(run, script);
    summary.unwrap();
    assert!(why.contains("no agent has offered anything"), "{why}");
}

#[tokio::test]
async fn a_master_that_is_not_there_is_an_error() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let master = FakeMaster::start().await;
    let mut config = config(&master);
    config.connection.masters = vec![nobody.to_string()];
    let error = start(config, job(1, 1), &CancellationToken::new()).await.unwrap_err();
    let RunError::Session(SessionError::Unreachable { last }) = &error else { panic!("{error:?}") };
    assert!(last.contains(&nobody.to_string()), "{last}");
}

#[tokio::test]
async fn a_job_of_nothing_needs_no_master() {
    let master = FakeMaster::start().await;
    let mut config = config(&master);
    config.connection.masters = vec!["127.0.0.1:1".to_owned()];
    let job = JobSpec { items: Items::Lines([].into()), ..job(1, 1) };
    let summary = start(config, job, &CancellationToken::new()).await.unwrap();
    assert_eq!(summary.tasks.total(), 0);
}
