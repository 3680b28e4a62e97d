//! One readable timeline per scenario.

use std::time::Duration;

use marmoset_proto::mesos::v1::{CommandInfo, DurationInfo, TaskInfo};

use super::sim::{Sim, batch, checkpointing, config, single, slow, slow_batch, task};
use crate::{Config, Disconnection, Input, UpdatePace};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const TERM: i32 = 15;
const KILL: i32 = 9;

fn member(id: &str) -> TaskInfo {
    let command = Some(CommandInfo { value: Some("work".into()), ..CommandInfo::default() });
    TaskInfo { name: id.into(), task_id: id.into(), command, ..TaskInfo::default() }
}

/// Starts, answers and acknowledges.
fn run_for(sim: &mut Sim, tasks: &[&str], time: Duration) {
    for task in tasks {
        sim.started(task);
    }
    sim.flush();
    sim.pass(time);
    sim.flush();
}

#[test]
fn a_start_is_told_at_once_while_little_is_said() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("short"));
    sim.started("short");
    sim.flush();
    sim.pass(2 * MS);
    sim.exited("short", 0);
    sim.flush();
    for number in 0..5 {
        let name = format!("flood-{number}");
        sim.launch(single(&name));
        sim.started(&name);
        sim.flush();
        sim.pass(2 * MS);
        sim.exited(&name, 0);
        sim.flush();
    }
    sim.pass(S);
    sim.launch(single("later"));
    sim.started("later");
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_short_task_costs_one_update_and_a_long_one_three() {
    // As under load.
    let update_pace = UpdatePace { burst: 0, ..UpdatePace::default() };
    let mut sim = Sim::subscribed(Config { update_pace, ..config() });
    sim.launch(single("short"));
    sim.started("short");
    sim.pass(2 * MS);
    sim.exited("short", 0);
    sim.flush();
    sim.launch(single("long"));
    sim.pass(30 * MS);
    sim.flush();
    sim.started("long");
    sim.pass(100 * MS);
    sim.flush();
    sim.exited("long", 3 << 8);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_batch_reports_its_items() {
    let mut sim = Sim::subscribed(config());
    sim.launch(batch("b", 5, 2));
    run_for(&mut sim, &["j-b.0", "j-b.1"], 200 * MS);
    sim.exited("j-b.0", 0);
    sim.started("j-b.2");
    sim.pass(100 * MS);
    sim.exited("j-b.1", 1 << 8);
    sim.refused("j-b.3", "command `work` not found in PATH `/bin`");
    sim.started("j-b.4");
    // Its last report is not acknowledged: no other goes out.
    sim.pass(S);
    sim.flush();
    sim.pass(S);
    sim.exited("j-b.2", 0);
    sim.pass(300 * MS);
    sim.flush();
    sim.exited("j-b.4", TERM);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_kill_escalates_and_a_second_one_only_hurries() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    run_for(&mut sim, &["t"], 50 * MS);
    sim.kill("t", None);
    sim.pass(S);
    sim.flush();
    sim.kill("t", Some(10 * S));
    sim.kill("t", Some(S / 2));
    sim.pass(S);
    sim.exited("t", KILL);
    sim.flush();
    sim.kill("t", None);
    sim.kill("never was", None);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn kills_before_the_process_is_there() {
    let mut config = config();
    config.starting = 1;
    let mut sim = Sim::subscribed(config);
    sim.launch(single("starting"));
    sim.launch(single("queued"));
    sim.kill("queued", None);
    sim.kill("starting", Some(S));
    sim.flush();
    sim.pass(2 * S);
    sim.started("starting");
    sim.exited("starting", KILL);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_batch_does_not_keep_others_waiting() {
    let mut sim = Sim::subscribed(Config { starting: 1, ..config() });
    sim.launch(batch("large", 6, 5));
    sim.launch(single("late"));
    sim.launch(batch("second", 2, 2));
    for name in ["j-large.0", "j-large.1", "late", "j-second.0", "j-large.2", "j-second.1"] {
        sim.started(name);
    }
    insta::assert_snapshot!(sim.log);
}

#[test]
fn what_waits_for_files_keeps_nobody_waiting() {
    let mut sim = Sim::subscribed(Config { starting: 1, starting_slow: 2, ..config() });
    sim.launch(slow_batch("far", 4, 3));
    sim.launch(slow("near"));
    sim.launch(single("here"));
    sim.started("here");
    sim.started("near");
    sim.started("j-far.0");
    // Killed while files are fetched: the runtime gives it up.
    sim.message(r#"{"kill": {"task_id": {"value": "far"}, "indices": [{"begin": 1, "end": 1}]}}"#);
    sim.cancelled("j-far.1");
    // The launcher has two of them, and not the one that still waits for its files.
    sim.exited("here", 0);
    sim.input(Input::LauncherDied("killed by signal 9".into()));
    sim.started("j-far.2");
    sim.shutdown();
    sim.started("j-far.3");
    sim.flush();
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_group_lives_and_dies_together() {
    let mut sim = Sim::subscribed(config());
    sim.launch_group(vec![member("a"), member("b"), member("c")]);
    run_for(&mut sim, &["a", "b", "c"], 50 * MS);
    sim.exited("a", 0);
    sim.exited("b", 2 << 8);
    sim.exited("c", TERM);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_group_with_an_unusable_member_does_not_run() {
    let mut sim = Sim::subscribed(config());
    let bad = TaskInfo { command: Some(CommandInfo::default()), ..member("bad") };
    sim.launch_group(vec![member("good"), bad]);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn items_are_taken_back_and_killed() {
    let mut sim = Sim::subscribed(config());
    sim.launch(batch("b", 10, 2));
    run_for(&mut sim, &["j-b.0", "j-b.1"], 200 * MS);
    sim.message(r#"{"take_back": {"task_id": {"value": "b"}, "indices": [{"begin": 1, "end": 4}, {"begin": 9, "end": 20}]}}"#);
    sim.flush();
    sim.message(
        r#"{"kill": {"task_id": {"value": "b"}, "indices": [{"begin": 0, "end": 0}, {"begin": 6, "end": 6}],
            "kill_policy": {"grace_period": {"nanoseconds": 0}}}}"#,
    );
    sim.exited("j-b.0", KILL);
    sim.pass(200 * MS);
    sim.flush();
    sim.message("{}");
    sim.message("nonsense");
    sim.message(r#"{"kill": {"task_id": {"value": "c"}}}"#);
    sim.kill("b", None);
    for item in ["j-b.1", "j-b.5"] {
        if !sim.runs.contains_key(item) {
            continue;
        }
        sim.started(item);
        sim.exited(item, TERM);
    }
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_limit_ends_a_task_and_an_item() {
    let mut sim = Sim::subscribed(config());
    let limit = Some(DurationInfo::from(S));
    sim.launch(TaskInfo { max_completion_time: limit, ..single("t") });
    sim.launch(task(
        "b",
        r#"{"batch": {"command": {"value": "x"}, "job": "j", "items": [{"index": 7, "attempt": 2}],
            "max_completion_time": {"nanoseconds": 2000000000}}}"#,
    ));
    run_for(&mut sim, &["t", "j.7.r2"], S);
    sim.exited("t", TERM);
    sim.flush();
    sim.pass(5 * S);
    sim.exited("j.7.r2", KILL);
    sim.flush();
    insta::assert_snapshot!(sim.log);
}

#[test]
fn a_lost_stream_is_subscribed_again_with_what_is_owed() {
    let mut sim = Sim::subscribed(checkpointing());
    sim.launch(single("a"));
    sim.launch(single("b"));
    run_for(&mut sim, &["a"], 50 * MS);
    sim.launch(single("c"));
    sim.pass(25 * MS);
    sim.lose_stream();
    sim.exited("a", 0);
    let connection = loop {
        sim.pass(10 * MS);
        if let Some(connection) = sim.connection {
            break connection;
        }
    };
    sim.input(Input::Disconnected(connection, Disconnection::Broken("refused".into())));
    sim.pass(S);
    sim.accept();
    sim.flush();
    sim.exited("b", 0);
    sim.flush();
    insta::assert_snapshot!(sim.log);
}

#[test]
fn shutdown_leaves_room_for_acknowledgements() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("polite"));
    sim.launch(single("stubborn"));
    sim.launch(batch("b", 4, 1));
    run_for(&mut sim, &["polite", "stubborn", "j-b.0"], 50 * MS);
    sim.shutdown();
    sim.launch(single("late"));
    sim.exited("polite", TERM);
    sim.exited("j-b.0", TERM);
    sim.pass(3 * S);
    sim.exited("stubborn", KILL);
    sim.answer();
    sim.pass(S / 2);
    assert_eq!(sim.exit, None);
    sim.flush();
    insta::assert_snapshot!(sim.log);
}

#[test]
fn without_checkpointing_a_lost_stream_is_the_end() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    run_for(&mut sim, &["t"], 50 * MS);
    sim.lose_stream();
    sim.pass(S);
    sim.exited("t", TERM);
    while let Some((call, _)) = sim.calls.pop_front() {
        sim.input(Input::CallDone(call));
    }
    insta::assert_snapshot!(sim.log);
}

#[test]
fn the_launcher_dies() {
    let mut sim = Sim::subscribed(config());
    sim.launch(single("t"));
    sim.launch(batch("b", 3, 1));
    run_for(&mut sim, &["t", "j-b.0"], 50 * MS);
    sim.input(Input::LauncherDied("killed by signal 9".into()));
    sim.flush();
    sim.started("j-b.1");
    insta::assert_snapshot!(sim.log);
}
