//! What single inputs do, and nothing else.

use std::time::Duration;

use marmoset_proto::mesos::v1::{
    TaskInfo,
    executor::{Event, event},
};

use super::sim::{Sim, batch, checkpointing, config, event, single, task};
use crate::{Config, Disconnection, Exit, Input, QueueBounds, Signal, UpdatePace, UpdatePolicy};

const S: Duration = Duration::from_secs(1);

#[test]
fn every_policy_tells_what_it_says() {
    for (updates, expected) in [
        (UpdatePolicy::All, vec!["starting", "running", "finished"]),
        (UpdatePolicy::Coalesce, vec!["finished"]),
        (UpdatePolicy::Terminal, vec!["finished"]),
    ] {
        let update_pace = UpdatePace { burst: 0, ..UpdatePace::default() };
        let mut sim = Sim::subscribed(Config { updates, update_pace, ..config() });
        sim.launch(single("t"));
        sim.started("t");
        sim.exited("t", 0);
        let mut states = Vec::new();
        while let Some((_, status)) = sim.calls.front() {
            states.push(status.state().short_name());
            sim.answer();
        }
        assert_eq!(states, expected, "{updates}");
    }
}

#[test]
fn results_travel_under_every_policy() {
    for updates in [UpdatePolicy::All, UpdatePolicy::Coalesce, UpdatePolicy::Terminal] {
        let mut sim = Sim::subscribed(Config { updates, ..config() });
        sim.launch(batch("b", 2, 1));
        sim.started("j-b.0");
        sim.exited("j-b.0", 0);
        sim.flush();
        sim.pass(S);
        sim.take_log();
        sim.flush();
        sim.started("j-b.1");
        sim.exited("j-b.1", 0);
        let log = sim.take_log();
        assert!(log.contains("b finished `2 items: 2 finished` 1:finished"), "{updates}: {log}");
    }
}

#[test]
fn the_queue_is_bounded_and_says_so() {
    let queue = QueueBounds { tasks: 1, items: 10 };
    let mut sim = Sim::subscribed(Config { queue, ..config() });
    sim.launch(single("a"));
    sim.launch(single("b"));
    assert!(sim.take_log().contains(
        "UPDATE #1 b failed `the executor's queue is full: 1 tasks wait to be started and `--queue` allows 1`"
    ));
    // A running task does not wait.
    sim.started("a");
    sim.launch(batch("c", 11, 1));
    let log = sim.take_log();
    assert!(
        log.contains("0 items wait to be started, the batch has 11, and `--queue-items` allows 10"),
        "{log}"
    );
    sim.launch(batch("d", 10, 1));
    assert!(sim.take_log().contains("received d of 10"));
    sim.launch(batch("e", 2, 1));
    sim.started("j-d.0");
    let log = sim.take_log();
    assert!(log.contains("`--queue` allows 1"), "{log}");
    sim.launch(batch("f", 2, 1));
    let log = sim.take_log();
    assert!(log.contains("9 items wait to be started, the batch has 2"), "{log}");
}

#[test]
fn a_group_that_does_not_fit_is_refused_whole() {
    let queue = QueueBounds { tasks: 2, items: 10 };
    let mut sim = Sim::subscribed(Config { queue, ..config() });
    sim.launch_group(vec![single("a"), single("b"), single("c")]);
    sim.flush();
    assert_eq!(sim.log.matches("failed `the executor's queue is full").count(), 3, "{}", sim.log);
    assert_eq!(sim.core.tasks(), 0);
}

#[test]
fn a_task_that_is_here_is_not_launched_again() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    sim.take_log();
    sim.launch(single("t"));
    assert!(sim.take_log().contains("LAUNCH of t ignored"));
    assert_eq!(sim.spawned.len(), 1);
}

#[test]
fn bad_ids_run_nothing() {
    let mut sim = Sim::subscribed(config());
    for id in ["a/b", "..", ""] {
        sim.launch(single(id));
    }
    assert_eq!(sim.spawned.len(), 0);
    assert_eq!(sim.log.matches("REASON_TASK_INVALID").count(), 3, "{}", sim.log);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
}

#[test]
fn foreign_data_is_an_error_that_tells_what_is_expected() {
    let mut sim = Sim::subscribed(config());
    sim.launch(task("t", "echo hello"));
    assert!(
        sim.log.contains("t error `") && sim.log.contains("marmoset.v1.TaskSpec"),
        "{}",
        sim.log
    );
}

#[test]
fn a_grace_of_nothing_kills_at_once() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    sim.started("t");
    sim.kill("t", Some(Duration::ZERO));
    let signals = sim.signals.iter().map(|(_, signal)| *signal).collect::<Vec<_>>();
    assert_eq!(signals, [Signal::Term, Signal::Kill]);
}

