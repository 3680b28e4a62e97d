//! The executor's binary with real processes and a small agent.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod agent;
mod checks;
mod deaths;
mod docker;
mod docker_faults;
mod environment;
mod fake_engine;
mod isolation;
mod output;
mod process;
mod uris;
mod web;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use agent::{Agent, shell, task};
use marmoset_proto::{
    marmoset::v1::Report,
    mesos::v1::{TaskInfo, TaskState},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use prost::Message as _;

/// Waits for a fact that no event tells.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn a_shell_command_runs_in_a_folder_of_its_own() {
    let mut agent = Agent::start(&[], &[]);
    agent.launch(shell("t.1", "echo out; echo err >&2; pwd; exit 3"));
    let end = agent.end_of("t.1");
    assert_eq!(end.state(), TaskState::TaskFailed);
    assert_eq!(end.message(), "Command exited with status 3");
    let folder = agent.sandbox.path().canonicalize().unwrap().join("tasks/t.1");
    assert_eq!(agent.file("t.1", "stdout"), format!("out\n{}\n", folder.display()));
    assert_eq!(agent.file("t.1", "stderr"), "err\n");
    let report = Report::decode(end.data.unwrap()).unwrap();
    let result = &report.results[0];
    assert_eq!((result.wait_status, result.stderr_bytes), (Some(3 << 8), Some(4)));
    assert!(result.started_us.unwrap() <= result.ended_us.unwrap());
    agent.shutdown();
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn the_states_of_a_task_that_takes_its_time() {
    let agent = Agent::start(&[], &["--updates", "all"]);
    agent.launch(shell("t", "exit 0"));
    let states = std::iter::from_fn(|| {
        let status = agent.update();
        assert_eq!(status.uuid.as_ref().unwrap().len(), 16);
        Some(status.state())
    });
    let expected = [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFinished];
    assert_eq!(states.take(3).collect::<Vec<_>>(), expected);
}

#[test]
fn updates_of_different_tasks_do_not_wait_for_each_other() {
    const CONNECTIONS: usize = 3;
    let arguments = ["--updates", "terminal", "--update-connections", "3"];
    let agent = Agent::start_gated(&arguments, CONNECTIONS);
    let names = (0..CONNECTIONS * 2).map(|number| format!("t{number}")).collect::<BTreeSet<_>>();
    for name in &names {
        agent.launch(shell(name, "exit 0"));
    }
    // With fewer connections none would be answered, and no second one would follow the first.
    let ended = names.iter().map(|_| agent.update().task_id.value).collect::<BTreeSet<_>>();
    assert_eq!(ended, names);
}

#[test]
fn what_cannot_be_started_says_why() {
    let agent = Agent::start(&[], &[]);
    let argv = |value: &str| {
        format!(r#"{{"command": {{"value": "{value}", "shell": false, "arguments": ["x"]}}}}"#)
    };
    let plain = agent.sandbox.path().join("plain");
    fs::write(&plain, "text").unwrap();
    let not_found = "command `no-such-tool` not found in PATH `/usr/local/bin:/usr/bin:/bin`";
    let missing =
        "cannot execute `/no/such/tool`: No such file or directory (os error 2); install it";
    let forbidden = format!(
        "cannot execute `{0}`: Permission denied (os error 13); run `chmod +x`",
        plain.display()
    );
    for (id, value, message) in [
        ("a", "no-such-tool", not_found),
        ("b", "/no/such/tool", missing),
        ("c", plain.to_str().unwrap(), &forbidden),
    ] {
        agent.launch(task(id, &argv(value)));
        let end = agent.end_of(id);
        assert_eq!(end.state(), TaskState::TaskFailed);
        assert!(end.message().starts_with(message), "{end:?}");
    }
    // A file where the folder of the tasks should be.
    let tasks = agent.sandbox.path().join("tasks");
    fs::remove_dir_all(&tasks).unwrap();
    fs::write(&tasks, "").unwrap();
    agent.launch(shell("d", "true"));
    let end = agent.end_of("d");
    assert_eq!(end.state(), TaskState::TaskFailed);
    assert!(end.message().starts_with("cannot create the working directory below `"), "{end:?}");
    agent.launch(task("e", "{}"));
    assert_eq!(agent.end_of("e").state(), TaskState::TaskError);
}

#[test]
fn a_task_id_never_leaves_the_sandbox() {
    let agent = Agent::start(&[], &[]);
    for id in ["../../escaped", ".."] {
        agent.launch(shell(id, "true"));
        assert_eq!(agent.end_of(id).state(), TaskState::TaskError);
    }
    assert!(!agent.sandbox.path().join("tasks").exists());
}

#[test]
fn a_batch_runs_every_item_once() {
    let agent = Agent::start(&[], &["--report-interval", "100ms"]);
    agent.launch(task(
        "b",
        r#"{"batch": {"command": {"value": "echo {} {#} $MARMOSET_TASK_ID; exit $(($MARMOSET_INDEX % 3))"},
            "job": "j", "width": 3, "ranges": [{"begin": 0, "end": 199}],
            "items": [{"index": 200, "line": "hello", "attempt": 1}]}}"#,
    ));
    let mut results = BTreeMap::new();
    loop {
        let status = agent.update();
        if let Some(data) = &status.data {
            for result in Report::decode(data.clone()).unwrap().results {
                assert!(results.insert(result.index, result).is_none());
            }
        }
        if status.state().is_terminal() {
            assert_eq!(status.state(), TaskState::TaskFinished);
            assert_eq!(status.message(), "201 items: 67 finished, 134 failed");
            break;
        }
    }
    assert_eq!(results.keys().copied().collect::<Vec<_>>(), (0..=200).collect::<Vec<_>>());
    for (index, result) in &results {
        assert_eq!(result.wait_status, Some((*index as i32 % 3) << 8));
    }
    assert_eq!(agent.file("j.200.r1", "stdout"), "hello 200 j.200.r1\n");
}

