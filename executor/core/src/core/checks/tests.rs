//! Checks in the life of a task.

use std::time::Duration;

use marmoset_proto::mesos::v1::{
    CheckInfo, CommandInfo, DurationInfo, HealthCheck, TaskInfo, TaskStatus, check_info,
    health_check,
};

use super::super::sim::{Sim, batch, config, policy, single};
use crate::{Answer, Attempt, Config, Input, QueueBounds, RunEvent, StartDetails, UpdatePolicy};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const TERM: i32 = 15;
const DOWN: i32 = 1 << 8;

fn command(value: &str) -> CommandInfo {
    CommandInfo { value: Some(value.into()), ..CommandInfo::default() }
}

fn health() -> HealthCheck {
    HealthCheck {
        r#type: Some(health_check::Type::Command.into()),
        command: Some(command("probe")),
        delay_seconds: Some(1.0),
        interval_seconds: Some(2.0),
        timeout_seconds: Some(3.0),
        consecutive_failures: Some(2),
        grace_period_seconds: Some(2.0),
        ..HealthCheck::default()
    }
}

fn check() -> CheckInfo {
    CheckInfo {
        r#type: Some(check_info::Type::Command.into()),
        command: Some(check_info::Command { command: command("look") }),
        delay_seconds: Some(1.0),
        interval_seconds: Some(2.0),
        ..CheckInfo::default()
    }
}

fn healthy(id: &str) -> TaskInfo {
    TaskInfo { health_check: Some(health()), ..single(id) }
}

fn exited(wait_status: i32) -> Answer {
    Answer::Exited { wait_status }
}

/// Starts a task and lets the agent take its first updates.
fn run(sim: &mut Sim, task: TaskInfo) {
    let id = task.task_id.value.clone();
    sim.launch(task);
    sim.started(&id);
    sim.pass(50 * MS);
    sim.flush();
}

/// Everything the agent has not acknowledged, in order.
fn told(sim: &mut Sim) -> Vec<TaskStatus> {
    let mut told = Vec::new();
    while sim.answer() || !sim.unacknowledged.is_empty() {
        if let Some(status) = sim.unacknowledged.front().cloned() {
            told.push(status);
            sim.acknowledge();
        }
    }
    told
}

