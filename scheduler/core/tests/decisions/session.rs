//! Subscribing, silence, errors, reconciliation.

use std::time::Duration;

use marmoset_proto::mesos::v1::{TaskState, scheduler::event, task_status::Reason};
use marmoset_scheduler_core::{
    CallFailure, ConnectFailure, Input, JobError, SessionInput, StopMode, Why,
};

use crate::env::{Env, Update, config, job, stop};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_id_is_stored_before_anything_else() {
    let mut env = Env::new();
    env.expect(&["SUBSCRIBE -"]);
    env.subscribe();
    env.expect(&["store F", "subscribed F"]);
}

#[test]
fn a_stored_id_is_used_at_once() {
    let mut config = config();
    config.framework.id = Some("F".into());
    let mut env = Env::with(config);
    env.subscribe();
    env.expect(&["SUBSCRIBE F", "subscribed F"]);
}

#[test]
fn silence_is_five_heartbeats() {
    let mut env = Env::new();
    env.subscribe();
    env.advance(40 * SECOND);
    env.event(event::Type::Heartbeat, |_| ());
    env.drain();
    env.advance(74 * SECOND);
    env.expect(&[]);
    assert_eq!(env.core.poll_wake().unwrap().1, Why::Session);
    env.advance(2 * SECOND);
    env.expect(&[
        "disconnect: the master is silent",
        "unsubscribed: the master is silent",
        "SUBSCRIBE F suppressed",
    ]);
    env.subscribe();
    env.expect(&["subscribed F"]);
}

#[test]
fn attempts_are_repeated_with_growing_random_delays() {
    let mut env = Env::new();
    env.expect(&["SUBSCRIBE -"]);
    for longest in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        let failure = ConnectFailure::Unavailable { why: "no leader".to_owned() };
        env.session(SessionInput::ConnectFailed(failure));
        env.expect(&["unsubscribed: no leader"]);
        env.advance(Duration::from_millis(longest));
        env.expect(&["SUBSCRIBE -"]);
    }
    // An attempt without an answer is given up, too.
    env.advance(31 * SECOND);
    let lines = env.drain();
    assert_eq!(
        lines[..2],
        ["disconnect: no answer to SUBSCRIBE", "unsubscribed: no answer to SUBSCRIBE"]
    );
}

#[test]
fn patience_ends() {
    let mut config = config();
    config.timing.patience = Some(10 * SECOND);
    let mut env = Env::with(config);
    env.drain();
    let failure = ConnectFailure::Unavailable { why: "connection refused".to_owned() };
    env.session(SessionInput::ConnectFailed(failure.clone()));
    env.advance(SECOND);
    env.session(SessionInput::ConnectFailed(failure));
    env.drain();
    env.advance(10 * SECOND);
    let lines = env.drain();
    assert_eq!(lines.last().unwrap(), "finished: unreachable, connection refused", "{lines:?}");
    assert_eq!(env.core.poll_wake(), None);
}

#[test]
fn what_will_not_get_better_ends_the_session() {
    let mut env = Env::new();
    let why = "401: `--secret-file` is needed".to_owned();
    env.session(SessionInput::ConnectFailed(ConnectFailure::Fatal { why: why.clone() }));
    env.expect(&[
        "SUBSCRIBE -",
        &format!("stopped: rejected, {why}"),
        &format!("finished: rejected, {why}"),
    ]);
}

#[test]
fn errors() {
    let mut env = Env::new();
    env.session(SessionInput::Connected);
    env.drain();
    env.error("Framework's role is bad");
    env.expect(&[
        "disconnect: Framework's role is bad",
        "stopped: rejected, Framework's role is bad",
        "finished: rejected, Framework's role is bad",
    ]);

    let mut env = Env::running(job(1, 1));
    env.error("Framework failed over");
    env.expect(&[
        "disconnect: Framework failed over",
        "stopped: failed over",
        "finished: failed over",
    ]);
}

#[test]
fn a_removed_framework_starts_over() {
    let mut env = Env::running(job(2, 1));
    env.offer("O1", "S0", "cpus:2;mem:1024");
    env.expect(&["ACCEPT O1 refuse 5: j.0(0 cpus:1 marmoset)"]);
    env.error("Framework has been removed");
    env.expect(&[
        "disconnect: Framework has been removed",
        "framework removed",
        "retry 0.0 Lost: the master removed the framework",
        "unsubscribed: Framework has been removed",
    ]);
    env.advance(SECOND);
    env.expect(&["SUBSCRIBE -"]);
    env.session(SessionInput::Connected);
    env.subscribed("F2");
    env.expect(&["store F2", "subscribed F2"]);
    env.offer("O2", "S0", "cpus:3;mem:1024");
    env.expect(&["ACCEPT O2 refuse 600: j.0.r1(0r1 cpus:1 marmoset), j.1(1 cpus:1 marmoset)"]);
}