#[test]
fn the_first_cause_of_an_end_is_told() {
    let mut sim = Sim::subscribed(config());
    let limited = TaskInfo { max_completion_time: Some((S).into()), ..single("t") };
    sim.launch(limited);
    sim.started("t");
    sim.pass(S);
    sim.kill("t", None);
    sim.exited("t", 15);
    sim.flush();
    assert!(sim.log.contains("t failed `Command terminated with signal Terminated` REASON_MAX_COMPLETION_TIME_REACHED"), "{}", sim.log);
}

#[test]
fn a_refused_subscription_ends_the_executor() {
    let mut sim = Sim::new(config());
    let connection = sim.connection.unwrap();
    sim.input(Input::Disconnected(connection, Disconnection::Refused("400: nobody".into())));
    assert!(matches!(sim.exit, Some(Exit::Refused(_))), "{}", sim.log);
}

#[test]
fn an_error_event_ends_the_executor() {
    let mut sim = Sim::subscribed(config());
    let error = Some(event::Error { message: "no".into() });
    sim.event(Event { error, ..event(event::Type::Error) });
    assert!(matches!(sim.exit, Some(Exit::Refused(_))), "{}", sim.log);
}

#[test]
fn an_idle_executor_ends_at_once() {
    let mut sim = Sim::subscribed(config());
    sim.shutdown();
    assert_eq!(sim.exit, Some(Exit::Ordered));
    assert_eq!(sim.core.poll_wake(), None);
}

#[test]
fn an_agent_that_acknowledges_nothing_does_not_hold_the_executor() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    sim.started("t");
    sim.shutdown();
    sim.exited("t", 15);
    while sim.answer() {}
    sim.pass(2 * S);
    assert_eq!(sim.exit, Some(Exit::Ordered));
}

#[test]
fn the_shutdown_grace_is_kept_whatever_happens() {
    for grace in [Duration::from_millis(10), S, 5 * S, 60 * S] {
        let mut sim = Sim::subscribed(Config { shutdown_grace: grace, ..config() });
        sim.launch(single("t"));
        sim.started("t");
        let before = sim.at;
        sim.shutdown();
        sim.pass(grace);
        assert_eq!(sim.exit, Some(Exit::Ordered), "{grace:?}");
        assert!(sim.signals.iter().any(|(_, signal)| *signal == Signal::Kill));
        assert!(sim.at - before <= grace);
    }
}

#[test]
fn a_recovery_that_takes_too_long_ends_the_executor() {
    let mut sim = Sim::subscribed(checkpointing());
    sim.launch(single("t"));
    sim.started("t");
    sim.lose_stream();
    let mut refused = 0;
    while sim.exit.is_none() {
        sim.pass(S / 10);
        if let Some(connection) = sim.connection {
            refused += 1;
            sim.input(Input::Disconnected(connection, Disconnection::Broken("refused".into())));
        }
        assert!(sim.at < 910 * S);
        sim.take_log();
    }
    assert!(matches!(sim.exit, Some(Exit::AgentLost(_))));
    assert!(refused > 1000, "{refused}");
}

#[test]
fn a_failed_call_leads_to_a_new_subscription_with_the_same_update() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    sim.started("t");
    sim.exited("t", 0);
    let (call, lost) = sim.calls.pop_front().unwrap();
    sim.input(Input::CallFailed(call, Disconnection::Broken("reset".into())));
    let subscribe = sim.subscribe.clone().unwrap().subscribe.unwrap();
    assert_eq!(subscribe.unacknowledged_updates[0].status, lost);
    assert_eq!(subscribe.unacknowledged_tasks[0].task_id.as_str(), "t");
    sim.accept();
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    // Answers to calls of a connection that was given up mean nothing.
    sim.take_log();
    sim.input(Input::CallDone(call));
    sim.input(Input::CallFailed(call, Disconnection::Broken("reset".into())));
    assert_eq!(sim.take_log(), "");
}

#[test]
fn an_update_that_can_never_be_delivered_ends_the_executor() {
    let mut sim = Sim::subscribed(checkpointing());
    sim.launch(single("t"));
    sim.started("t");
    sim.exited("t", 0);
    let (call, _) = sim.calls.pop_front().unwrap();
    sim.input(Input::CallFailed(call, Disconnection::Refused("400: bad".into())));
    sim.pass(5 * S);
    assert!(matches!(sim.exit, Some(Exit::Refused(_))), "{}", sim.log);
}

