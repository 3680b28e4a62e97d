//! Results, losses, and what they cost.

use std::time::Duration;

use marmoset_proto::{
    marmoset::v1::{ItemResult, Report},
    mesos::v1::{
        CheckInfo, HealthCheck, TaskState, health_check, scheduler::event, task_status::Reason,
    },
};
use marmoset_scheduler_core::{BatchSize, Input, JobId};

use crate::env::{Env, Update, job};

const SECOND: Duration = Duration::from_secs(1);

/// A batch of ten items, two at a time, and twenty more that wait.
fn batch() -> Env {
    let mut spec = job(30, 10);
    spec.retries = 1;
    spec.lost_retries = 1;
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:1.1;mem:1024");
    env.expect(&["ACCEPT O1 refuse 5: j.b0(0-9 x1 cpus:1 marmoset)"]);
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u0"));
    env.expect(&["ACKNOWLEDGE j.b0 u0"]);
    env
}

#[test]
fn results_come_with_running_updates() {
    let mut env = batch();
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u1").results(&[(0, 0), (1, 3)]));
    env.expect(&[
        "ended 0.0 finished: Command exited with status 0",
        "retry 1.0 Failed: Command exited with status 3",
        "ACKNOWLEDGE j.b0 u1",
    ]);
    // The same once more.
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u1").results(&[(0, 0), (1, 3)]));
    env.expect(&["ACKNOWLEDGE j.b0 u1"]);
    assert_eq!(env.core.counters().duplicates, 1);
    // A result for a try that is not current.
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u2").results(&[
        (1, 0),
        (0, 0),
        (77, 0),
    ]));
    env.expect(&["ACKNOWLEDGE j.b0 u2"]);
    assert_eq!(env.core.progress(JobId(0)).unwrap().late, 3);
}

#[test]
fn latencies_count_from_the_accept() {
    let mut env = batch();
    env.advance(SECOND);
    let now = env.now();
    let report = Report {
        received_us: Some(now.wall.0 - 400_000),
        results: vec![ItemResult {
            index: 0,
            started_us: Some(10_000),
            ended_us: Some(250_000),
            wait_status: Some(0),
            ..ItemResult::default()
        }],
        returned: Vec::new(),
    };
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u1").report(report));
    let end = env.ends.pop().unwrap();
    assert_eq!(end.launch, Some(Duration::from_millis(610)));
    assert_eq!(end.total, Duration::from_millis(850));
    assert_eq!(end.task_id("j"), "j.0");
    assert_eq!(end.location.unwrap().executor_id.as_str(), "marmoset");
}

#[test]
fn a_batch_that_is_lost_costs_the_lost_budget() {
    let mut env = batch();
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u1").results(&[
        (0, 0),
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 0),
        (5, 0),
        (6, 0),
    ]));
    env.drain();
    env.update(
        Update::agent("j.b0", TaskState::TaskFailed, "u2", Reason::ExecutorTerminated)
            .message("Executor terminated"),
    );
    env.expect(&[
        "retry 7.0 Lost: Executor terminated",
        "retry 8.0 Lost: Executor terminated",
        "retry 9.0 Lost: Executor terminated",
        "ACKNOWLEDGE j.b0 u2",
        "REVIVE",
    ]);
    // The executor did run something: no pause, but another id.
    env.offer("O2", "S0", "cpus:1.1;mem:1024");
    env.expect(&["ACCEPT O2 refuse 5: j.b1(10-16 7r1 8r1 9r1 x1 cpus:1 marmoset-2)"]);
    env.update(Update::master("j.b1", TaskState::TaskUnreachable, Reason::AgentRemoved));
    let lines = env.drain();
    assert_eq!(lines[0], "ended 7.1 lost: no result: TASK_UNREACHABLE");
    assert_eq!(lines[3], "retry 10.0 Lost: no result: TASK_UNREACHABLE");
    // It comes back: what was replaced is killed, and what it did is late.
    env.update(Update::master("j.b1", TaskState::TaskRunning, Reason::AgentReregistered));
    env.expect(&["KILL j.b1 at S0"]);
    env.update(Update::new("j.b1", TaskState::TaskRunning, "u3").results(&[(10, 0)]));
    env.expect(&["KILL j.b1 at S0", "ACKNOWLEDGE j.b1 u3"]);
    env.update(Update::new("j.b1", TaskState::TaskKilled, "u4"));
    env.expect(&["ACKNOWLEDGE j.b1 u4"]);
    assert_eq!(env.core.progress(JobId(0)).unwrap().late, 1);
}

