//! Checks, kills and time limits: our executor beside the built-in one, on the embedded cluster.
//!
//! The same `TaskInfo` is launched twice, once with a `command` for the built-in executor and once
//! with an `executor` and a TaskSpec, and what the scheduler is told is compared.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use e2e::{
    Framework, Scene,
    framework::{Told, policy},
};
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        CheckInfo, CommandInfo, DurationInfo, HealthCheck, Resource, TaskGroupInfo, TaskId,
        TaskInfo, TaskState, TaskStatus,
        framework_info::capability,
        offer::{Operation, operation},
    },
};

/// A task without anything to do.
fn task() -> TaskInfo {
    TaskInfo {
        name: "task".into(),
        task_id: TaskId::default(),
        resources: vec![Resource::scalar("cpus", 0.1), Resource::scalar("mem", 32.0)],
        ..TaskInfo::default()
    }
}

fn health(what: &str) -> Option<HealthCheck> {
    let json = format!(r#"{{{what}, "delay_seconds": 0, "interval_seconds": 0.1}}"#);
    Some(codec::decode(json.as_bytes(), Encoding::Json).unwrap())
}

/// A probe that works twice, and then not any more. It counts in the folder of its task.
const TWICE: &str = r#""type": "COMMAND", "command": {"value":
    "n=$(cat n || echo 0); echo $((n + 1)) > n; exit $((n / 2))"}"#;

const HEALTH: &str = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED";
const TERMINATED: &str = "Command terminated with signal Terminated";

/// What is told of a task that is healthy, turns bad, and is killed after three failures.
fn rise_and_fall(killing: bool) -> Vec<Told> {
    let mut story = vec![
        ("TASK_STARTING", "", None, ""),
        ("TASK_RUNNING", "", None, ""),
        ("TASK_RUNNING", HEALTH, Some(true), ""),
        ("TASK_RUNNING", HEALTH, Some(false), ""),
        ("TASK_RUNNING", HEALTH, Some(false), ""),
        ("TASK_RUNNING", HEALTH, Some(false), ""),
        ("TASK_KILLING", "", Some(false), ""),
        ("TASK_KILLED", "", Some(false), TERMINATED),
    ];
    story.retain(|(state, ..)| killing || *state != "TASK_KILLING");
    let owned = |(state, reason, healthy, message): (_, _, _, &str)| {
        (state, reason, healthy, message.to_owned())
    };
    story.into_iter().map(owned).collect()
}

/// A server that is good to as many requests and then bad, and its port.
fn page_server(good: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let line = if count < good { "204 No Content" } else { "503 Service Unavailable" };
            answer(stream.unwrap(), line);
        }
    });
    port
}

fn answer(mut stream: TcpStream, line: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let _ = write!(stream, "HTTP/1.1 {line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

/// A server that takes as many connections and is then gone, and its port.
fn connection_server(good: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for _ in 0..good {
            drop(listener.accept().unwrap());
        }
    });
    port
}

/// Launches two tasks, each with a health check that a function makes for it.
fn falls_both_ways(check: impl Fn() -> Option<HealthCheck>) {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[capability::Type::TaskKillingState]);
    let executor = framework.executor();
    let command = CommandInfo { value: Some("sleep 1000".into()), ..CommandInfo::default() };
    let data = Some(r#"{"command": {"value": "sleep 1000"}}"#.into());
    framework.launch(vec![
        TaskInfo {
            task_id: "ours".into(),
            executor: Some(executor),
            data,
            health_check: check(),
            ..task()
        },
        TaskInfo {
            task_id: "builtin".into(),
            command: Some(command),
            health_check: check(),
            ..task()
        },
    ]);
    assert_eq!(framework.assert_same(), rise_and_fall(true));
}