#[test]
fn a_task_that_turns_bad_is_killed() {
    let mut sim = Sim::subscribed(config());
    run(&mut sim, healthy("t"));
    // In the grace period: nothing is told.
    sim.next_probe();
    sim.probed(exited(DOWN));
    sim.next_probe();
    sim.probed(exited(0));
    sim.flush();
    sim.next_probe();
    sim.probed(exited(0));
    sim.next_probe();
    sim.probed(exited(DOWN));
    sim.flush();
    sim.next_probe();
    // It hangs.
    sim.pass(3 * S);
    sim.flush();
    sim.exited("t", TERM);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn both_checks_are_in_every_update() {
    let mut sim = Sim::subscribed(config());
    run(&mut sim, TaskInfo { check: Some(check()), ..healthy("t") });
    assert_eq!(sim.next_probe().spawn.task, "t");
    sim.probed(exited(0));
    sim.probed(exited(3 << 8));
    sim.flush();
    sim.kill("t", None);
    sim.flush();
    sim.exited("t", TERM);
    sim.flush();
    assert_eq!(sim.core.tasks(), 0);
    insta::assert_snapshot!(sim.log);
}

#[test]
fn without_the_capability_there_is_no_killing() {
    for killing_state in [true, false] {
        let mut sim = Sim::new(Config { updates: UpdatePolicy::All, ..config() });
        sim.killing_state = killing_state;
        sim.accept();
        run(&mut sim, healthy("t"));
        sim.pass(2 * S);
        sim.probed(exited(0));
        for _ in 0..2 {
            sim.answer();
            sim.next_probe();
            sim.probed(exited(DOWN));
        }
        sim.pass(50 * MS);
        sim.exited("t", TERM);
        let told = told(&mut sim);
        let told = told.iter().map(|status| (status.state().short_name(), status.healthy));
        let told = told.collect::<Vec<_>>();
        let mut expected = vec![
            ("running", Some(true)),
            ("running", Some(false)),
            ("running", Some(false)),
            ("killing", Some(false)),
            ("killed", Some(false)),
        ];
        expected.retain(|(state, _)| killing_state || *state != "killing");
        assert_eq!(told, expected);
    }
}

#[test]
fn findings_are_sent_under_every_policy() {
    for updates in [UpdatePolicy::All, UpdatePolicy::Coalesce, UpdatePolicy::Terminal] {
        let mut sim = Sim::subscribed(Config { updates, ..config() });
        run(&mut sim, healthy("t"));
        sim.next_probe();
        sim.probed(exited(0));
        let told = told(&mut sim);
        let [status] = &told[..] else { panic!("{updates}: {told:?}") };
        assert_eq!((status.state().short_name(), status.healthy), ("running", Some(true)));
        assert_eq!(status.reason().as_str_name(), "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED");
    }
}

#[test]
fn a_finding_gives_way_to_the_next_of_its_kind_and_to_nothing_else() {
    for updates in [UpdatePolicy::All, UpdatePolicy::Coalesce, UpdatePolicy::Terminal] {
        let mut sim = Sim::subscribed(Config { updates, ..config() });
        let check = CheckInfo { delay_seconds: Some(1.5), ..check() };
        let health_check = HealthCheck { consecutive_failures: Some(1000), ..health() };
        let task = TaskInfo { check: Some(check), health_check: Some(health_check), ..single("t") };
        run(&mut sim, task);
        // The agent answers no call: one is on its way, and two findings wait.
        for round in 0..100 {
            sim.next_probe();
            sim.probed(exited(if round % 2 == 0 { 0 } else { DOWN }));
            sim.next_probe();
            sim.probed(exited(round << 8));
        }
        let told = told(&mut sim);
        let told = told.iter().map(|status| {
            let code = status.check_status.and_then(|check| check.command?.exit_code);
            (status.reason().as_str_name(), status.healthy, code)
        });
        let (judged, changed) =
            ("REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", "REASON_TASK_CHECK_STATUS_UPDATED");
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (judged, Some(true), None),
                (judged, Some(false), Some(98)),
                (changed, Some(false), Some(99)),
            ],
            "{updates}"
        );
    }
}

#[test]
fn a_limit_ends_the_checks_and_a_kill_then_says_nothing() {
    let mut sim = Sim::subscribed(config());
    let limit = Some(DurationInfo::from(S + S / 2));
    run(&mut sim, TaskInfo { max_completion_time: limit, ..healthy("t") });
    sim.next_probe();
    sim.pass(S);
    assert!(sim.probes.is_empty(), "the probe is abandoned");
    sim.kill("t", Some(S));
    sim.exited("t", TERM);
    let told = told(&mut sim);
    let [status] = &told[..] else { panic!("{told:?}") };
    assert_eq!(status.state().short_name(), "failed");
    assert_eq!(status.reason().as_str_name(), "REASON_MAX_COMPLETION_TIME_REACHED");
    assert_eq!(status.message(), "Command terminated with signal Terminated");
}

#[test]
fn the_grace_of_a_health_kill_is_that_of_the_task() {
    let mut sim = Sim::subscribed(config());
    let check = HealthCheck { consecutive_failures: Some(1), ..health() };
    let task =
        TaskInfo { health_check: Some(check), kill_policy: Some(policy(S / 2)), ..single("t") };
    run(&mut sim, task);
    sim.pass(3 * S);
    sim.probed(exited(DOWN));
    assert_eq!(sim.signals.len(), 1);
    sim.pass(499 * MS);
    assert_eq!(sim.signals.len(), 1);
    sim.pass(MS);
    assert_eq!(sim.signals.len(), 2);
}

#[test]
fn nothing_is_probed_before_the_start_and_after_the_end() {
    let mut sim = Sim::subscribed(config());
    sim.launch(healthy("t"));
    sim.launch(healthy("u"));
    sim.pass(10 * S);
    assert!(sim.probes.is_empty());
    // Killed before it started.
    sim.kill("u", None);
    sim.started("u");
    sim.started("t");
    sim.next_probe();
    assert_eq!(sim.probes.len(), 1);
    sim.exited("t", 0);
    sim.exited("u", TERM);
    assert!(sim.probes.is_empty());
    sim.flush();
    sim.pass(60 * S);
    assert!(sim.probes.is_empty());
    assert_eq!(sim.core.tasks(), 0);
}