#[test]
fn what_was_dropped_costs_nothing() {
    let mut spec = job(2, 1);
    spec.lost_retries = 0;
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    env.drain();
    env.update(
        Update::master("j.0", TaskState::TaskDropped, Reason::InvalidOffers)
            .message("Task launched with invalid offers: Offer O1 is no longer valid"),
    );
    env.expect(&[
        "retry 0.0 NotStarted: Task launched with invalid offers: Offer O1 is no longer valid",
        "REVIVE",
    ]);
    env.update(
        Update::agent("j.1", TaskState::TaskDropped, "u", Reason::ExecutorTerminated)
            .message("No executor is expected to launch and there is none running"),
    );
    env.expect(&[
        "retry 1.0 NotStarted: No executor is expected to launch and there is none running",
        "ACKNOWLEDGE j.1 u",
    ]);
    env.advance(SECOND);
    env.drain();
    env.offer("O2", "S0", "cpus:2.1;mem:1024");
    env.expect(&[
        "ACCEPT O2 refuse 600: j.0.r1(0r1 cpus:1 marmoset-2), j.1.r1(1r1 cpus:1 marmoset-2)",
    ]);
}

#[test]
fn an_agent_that_drops_everything_gets_pauses() {
    let mut env = Env::running(job(1, 1));
    for (round, pause) in [0, 1, 2, 4, 8].into_iter().enumerate() {
        env.offer("O1", "S0", "cpus:2.1;mem:1024");
        let id = if round == 0 { "j.0".to_owned() } else { format!("j.0.r{round}") };
        assert!(env.drain()[0].starts_with(&format!("ACCEPT O1 refuse 600: {id}(")));
        let update = Update::agent(&id, TaskState::TaskDropped, &id, Reason::GcError);
        env.update(update.message("no sandbox"));
        env.drain();
        if pause > 0 {
            env.offer("O2", "S0", "cpus:2.1;mem:1024");
            env.expect(&[&format!("DECLINE O2 refuse {pause}")]);
        }
        env.advance(SECOND * pause.max(1));
        env.drain();
    }
}

#[test]
fn a_task_that_is_wrong_is_not_tried_again() {
    let mut spec = job(1, 1);
    spec.retries = 9;
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    env.drain();
    env.update(
        Update::master("j.0", TaskState::TaskError, Reason::TaskInvalid)
            .message("Task uses no resources"),
    );
    env.expect(&["ended 0.0 error: Task uses no resources", "job ended"]);
}

#[test]
fn a_batch_that_cannot_be_read_fails_its_items() {
    let mut env = batch();
    env.update(
        Update::new("j.b0", TaskState::TaskFailed, "u1").message("`batch.width` is zero: set it"),
    );
    let lines = env.drain();
    assert_eq!(lines[0], "ended 0.0 error: `batch.width` is zero: set it");
    assert_eq!(lines.len(), 12, "ten items, ACKNOWLEDGE, REVIVE: {lines:?}");
}