#[test]
fn a_command_turns_bad_and_its_task_is_killed() {
    for killing in [true, false] {
        let scene = Scene::new();
        let capabilities = [capability::Type::TaskKillingState];
        let mut framework = Framework::new(&scene, if killing { &capabilities } else { &[] });
        let check = TaskInfo { health_check: health(TWICE), ..task() };
        framework.launch_both("sleep 1000", &check);
        assert_eq!(framework.assert_same(), rise_and_fall(killing));
    }
}

#[test]
fn a_page_turns_bad_and_its_task_is_killed() {
    falls_both_ways(|| {
        let port = page_server(2);
        health(&format!(r#""type": "HTTP", "http": {{"port": {port}, "path": "/health"}}"#))
    });
}

#[test]
fn a_port_is_closed_and_its_task_is_killed() {
    falls_both_ways(|| {
        let port = connection_server(2);
        health(&format!(r#""type": "TCP", "tcp": {{"port": {port}}}"#))
    });
}

#[test]
fn failures_in_the_grace_period_are_not_told() {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[]);
    let check = r#""type": "COMMAND", "command": {"value": "false"}, "grace_period_seconds": 1.5"#;
    framework.launch_both("sleep 1000", &TaskInfo { health_check: health(check), ..task() });
    let told = framework.assert_same();
    let mut expected = rise_and_fall(false);
    expected.remove(2);
    assert_eq!(told, expected);
    for id in ["ours", "builtin"] {
        let told = &framework.told[id];
        let after = told[2].timestamp() - told[1].timestamp();
        assert!(after > 1.4, "{id}: {after} s after the start");
    }
}

#[test]
fn a_check_tells_its_changes() {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[capability::Type::TaskKillingState]);
    let json = r#"{"type": "COMMAND", "delay_seconds": 0, "interval_seconds": 0.1, "command":
        {"command": {"value": "n=$(cat n || echo 0); echo $((n + 1)) > n; exit $((n / 2))"}}}"#;
    let check: CheckInfo = codec::decode(json.as_bytes(), Encoding::Json).unwrap();
    // Three results, then it ends by itself.
    let script = "until [ \"$(cat n)\" -ge 7 ]; do sleep 0.02; done";
    framework.launch_both(script, &TaskInfo { check: Some(check), ..task() });
    framework.until_ended(&["ours", "builtin"]);
    for id in ["ours", "builtin"] {
        let told = &framework.told[id];
        let codes = told.iter().map(|status| {
            let part = status.check_status.expect("in every update").command;
            part.expect("the part of its type").exit_code
        });
        let codes = codes.collect::<Vec<_>>();
        assert_eq!(codes[..5], [None, None, Some(0), Some(1), Some(2)], "{id}");
        assert!(told.iter().all(|status| status.healthy.is_none()));
        let changes = told.iter().filter(|status| status.reason.is_some());
        for status in changes {
            assert_eq!(status.state(), TaskState::TaskRunning);
            assert_eq!(status.reason().as_str_name(), "REASON_TASK_CHECK_STATUS_UPDATED");
        }
        let end = told.last().unwrap();
        assert_eq!(end.state(), TaskState::TaskFinished, "{id}");
    }
}

#[test]
fn a_time_limit_ends_a_task_with_sigterm_and_without_killing() {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[capability::Type::TaskKillingState]);
    let limit = Some(DurationInfo::from(Duration::from_millis(300)));
    framework.launch_both("sleep 1000", &TaskInfo { max_completion_time: limit, ..task() });
    let (state, reason) = ("TASK_FAILED", "REASON_MAX_COMPLETION_TIME_REACHED");
    assert_eq!(
        framework.assert_same(),
        [
            ("TASK_STARTING", "", None, String::new()),
            ("TASK_RUNNING", "", None, String::new()),
            (state, reason, None, TERMINATED.to_owned()),
        ]
    );
}