#[test]
fn a_group_member_that_is_not_healthy_takes_the_others_with_it() {
    let mut sim = Sim::subscribed(config());
    let member = |task: TaskInfo| TaskInfo { command: Some(command("work")), data: None, ..task };
    let check = HealthCheck { consecutive_failures: Some(1), ..health() };
    let sick = TaskInfo { health_check: Some(check), ..single("sick") };
    sim.launch_group(vec![member(sick), member(single("well"))]);
    sim.started("sick");
    sim.started("well");
    sim.pass(2 * S);
    sim.probed(exited(0));
    sim.next_probe();
    sim.probed(exited(DOWN));
    sim.exited("sick", TERM);
    sim.exited("well", TERM);
    sim.flush();
    let killed = sim.log.matches(" killed `Command terminated").count();
    assert_eq!(killed, 2, "{}", sim.log);
    assert_eq!(sim.core.tasks(), 0);
}

#[test]
fn a_refused_task_has_the_empty_status_too() {
    let queue = QueueBounds { tasks: 0, items: 0 };
    let mut sim = Sim::subscribed(Config { queue, ..config() });
    sim.launch(TaskInfo { check: Some(check()), ..single("t") });
    let told = told(&mut sim);
    let status = told[0].check_status.expect("in every update");
    assert_eq!(status.command.expect("the part of its type").exit_code, None);
    assert_eq!(sim.core.tasks(), 0);
}

#[test]
fn batches_are_not_checked_and_say_so() {
    let mut sim = Sim::subscribed(config());
    sim.launch(TaskInfo { health_check: Some(health()), ..batch("h", 2, 1) });
    sim.launch(TaskInfo { check: Some(check()), ..batch("c", 2, 1) });
    for (id, field) in [("h", "health_check"), ("c", "check")] {
        let text = format!("{id} error ``TaskInfo.{field}` is set for a batch, whose runs come");
        assert!(sim.log.contains(&text), "{}", sim.log);
    }
    assert!(sim.spawned.is_empty());
}

#[test]
fn the_container_is_told_again() {
    let mut sim = Sim::subscribed(config());
    sim.launch(healthy("t"));
    let container_status = Some(Default::default());
    let details = StartDetails { container_status, data: Some("inspected".into()) };
    let (run, at) = (sim.run("t"), sim.wall());
    let started = RunEvent::Started { at, details: Some(Box::new(details)) };
    sim.input(Input::Run(run, started));
    sim.next_probe();
    sim.flush();
    sim.probed(exited(0));
    let told = told(&mut sim);
    assert!(told[0].container_status.is_some() && told[0].data.is_none(), "{told:?}");
}

#[test]
fn a_command_is_probed_with_the_tasks_environment_below_its_own() {
    let mut sim = Sim::subscribed(config());
    let data = r#"{"command": {"value": "work {}", "user": "games", "environment": {"variables": [
        {"name": "A", "value": "task"}, {"name": "B", "value": "task"}]}},
        "item": {"index": 3, "line": "x"}}"#;
    let mut check = health();
    check.command = Some(CommandInfo {
        environment: Some(marmoset_proto::mesos::v1::Environment {
            variables: vec![marmoset_proto::mesos::v1::environment::Variable {
                name: "A".into(),
                value: Some("check".into()),
                ..Default::default()
            }],
        }),
        ..command("probe {}")
    });
    run(&mut sim, TaskInfo { data: Some(data.into()), health_check: Some(check), ..single("t") });
    let probe = sim.next_probe();
    let Attempt::Command(template) = &*probe.attempt else { panic!("{probe:?}") };
    assert_eq!(template.command.value(), "probe {}");
    assert_eq!(template.command.user(), "games");
    let variables = template.command.environment.as_ref().unwrap().variables.iter();
    let variables = variables.map(|v| (v.name.as_str(), v.value())).collect::<Vec<_>>();
    assert_eq!(variables, [("A", "task"), ("B", "task"), ("A", "check")]);
    assert_eq!(probe.spawn.item.as_ref().unwrap().index, 3);
}