#[test]
fn a_stream_that_swallows_acknowledgements_is_replaced_once() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    sim.started("t");
    sim.exited("t", 0);
    while sim.answer() {}
    sim.unacknowledged.clear();
    sim.take_log();
    sim.pass(31 * S);
    let log = sim.take_log();
    assert!(log.contains("acknowledgement for t overdue") && log.contains("SUBSCRIBE"), "{log}");
    sim.accept();
    // The agent does not know the task: it will never acknowledge. That is no reason to go on so.
    sim.unacknowledged.clear();
    sim.take_log();
    sim.pass(600 * S);
    assert_eq!(sim.take_log(), "");
}

#[test]
fn acknowledgements_of_others_are_ignored() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    sim.started("t");
    sim.exited("t", 0);
    let mut status = sim.calls.front().unwrap().1.clone();
    status.task_id = "u".into();
    sim.acknowledge_one(&status);
    status.uuid = Some(bytes::Bytes::from_static(b"short"));
    sim.acknowledge_one(&status);
    assert_eq!(sim.log.matches("acknowledgement for u ignored").count(), 2);
    assert_eq!(sim.core.tasks(), 1);
}

#[test]
fn events_of_an_old_connection_are_ignored() {
    let mut sim = Sim::subscribed(checkpointing());
    let old = sim.connection.unwrap();
    sim.lose_stream();
    sim.pass(S);
    sim.accept();
    sim.take_log();
    sim.input(Input::Event(old, Box::new(event(event::Type::Shutdown))));
    sim.input(Input::Disconnected(old, Disconnection::Ended));
    assert_eq!(sim.take_log(), "");
}

#[test]
fn sigterm_while_the_agent_is_away_still_delivers() {
    let mut sim = Sim::subscribed(checkpointing());
    sim.launch(single("t"));
    sim.started("t");
    sim.lose_stream();
    sim.input(Input::Terminate);
    sim.exited("t", 15);
    sim.pass(S);
    sim.accept();
    sim.flush();
    assert_eq!(sim.exit, Some(Exit::Ordered), "{}", sim.log);
}

#[test]
fn reports_fit_and_items_stop_when_nobody_listens() {
    let mut sim = Sim::subscribed(checkpointing());
    sim.launch(batch("b", 100_000, 1));
    sim.lose_stream();
    let mut started = 0;
    // Long messages fill the reports quickly.
    let message = "x".repeat(4000);
    for index in 0..100_000 {
        let name = format!("j-b.{index}");
        if !sim.runs.contains_key(&name) {
            break;
        }
        sim.refused(&name, &message);
        started += 1;
        sim.take_log();
    }
    assert!((300..1000).contains(&started), "{started}");
    sim.pass(10 * S);
    sim.accept();
    sim.pass(S);
    for (_, status) in &sim.calls {
        assert!(status.data.as_ref().unwrap().len() <= crate::REPORT_BYTES_MAX);
    }
    while sim.runs.is_empty() {
        sim.flush();
        sim.pass(S);
    }
    assert_eq!(sim.run(&format!("j-b.{started}")).0, started + 1);
}

/// Items of `j-b` that the runtime has, the first of their slots and those behind them.
fn given(sim: &Sim) -> (Vec<String>, Vec<String>) {
    let runs = sim.runs.iter().map(|(task, run)| (task.clone(), sim.is_behind(*run)));
    let (behind, first): (Vec<_>, Vec<_>) = runs.partition(|(_, behind)| *behind);
    let names = |runs: Vec<(String, bool)>| runs.into_iter().map(|(task, _)| task).collect();
    (names(first), names(behind))
}