#[test]
fn after_a_new_subscription_everything_is_asked_about() {
    let mut env = Env::running(job(2, 1));
    env.offer("O1", "S0", "cpus:3;mem:1024");
    env.drain();
    env.session(SessionInput::Disconnected { why: "end of stream".to_owned() });
    env.expect(&["unsubscribed: end of stream"]);
    env.update(Update::new("j.0", TaskState::TaskRunning, "stale"));
    env.expect(&[]);
    env.advance(SECOND);
    env.expect(&["SUBSCRIBE F suppressed"]);
    env.subscribe();
    env.expect(&["subscribed F", "RECONCILE j.0 at S0, j.1 at S0"]);
    env.update(Update::master("j.0", TaskState::TaskRunning, Reason::Reconciliation));
    env.expect(&["started 0"]);
    env.advance(5 * SECOND);
    env.expect(&["RECONCILE j.1 at S0"]);
    env.advance(10 * SECOND);
    env.expect(&["RECONCILE j.1 at S0"]);
    env.update(Update::master("j.1", TaskState::TaskGone, Reason::Reconciliation).message("gone"));
    env.expect(&["retry 1.0 Lost: gone", "REVIVE"]);
    // The executor's own end is still to come: the answer without its data does not count.
    env.update(Update::master("j.0", TaskState::TaskFinished, Reason::Reconciliation));
    env.expect(&[]);
    env.update(Update::new("j.0", TaskState::TaskFinished, "u").results(&[(0, 0)]));
    env.expect(&["ended 0.0 finished: Command exited with status 0", "ACKNOWLEDGE j.0 u"]);
}

#[test]
fn now_and_then_the_unknown_is_looked_for() {
    let mut env = Env::running(job(0, 1));
    env.drain();
    env.core.progress(marmoset_scheduler_core::JobId(0)).unwrap();
    for _ in 0..14 {
        env.advance(60 * SECOND);
        env.event(event::Type::Heartbeat, |_| ());
    }
    env.drain();
    env.advance(61 * SECOND);
    env.expect(&["RECONCILE all"]);
    env.update(Update::master("foreign", TaskState::TaskRunning, Reason::Reconciliation));
    env.expect(&["KILL foreign at S0"]);
    env.update(Update::new("foreign", TaskState::TaskKilled, "u"));
    env.expect(&["ACKNOWLEDGE foreign u"]);
}

#[test]
fn a_call_without_subscription_ends_the_stream() {
    let mut env = Env::running(job(1, 1));
    env.notices = true;
    let call = Box::new(env.calls.first().cloned().unwrap_or_default());
    let why = CallFailure::NotSubscribed { why: "403 Forbidden".to_owned() };
    env.input(Input::CallFailed { call, why });
    env.expect(&[
        "note: UNKNOWN failed, 403 Forbidden",
        "disconnect: 403 Forbidden",
        "unsubscribed: 403 Forbidden",
    ]);
}

#[test]
fn stopping() {
    let mut env = Env::running(job(2, 1));
    env.offer("O1", "S0", "cpus:2;mem:1024");
    env.drain();
    env.input(stop(StopMode::Graceful));
    env.expect(&["never started 1", "KILL j.0 at S0"]);
    env.update(
        Update::new("j.0", TaskState::TaskKilled, "u")
            .message("Command terminated with signal Terminated"),
    );
    env.expect(&[
        "ended 0.0 killed: Command terminated with signal Terminated",
        "ACKNOWLEDGE j.0 u",
        "job ended",
        "TEARDOWN",
        "stopped: requested",
        "finished: requested",
    ]);

    let mut env = Env::running(job(2, 1));
    env.input(stop(StopMode::Now));
    env.expect(&["TEARDOWN", "stopped: requested", "finished: requested"]);
    env.offer("O1", "S0", "cpus:2;mem:1024");
    env.expect(&[]);
}

#[test]
fn jobs_that_cannot_be() {
    let mut env = Env::new();
    let now = env.now();
    let mut refuse = |change: fn(&mut marmoset_scheduler_core::JobSpec)| {
        let mut spec = job(1, 1);
        change(&mut spec);
        env.core.submit(now, spec).unwrap_err().to_string()
    };
    assert_eq!(
        refuse(|spec| spec.name = "a/b".to_owned()),
        "`name` must be 1 to 200 characters without `/`, `\\` and control characters, not `a/b`"
    );
    assert_eq!(
        refuse(|spec| spec.command.value = None),
        "`command.value` is empty: name a program"
    );
    assert_eq!(
        refuse(|spec| spec.need = marmoset_proto::resources::Need::default()),
        "`need` is nothing: ask for cpus or mem"
    );
    assert_eq!(
        refuse(|spec| spec.timeout = Some(Duration::ZERO)),
        "`timeout` is zero: leave it out for no limit"
    );
    env.submit(job(1, 1));
    let taken = env.core.submit(now, job(1, 1));
    assert_eq!(taken, Err(JobError::NameTaken { name: "j".to_owned() }));
}