#[test]
fn an_executor_that_is_not_known_any_more() {
    let mut env = Env::running(job(1, 1));
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    env.drain();
    let text = "Total resources cpus(allocated: *):1 required by task and its executor is more than available cpus(allocated: *):1";
    env.update(Update::master("j.0", TaskState::TaskError, Reason::TaskInvalid).message(text));
    env.expect(&[&format!("retry 0.0 Lost: {text}"), "REVIVE"]);
    env.advance(SECOND);
    env.drain();
    env.offer("O2", "S0", "cpus:2.1;mem:1024");
    env.expect(&["ACCEPT O2 refuse 600: j.0.r1(0r1 cpus:1 marmoset-2)"]);
}

#[test]
fn single_items_tell_their_start() {
    let mut env = Env::running(job(1, 1));
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    env.drain();
    env.update(Update::new("j.0", TaskState::TaskStarting, "u0"));
    env.expect(&["ACKNOWLEDGE j.0 u0"]);
    env.update(Update::new("j.0", TaskState::TaskRunning, "u1"));
    env.expect(&["started 0", "ACKNOWLEDGE j.0 u1"]);
    env.update(Update::new("j.0", TaskState::TaskRunning, "u2"));
    env.expect(&["ACKNOWLEDGE j.0 u2"]);
    // An executor that sends no report.
    env.update(Update::new("j.0", TaskState::TaskFinished, "u3").message("all right"));
    env.expect(&["ended 0.0 finished: all right", "ACKNOWLEDGE j.0 u3", "job ended"]);
    env.update(Update::new("j.0", TaskState::TaskFinished, "u3"));
    env.expect(&["ACKNOWLEDGE j.0 u3"]);
}

#[test]
fn what_cannot_be_read_is_told_and_acknowledged() {
    let mut env = batch();
    env.notices = true;
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u1").data(b"\xff\xff"));
    let lines = env.drain();
    assert!(lines[1].starts_with("note: `data` in an update of task `j.b0`: "), "{lines:?}");
    assert_eq!(lines[2], "ACKNOWLEDGE j.b0 u1");
}

#[test]
fn silence_after_a_launch_is_asked_about() {
    let mut env = Env::running(job(1, 1));
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    for _ in 0..3 {
        env.advance(25 * SECOND);
        env.event(event::Type::Heartbeat, |_| ());
    }
    env.drain();
    env.advance(16 * SECOND);
    env.expect(&["RECONCILE j.0 at S0"]);
}

#[test]
fn a_failure_is_followed_up() {
    let mut env = batch();
    env.event(event::Type::Failure, |event| {
        event.failure = Some(event::Failure {
            agent_id: Some("S0".into()),
            executor_id: Some("marmoset".into()),
            status: Some(9),
        });
    });
    env.expect(&[]);
    env.advance(6 * SECOND);
    env.expect(&["RECONCILE j.b0 at S0"]);
}

#[test]
fn kills_are_repeated_until_the_end() {
    let mut env = batch();
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u1").results(&[(0, 7)]));
    env.drain();
    env.input(Input::KillJob(JobId(0)));
    env.expect(&[
        "never started 10-29",
        "ended 0.1 killed: killed before its next try",
        "KILL j.b0 at S0",
    ]);
    env.advance(16 * SECOND);
    env.expect(&["SUPPRESS", "KILL j.b0 at S0", "KILL j.b0 at S0"]);
    let killed = |index: u64| ItemResult {
        index,
        state: Some(TaskState::TaskKilled.into()),
        ..ItemResult::default()
    };
    let report = Report { results: (1..9).map(killed).collect(), ..Report::default() };
    env.update(Update::new("j.b0", TaskState::TaskKilled, "u2").report(report));
    let lines = env.drain();
    assert_eq!(lines[0], "ended 1.0 killed: Task killed");
    assert_eq!(lines[8], "ended 9.0 killed: Task killed");
    assert_eq!(lines[9..], ["ACKNOWLEDGE j.b0 u2", "job ended"]);
}

#[test]
fn what_others_killed_is_tried_again() {
    let mut env = Env::running(job(1, 1));
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    env.drain();
    env.update(
        Update::agent("j.0", TaskState::TaskKilled, "u", Reason::AgentDraining).message("drained"),
    );
    env.expect(&["retry 0.0 Lost: drained", "ACKNOWLEDGE j.0 u", "REVIVE"]);
}

