//! Checks with real commands and servers.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{CheckInfo, HealthCheck, TaskInfo, TaskState, TaskStatus},
};

use crate::{
    agent::{Agent, shell},
    eventually, is_alive,
};

/// Frequent probes, the first of which must succeed before failures count.
fn health(what: &str) -> Option<HealthCheck> {
    with_grace(what, 60)
}

/// The same, and the first failure counts.
fn impatient(what: &str) -> Option<HealthCheck> {
    with_grace(what, 0)
}

fn with_grace(what: &str, grace: u32) -> Option<HealthCheck> {
    let json = format!(
        r#"{{{what}, "delay_seconds": 0, "interval_seconds": 0.05, "grace_period_seconds": {grace}}}"#
    );
    Some(codec::decode(json.as_bytes(), Encoding::Json).unwrap())
}

fn check(what: &str) -> Option<CheckInfo> {
    let json = format!(r#"{{{what}, "delay_seconds": 0, "interval_seconds": 0.05}}"#);
    Some(codec::decode(json.as_bytes(), Encoding::Json).unwrap())
}

/// Waits for an update that says whether the task is healthy.
fn judged(agent: &Agent, healthy: bool) -> TaskStatus {
    loop {
        let status = agent.update();
        assert!(!status.state().is_terminal(), "{status:?}");
        if status.healthy == Some(healthy) {
            assert_eq!(status.state(), TaskState::TaskRunning);
            assert_eq!(status.reason().as_str_name(), "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED");
            return status;
        }
    }
}

fn killed(agent: &Agent, task: &str) {
    let end = agent.end_of(task);
    assert_eq!((end.state(), end.healthy), (TaskState::TaskKilled, Some(false)));
    assert_eq!(end.message(), "Command terminated with signal Terminated");
}

/// A server whose answers can be made bad.
struct Server {
    port: u16,
    good: Arc<AtomicBool>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let good = Arc::new(AtomicBool::new(true));
        let shared = good.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), shared.load(Ordering::SeqCst));
            }
        });
        Self { port, good }
    }

    fn turn_bad(&self) {
        self.good.store(false, Ordering::SeqCst);
    }
}