#[test]
fn short_items_are_given_away_ahead_of_time_and_wanted_back_from_behind_one_that_lasts() {
    let mut sim = Sim::subscribed(config());
    sim.launch(batch("b", 1000, 2));
    for round in 0..2 {
        let (first, behind) = given(&sim);
        assert_eq!((first.len(), behind.len()), (2, 0), "{round}");
        for task in first {
            sim.started(&task);
            sim.pass(Duration::from_millis(1));
            sim.exited(&task, 0);
        }
    }
    let (first, _) = given(&sim);
    first.iter().for_each(|task| sim.started(task));
    let (still, behind) = given(&sim);
    assert_eq!((&still, behind.len()), (&first, 48), "24 a slot");
    // One slot goes on, the other has an item that lasts.
    sim.exited(&first[0], 0);
    let (now, behind) = given(&sim);
    let next = now.iter().find(|task| **task != first[1]).unwrap().clone();
    assert_eq!((now.len(), behind.len()), (2, 48), "one moved up, another came");
    sim.started(&next);
    for _ in 0..30 {
        sim.pass(Duration::from_millis(4));
        let (now, _) = given(&sim);
        let next = now.iter().find(|task| **task != first[1]).unwrap().clone();
        if sim.cancelled_tasks().contains(&next) {
            continue;
        }
        sim.exited(&next, 0);
        let (now, _) = given(&sim);
        let next = now.iter().find(|task| **task != first[1]).unwrap().clone();
        sim.started(&next);
    }
    let wanted = sim.cancelled_tasks();
    assert_eq!(wanted.len(), 24, "all behind the one that lasts");
    wanted.iter().for_each(|task| sim.returned(task));
    // They go to the slot that is free first, before all others, and all items end once.
    sim.take_log();
    let mut rest = 0;
    while sim.core.active_tasks() > 0 {
        rest += 1;
        assert!(rest < 2000, "it never ends");
        let (now, _) = given(&sim);
        let next = now.iter().find(|task| **task != first[1]).unwrap_or(&first[1]).clone();
        if next != first[1] {
            sim.started(&next);
        }
        sim.exited(&next, 0);
        sim.flush();
    }
    let log = sim.take_log();
    assert!(log.contains("b finished `1000 items: 1000 finished`"), "{log}");
}

/// A batch `b` of 100 with one slot, four of which have ended: the item that runs, and those behind it.
fn brisk() -> (Sim, String, Vec<String>) {
    let mut sim = Sim::subscribed(config());
    sim.launch(batch("b", 100, 1));
    for _ in 0..4 {
        let (first, _) = given(&sim);
        sim.started(&first[0]);
        sim.exited(&first[0], 0);
    }
    let (mut first, _) = given(&sim);
    sim.started(&first[0]);
    let (_, behind) = given(&sim);
    assert_eq!(behind.len(), 24);
    (sim, first.remove(0), behind)
}

#[test]
fn items_behind_others_are_killed_where_they_are() {
    let (mut sim, first, behind) = brisk();
    sim.kill("b", Some(S));
    assert_eq!(sim.cancelled_tasks(), behind);
    behind.iter().for_each(|task| sim.returned(task));
    sim.exited(&first, 15);
    sim.flush();
    let log = sim.take_log();
    assert!(log.contains("b killed `100 items: 4 finished, 96 killed`"), "{log}");
    assert_eq!(sim.core.active_tasks(), 0);
}

#[test]
fn items_behind_others_are_taken_back_where_they_are() {
    let (mut sim, first, behind) = brisk();
    sim.message(r#"{"take_back": {"task_id": {"value": "b"}}}"#);
    assert_eq!(sim.cancelled_tasks(), behind);
    // All but one come back; that one had started.
    let (kept, back) = behind.split_first().unwrap();
    back.iter().for_each(|task| sim.returned(task));
    sim.exited(&first, 0);
    sim.started(kept);
    sim.exited(kept, 0);
    sim.flush();
    let log = sim.take_log();
    assert!(log.contains("b finished `100 items: 6 finished, 94 returned`"), "{log}");
    assert_eq!(sim.core.active_tasks(), 0);
}

/// The agent goes, and a call is the first to notice.
fn fail_call(sim: &mut Sim) {
    sim.launch(single("t"));
    sim.started("t");
    let (call, _) = sim.calls.front().cloned().expect("an update is on its way");
    sim.input(Input::CallFailed(call, Disconnection::Broken("reset".into())));
}

#[test]
fn an_agent_that_a_call_has_missed_first_is_lost_without_checkpointing() {
    let mut sim = Sim::subscribed(config());
    fail_call(&mut sim);
    assert_eq!(sim.exit, None, "the stream may be well");
    let connection = sim.connection.expect("another one is opened");
    sim.input(Input::Disconnected(connection, Disconnection::Broken("refused".into())));
    assert_eq!(sim.signals.len(), 1, "what runs is ended: {}", sim.log);
    sim.exited("t", 15);
    sim.pass(S * 5);
    assert!(matches!(sim.exit, Some(Exit::AgentLost(_))), "{:?}", sim.exit);
}

#[test]
fn an_agent_that_a_call_has_missed_first_has_the_whole_recovery_timeout() {
    let mut sim = Sim::subscribed(checkpointing());
    sim.pass(S * 1000);
    fail_call(&mut sim);
    // 15 minutes, from now on.
    for _ in 0..89 {
        sim.pass(S * 10);
        assert_eq!(sim.exit, None, "{}", sim.log);
    }
    sim.exited("t", 0);
    sim.pass(S * 20);
    assert!(sim.log.contains("did not come back within the recovery timeout"), "{}", sim.log);
}