#[test]
fn the_policy_of_a_kill_comes_before_that_of_the_task_and_can_only_shorten() {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[capability::Type::TaskKillingState]);
    let day = Duration::from_secs(86_400);
    // Nothing but SIGKILL ends it.
    let script = "trap '' TERM; echo ready > ready; while true; do sleep 0.05; done";
    let check = health(r#""type": "COMMAND", "command": {"value": "test -e ready"}"#);
    let stubborn = TaskInfo { kill_policy: Some(policy(day)), health_check: check, ..task() };
    framework.launch_both(script, &stubborn);
    framework.until(|told| {
        let ready = |told: &Vec<TaskStatus>| told.iter().any(|status| status.healthy == Some(true));
        told.len() == 2 && told.values().all(ready)
    });
    for id in ["ours", "builtin"] {
        framework.kill(id, Some(day));
        framework.kill(id, Some(Duration::from_millis(200)));
        framework.kill(id, Some(day));
        framework.kill(id, None);
    }
    framework.until_ended(&["ours", "builtin"]);
    for id in ["ours", "builtin"] {
        let told = &framework.told[id];
        let killing = told.iter().filter(|status| status.state() == TaskState::TaskKilling);
        assert_eq!(killing.count(), 1, "{id}");
        let end = told.last().unwrap();
        assert_eq!(end.state(), TaskState::TaskKilled, "{id}");
        assert_eq!(end.message(), "Command terminated with signal Killed", "{id}");
    }
    // Once it is known, every update says it.
    let known = framework.told["ours"].iter().skip_while(|status| status.healthy.is_none());
    assert!(known.map(|status| status.healthy).all(|healthy| healthy == Some(true)));
}

#[test]
fn a_member_of_a_group_is_checked_and_takes_the_others_with_it() {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[]);
    let executor = framework.executor();
    let command = CommandInfo { value: Some("sleep 1000".into()), ..CommandInfo::default() };
    let member =
        |id: &str| TaskInfo { task_id: id.into(), command: Some(command.clone()), ..task() };
    let sick = TaskInfo { health_check: health(TWICE), ..member("sick") };
    let members = [sick, member("well")];
    framework.accept(|agent| {
        let on = |task: TaskInfo| TaskInfo {
            agent_id: agent.clone(),
            executor: Some(executor.clone()),
            ..task
        };
        let tasks = members.into_iter().map(on).collect();
        vec![Operation {
            r#type: Some(operation::Type::LaunchGroup.into()),
            launch_group: Some(operation::LaunchGroup {
                executor,
                task_group: TaskGroupInfo { tasks },
            }),
            ..Operation::default()
        }]
    });
    framework.until_ended(&["sick", "well"]);
    assert_eq!(framework.story("sick"), rise_and_fall(false));
    let end = framework.told["well"].last().unwrap();
    assert_eq!((end.state(), end.healthy), (TaskState::TaskKilled, None));
    assert_eq!(end.message(), TERMINATED);
}

#[test]
fn what_cannot_be_checked_is_refused_with_the_field() {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[]);
    let executor = framework.executor();
    let batch = r#"{"batch": {"command": {"value": "true"}, "job": "j", "items": [{"index": 0}]}}"#;
    let port = health(r#""type": "TCP", "tcp": {"port": 70000}"#);
    let single = r#"{"command": {"value": "sleep 1000"}}"#;
    let tasks = [
        ("batch", batch, health(TWICE), "`TaskInfo.health_check` is set for a batch"),
        ("port", single, port, "`TaskInfo.health_check.tcp.port` is 70000: a port is a number"),
    ];
    framework.launch(
        tasks
            .iter()
            .map(|(id, spec, health_check, _)| TaskInfo {
                task_id: (*id).into(),
                executor: Some(executor.clone()),
                data: Some((*spec).into()),
                health_check: health_check.clone(),
                ..task()
            })
            .collect(),
    );
    framework.until_ended(&["batch", "port"]);
    for (id, _, _, text) in tasks {
        let end = framework.told[id].last().unwrap();
        assert_eq!(end.state(), TaskState::TaskError);
        assert!(end.message().starts_with(text), "{end:?}");
    }
}