fn answer(mut stream: TcpStream, good: bool) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        request.push(byte[0]);
    }
    let line = if good { "200 OK" } else { "500 Internal Server Error" };
    let _ = write!(stream, "HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_command_runs_like_its_task_and_judges_it() {
    let agent = Agent::start(&[], &[]);
    let task = shell("t", "touch good; sleep 1000");
    // Where the task is, as the task is, and with the task's variables.
    let command = r#""type": "COMMAND", "consecutive_failures": 2, "command":
        {"value": "test -e seen || (env; pwd) > seen; echo noise; echo noise >&2; test -e good || exit 3",
         "environment": {"variables": [{"name": "OWN", "value": "yes"}]}}"#;
    agent.launch(TaskInfo { health_check: health(command), ..task });
    judged(&agent, true);
    let folder = agent.sandbox.path().join("tasks/t");
    let seen = fs::read_to_string(folder.join("seen")).unwrap();
    let own = format!("\n{}\n", folder.canonicalize().unwrap().display());
    for text in ["OWN=yes\n", "MARMOSET_TASK_ID=t\n", "MESOS_SANDBOX=", &own] {
        assert!(seen.contains(text), "no `{text}` in {seen}");
    }
    fs::remove_file(folder.join("good")).unwrap();
    judged(&agent, false);
    killed(&agent, "t");
    // It is no task: no folder and no output of its own.
    let folders = fs::read_dir(agent.sandbox.path().join("tasks")).unwrap().count();
    assert_eq!(folders, 1);
    assert_eq!(agent.file("t", "stdout") + &agent.file("t", "stderr"), "");
    agent.launch(shell("next", "true"));
    assert_eq!(agent.end_of("next").state(), TaskState::TaskFinished);
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_all_it_started() {
    let agent = Agent::start(&[], &[]);
    let command = r#""type": "COMMAND", "timeout_seconds": 0.5, "consecutive_failures": 100000,
        "command": {"value": "setsid sleep 1000 & echo $! >> pids; echo $$ >> pids; sleep 1000"}"#;
    agent.launch(TaskInfo { health_check: impatient(command), ..shell("t", "sleep 1000") });
    judged(&agent, false);
    let file = agent.sandbox.path().join("tasks/t/pids");
    let complete = |text: String| text.lines().count() > 2;
    eventually("a probe has started", || fs::read_to_string(&file).is_ok_and(complete));
    let pids = agent.file("t", "pids");
    let pids = pids.lines().take(2).map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>();
    eventually("the probe's processes are gone", || !pids.iter().any(|pid| is_alive(*pid)));
    // The task itself goes on, and takes its probes with it when it ends.
    agent.kill("t");
    assert_eq!(agent.end_of("t").state(), TaskState::TaskKilled);
    let pids = agent.file("t", "pids");
    let pids = pids.lines().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>();
    eventually("all probes' processes are gone", || !pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn a_page_judges_a_task() {
    let agent = Agent::start(&[], &[]);
    let server = Server::start();
    let page = format!(r#""type": "HTTP", "http": {{"port": {}, "path": "/health"}}"#, server.port);
    agent.launch(TaskInfo { health_check: health(&page), ..shell("t", "sleep 1000") });
    judged(&agent, true);
    server.turn_bad();
    for _ in 0..3 {
        judged(&agent, false);
    }
    killed(&agent, "t");
}

#[test]
fn a_connection_judges_a_task() {
    let agent = Agent::start(&[], &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connection =
        format!(r#""type": "TCP", "consecutive_failures": 1, "tcp": {{"port": {port}}}"#);
    agent.launch(TaskInfo { health_check: health(&connection), ..shell("t", "sleep 1000") });
    judged(&agent, true);
    drop(listener);
    judged(&agent, false);
    killed(&agent, "t");
}

#[test]
fn a_check_tells_what_it_finds_and_ends_nothing() {
    let agent = Agent::start(&[], &["--updates", "all"]);
    let command = r#""type": "COMMAND", "command": {"command": {"value": "exit $(cat code)"}}"#;
    let task = shell("t", "echo 0 > code; while [ ! -e stop ]; do sleep 0.02; done");
    agent.launch(TaskInfo { check: check(command), ..task });
    let code = |status: &TaskStatus| {
        status.check_status.expect("in every update").command.expect("its part").exit_code
    };
    assert_eq!(code(&agent.update()), None, "TASK_STARTING");
    assert_eq!(code(&agent.update()), None, "TASK_RUNNING");
    let folder = agent.sandbox.path().join("tasks/t");
    let set = |text: &str| {
        fs::write(folder.join("new"), text).unwrap();
        fs::rename(folder.join("new"), folder.join("code")).unwrap();
    };
    // The very first probe may have come before the file.
    let wait_for = |wanted: i32| loop {
        let status = agent.update();
        assert_eq!(status.state(), TaskState::TaskRunning);
        assert_eq!(status.reason().as_str_name(), "REASON_TASK_CHECK_STATUS_UPDATED");
        assert_eq!(status.healthy, None);
        if code(&status) == Some(wanted) {
            break;
        }
    };
    for wanted in [0, 7, 1] {
        set(&wanted.to_string());
        wait_for(wanted);
    }
    fs::write(folder.join("stop"), "").unwrap();
    let end = agent.end_of("t");
    assert_eq!((end.state(), code(&end)), (TaskState::TaskFinished, Some(1)));
}

#[test]
fn a_probe_that_cannot_be_started_is_a_failure_with_a_reason() {
    let agent = Agent::start(&[], &[]);
    let command = r#""type": "COMMAND", "consecutive_failures": 1, "command":
        {"value": "no-such-probe", "shell": false, "arguments": ["x"]}"#;
    agent.launch(TaskInfo { health_check: impatient(command), ..shell("t", "sleep 1000") });
    killed(&agent, "t");
    let log = agent.sandbox.path().join("stderr");
    eventually("the log says why", || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains("the task is not healthy")
            && log.contains("command `no-such-probe` not found in PATH")
    });
}

#[test]
fn a_launcher_that_dies_takes_probes_with_it_and_the_next_task_is_probed() {
    let agent = Agent::start(&[], &[]);
    let command = r#""type": "COMMAND", "command": {"value": "echo $$ >> pids; sleep 1000"}"#;
    agent.launch(TaskInfo { health_check: health(command), ..shell("t", "sleep 1000") });
    let pids = agent.sandbox.path().join("tasks/t/pids");
    eventually("it is probed", || fs::read_to_string(&pids).is_ok_and(|text| !text.is_empty()));
    for launcher in crate::children(agent.pid()) {
        let pid = nix::unistd::Pid::from_raw(launcher);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    assert_eq!(agent.end_of("t").state(), TaskState::TaskFailed);
    let pid = fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
    eventually("the probe is gone", || !is_alive(pid));
    let command = r#""type": "COMMAND", "command": {"value": "exit 0"}"#;
    agent.launch(TaskInfo { health_check: health(command), ..shell("next", "sleep 1000") });
    judged(&agent, true);
}

#[test]
fn probes_end_with_the_executor() {
    let mut agent = Agent::start(&[], &[]);
    let command = r#""type": "COMMAND", "command": {"value": "echo $$ >> pids; sleep 1000"}"#;
    agent.launch(TaskInfo { health_check: health(command), ..shell("t", "sleep 1000") });
    let pids = agent.sandbox.path().join("tasks/t/pids");
    eventually("it is probed", || fs::read_to_string(&pids).is_ok_and(|text| !text.is_empty()));
    let executor = nix::unistd::Pid::from_raw(agent.pid());
    nix::sys::signal::kill(executor, nix::sys::signal::Signal::SIGKILL).unwrap();
    agent.wait();
    let pid = fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
    eventually("the probe is gone", || !is_alive(pid));
}
