//! The whole path once: embedded master and agent, the executor, real processes.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

fn marmoset(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marmoset"));
    command.current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    marmoset(folder).arg("run").args(arguments).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {output:?}");
    })
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn a_hundred_commands() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--count", "100", "--json", "--", "/bin/true"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let result = json_of(&output);
    let keys: Vec<_> = result.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "tasks",
            "seconds",
            "tasks_per_second",
            "mesos_tasks",
            "executors",
            "launch_ms",
            "end_ms",
            "failures"
        ]
    );
    assert_eq!(result["tasks"], json!({"finished": 100, "failed": 0, "killed": 0, "lost": 0}));
    assert_eq!(result["executors"], 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn a_failure_leaves_its_output_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo because of $MARMOSET_INDEX >&2; exit 3";
    let output = run(folder.path(), &["--count", "2", "--shell", "--", script]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("0 finished, 2 failed of 2 tasks"), "{text}");
    assert!(text.contains("2 × Command exited with status 3"), "{text}");
    assert!(text.contains("last line: because of "), "{text}");
    let place = text.lines().last().unwrap().strip_prefix("outputs are in ").unwrap();
    let task = fs::read_dir(place).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(task.join("stderr")).unwrap().starts_with("because of "));
}

#[test]
fn nothing_to_do_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--each-line", "/dev/null", "--json", "--", "echo", "{}"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json_of(&output)["tasks"]["finished"], 0);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing to do"), "{output:?}");
}

#[test]
fn verbose_tells_the_story() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--batch", "1", "--verbose", "--", "sleep", "0.2"]);
    let story = String::from_utf8_lossy(&output.stderr);
    for line in [
        "Registered with framework ID ",
        "Received offer ",
        "cpus: ",
        "Creating task sleep.0",
        "Task sleep.0 is in state TASK_RUNNING",
        "Task sleep.0 is in state TASK_FINISHED",
    ] {
        assert!(story.lines().any(|seen| seen.contains(line)), "no `{line}` in:\n{story}");
    }
}

#[test]
fn mini_alone_serves_a_run_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut mini = marmoset(folder.path())
        .args(["mini", "--port", "0", "--agents", "2", "--json"])
        .args(["--resources", "cpus:2;mem:512;ports:[8000-8100]"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(mini.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let endpoints: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(endpoints["agents"].as_array().unwrap().len(), 2);
    let master = endpoints["master"].as_str().unwrap();
    let output = run(folder.path(), &["--master", master, "--count", "50", "--json", "--", "true"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json_of(&output)["tasks"]["finished"], 50);
    signal(&mini, Signal::SIGTERM);
    assert_eq!(mini.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn sigterm_kills_the_tasks_and_tells() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = marmoset(folder.path())
        .args(["run", "--count", "5", "--batch", "1", "--verbose", "--", "sleep", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("TASK_RUNNING") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "no task ran");
    }
    signal(&child, Signal::SIGTERM);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(143), "{text}\n{rest}");
    assert!(text.starts_with("stopped: 0 finished, 5 killed of 5 tasks"), "{text}");
    assert!(rest.contains("again to leave at once"), "{rest}");
}