#[test]
fn slow_batches_are_asked_back() {
    let mut spec = job(20, 10);
    spec.lost_retries = 0;
    let mut env = Env::running(spec);
    env.offers(&[("O1", "S0", "cpus:1.1;mem:1024", &[]), ("O2", "S1", "cpus:1.1;mem:1024", &[])]);
    env.expect(&[
        "ACCEPT O1 refuse 600: j.b0(0-9 x1 cpus:1 marmoset)",
        "ACCEPT O2 refuse 600: j.b1(10-19 x1 cpus:1 marmoset)",
    ]);
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u0"));
    env.update(Update::new("j.b1", TaskState::TaskRunning, "u1"));
    let all = (10..20).map(|index| (index, 0)).collect::<Vec<_>>();
    env.update(Update::new("j.b1", TaskState::TaskFinished, "u2").results(&all));
    env.drain();
    env.advance(2 * SECOND);
    env.expect(&["SUPPRESS", "MESSAGE marmoset at S0: take back j.b0 1-9"]);
    env.update(Update::new("j.b0", TaskState::TaskRunning, "u3").returned(1, 9));
    env.expect(&["ACKNOWLEDGE j.b0 u3", "REVIVE"]);
    env.offers(&[("O3", "S1", "cpus:1;mem:1024", &["marmoset"])]);
    env.expect(&["ACCEPT O3 refuse 600: j.b2(1-9 x1 cpus:1 marmoset)"]);
}

#[test]
fn an_item_that_is_not_healthy_has_failed() {
    let check = HealthCheck {
        r#type: Some(health_check::Type::Tcp.into()),
        tcp: Some(health_check::TcpCheckInfo { port: 8000, protocol: None }),
        ..HealthCheck::default()
    };
    let mut spec = job(2, 1);
    (spec.retries, spec.health_check) = (1, Some(check.clone()));
    let mut env = Env::running(spec);
    env.offer("O1", "S0", "cpus:2.1;mem:1024");
    let tasks = env.last_accept_after_drain().operations[0].launch.clone().unwrap().task_infos;
    assert!(tasks.iter().all(|task| task.health_check.as_ref() == Some(&check)));
    env.update(Update::new("j.0", TaskState::TaskRunning, "u0").healthy(true));
    env.update(Update::new("j.0", TaskState::TaskRunning, "u1").healthy(false));
    env.expect(&["started 0", "ACKNOWLEDGE j.0 u0", "ACKNOWLEDGE j.0 u1"]);
    let killed = |index, attempt| Report {
        results: vec![ItemResult {
            index,
            attempt,
            state: Some(TaskState::TaskKilled.into()),
            wait_status: Some(15),
            started_us: Some(1000),
            ..ItemResult::default()
        }],
        ..Report::default()
    };
    let update = Update::new("j.0", TaskState::TaskKilled, "u2").healthy(false);
    env.update(update.report(killed(0, None)));
    let lines = env.drain();
    assert_eq!(lines[0], "retry 0.0 Failed: Command terminated with signal Terminated");
    // Killed by somebody else: as before, it is lost.
    let update = Update::new("j.1", TaskState::TaskKilled, "u3").healthy(true);
    env.update(update.report(killed(1, None)));
    let lines = env.drain();
    assert_eq!(lines[0], "retry 1.0 Lost: Command terminated with signal Terminated");
}

#[test]
fn checks_take_single_tasks() {
    let mut spec = job(2, 2);
    spec.check = Some(CheckInfo::default());
    let error = spec.check(1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "`check` watches single tasks: set `batch` to 1");
    spec.batch = BatchSize::Auto;
    spec.health_check = Some(HealthCheck::default());
    let error = spec.check(1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "`health_check` watches single tasks: set `batch` to 1");
}