#[test]
fn a_kill_ends_everything_the_task_has_started() {
    let agent = Agent::start(&[], &["--kill-grace", "100ms"]);
    // One that ignores SIGTERM, with a child in a session of its own.
    agent.launch(shell("t", "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo $! > pids; jobs -p >> pids; echo ready > ready; wait; wait; sleep 1000"));
    let folder = agent.sandbox.path().join("tasks/t");
    eventually("the task is ready", || folder.join("ready").exists());
    let pids = fs::read_to_string(folder.join("pids")).unwrap();
    let pids = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<BTreeSet<i32>>();
    assert!(pids.len() >= 2 && pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    agent.kill("t");
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskKilled);
    assert_eq!(end.message(), "Command terminated with signal Killed");
    eventually("all processes are gone", || !pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn a_limit_ends_a_task() {
    let agent = Agent::start(&[], &[]);
    let limit = Some(Duration::from_millis(200).into());
    agent.launch(TaskInfo { max_completion_time: limit, ..shell("t", "sleep 1000") });
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFailed);
    assert_eq!(end.message(), "Command terminated with signal Terminated");
    assert_eq!(end.reason().as_str_name(), "REASON_MAX_COMPLETION_TIME_REACHED");
}

#[test]
fn a_signal_ends_it_as_shutdown_does() {
    let mut agent = Agent::start(&[], &[]);
    agent.launch(shell("t", "echo $$ > pid; sleep 1000"));
    let file = agent.sandbox.path().join("tasks/t/pid");
    eventually("the task runs", || fs::read_to_string(&file).is_ok_and(|text| !text.is_empty()));
    kill(Pid::from_raw(agent.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(agent.end_of("t").state(), TaskState::TaskKilled);
    assert_eq!(agent.wait().code(), Some(0));
    let pid = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    eventually("the task's process is gone", || !is_alive(pid));
}

#[test]
fn without_checkpointing_a_lost_stream_ends_it() {
    let mut agent = Agent::start(&[], &[]);
    agent.launch(shell("t", "sleep 1000"));
    agent.break_stream();
    assert_eq!(agent.wait().code(), Some(1));
}

#[test]
fn with_checkpointing_a_lost_stream_is_subscribed_again() {
    let checkpoint = [
        ("MESOS_CHECKPOINT", "1"),
        ("MESOS_RECOVERY_TIMEOUT", "15mins"),
        ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs"),
    ];
    let mut agent = Agent::start(&checkpoint, &["--updates", "terminal"]);
    agent.launch(shell("long", "while [ ! -e stop ]; do sleep 0.01; done"));
    eventually("it runs", || agent.sandbox.path().join("tasks/long/stdout").exists());
    agent.break_stream();
    let subscribe = agent.subscription();
    assert_eq!(subscribe.unacknowledged_tasks[0].task_id.as_str(), "long");
    fs::write(agent.sandbox.path().join("tasks/long/stop"), "").unwrap();
    assert_eq!(agent.end_of("long").state(), TaskState::TaskFinished);
    // Two in a row, and work afterwards.
    agent.break_stream();
    agent.subscription();
    agent.launch(shell("after", "true"));
    assert_eq!(agent.end_of("after").state(), TaskState::TaskFinished);
    agent.shutdown();
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn a_launcher_that_dies_fails_its_tasks_and_is_replaced() {
    let agent = Agent::start(&[], &[]);
    agent.launch(shell("t", "echo $$ > pid; sleep 1000"));
    let file = agent.sandbox.path().join("tasks/t/pid");
    eventually("the task runs", || fs::read_to_string(&file).is_ok_and(|text| !text.is_empty()));
    for launcher in children(agent.pid()) {
        kill(Pid::from_raw(launcher), Signal::SIGKILL).unwrap();
    }
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFailed);
    assert!(
        end.message().starts_with("the process launcher died, and this task with it"),
        "{end:?}"
    );
    let pid = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    eventually("the task's process is gone", || !is_alive(pid));
    agent.launch(shell("next", "true"));
    assert_eq!(agent.end_of("next").state(), TaskState::TaskFinished);
}

#[test]
fn started_by_hand_it_says_what_is_missing() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_marmoset-executor")).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains(
            "`MESOS_AGENT_ENDPOINT` is not set: this program is started by a Mesos agent"
        ),
        "{text}"
    );

    let output = Command::new(env!("CARGO_BIN_EXE_marmoset-executor"))
        .args(["--updates", "some"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let output =
        Command::new(env!("CARGO_BIN_EXE_marmoset-executor")).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--queue-items") && !text.contains("launcher\n"), "{text}");
}

#[test]
fn an_agent_that_is_not_one_is_told_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            );
        }
    });
    let output = executor(folder.path(), &address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("neither a Mesos master nor an agent"), "{text}");
}

fn executor(sandbox: &Path, address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marmoset-executor"));
    command
        .env_clear()
        .env("MESOS_AGENT_ENDPOINT", address)
        .env("MESOS_FRAMEWORK_ID", "framework")
        .env("MESOS_EXECUTOR_ID", "executor")
        .env("MESOS_SANDBOX", sandbox)
        .current_dir(sandbox);
    command
}
