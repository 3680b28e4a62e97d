//! Where the output of tasks goes, and how long it stays.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink};

use marmoset_proto::mesos::v1::TaskState;

use crate::{
    agent::{Agent, shell, task},
    eventually,
};

/// Names of the folders of tasks.
fn folders(agent: &Agent) -> BTreeSet<String> {
    fs::read_dir(agent.sandbox.path().join("tasks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Runs a batch `j` of so many items to its end.
fn run_batch(agent: &Agent, id: &str, items: u64, script: &str, output: &str) {
    let last = items - 1;
    agent.launch(task(
        id,
        &format!(
            r#"{{"batch": {{"command": {{"value": "{script}"}}, "job": "{id}", "width": 2,
                 "ranges": [{{"begin": 0, "end": {last}}}]}}, "output": {{{output}}}}}"#
        ),
    ));
    while !agent.update().state().is_terminal() {}
}

#[test]
fn a_task_overrules_the_flags() {
    let agent = Agent::start(&[], &["--stdout", "null", "--stderr", "inherit"]);
    agent.launch(shell("a", "echo out; echo err from a >&2"));
    agent.end_of("a");
    assert!(!agent.sandbox.path().join("tasks/a/stdout").exists());
    assert!(agent.log().contains("err from a\n"));
    let spec = r#"{"command": {"value": "echo out; echo err from b >&2"},
                   "output": {"stdout": "FILE", "stderr": "NULL"}}"#;
    agent.launch(task("b", spec));
    agent.end_of("b");
    assert_eq!(agent.file("b", "stdout"), "out\n");
    assert!(!agent.sandbox.path().join("tasks/b/stderr").exists());
    assert!(!agent.log().contains("err from b"));
}

#[test]
fn the_limit_is_that_of_the_flag_or_of_the_task() {
    let agent = Agent::start(&[], &["--output-limit", "2KB"]);
    let script = "head -c 5000 /dev/zero; head -c 3000 /dev/zero >&2";
    agent.launch(shell("a", script));
    assert_eq!(
        agent.end_of("a").message(),
        "Command exited with status 0; stdout was cut: 4.8 KB written, the first and last 1 KB \
         kept; stderr was cut: 2.9 KB written, the first and last 1 KB kept"
    );
    let spec = |limit| {
        format!(r#"{{"command": {{"value": "{script}"}}, "output": {{"limit_bytes": "{limit}"}}}}"#)
    };
    agent.launch(task("b", &spec(4096)));
    assert_eq!(
        agent.end_of("b").message(),
        "Command exited with status 0; stdout was cut: 4.8 KB written, the first and last 2 KB kept"
    );
    agent.launch(task("c", &spec(0)));
    assert_eq!(agent.end_of("c").message(), "Command exited with status 0");
}

#[test]
fn folders_go_by_count_and_those_of_running_tasks_stay() {
    let agent = Agent::start(&[], &["--keep-count", "8", "--kill-grace", "100ms"]);
    agent.launch(shell("early", "sleep 1000"));
    run_batch(&agent, "failed", 3, "exit 1", "");
    run_batch(&agent, "kept", 5, "true", r#""keep": true"#);
    run_batch(&agent, "job", 200, "mkdir -p a/b; touch a/b/c", "");
    eventually("most are removed", || folders(&agent).len() <= 1 + 3 + 5 + 9);
    let left = folders(&agent);
    assert!(left.len() >= 1 + 3 + 5 + 8, "{left:?}");
    let expected = ["early", "failed.0", "failed.2", "kept.0", "kept.4"];
    assert!(expected.iter().all(|name| left.contains(*name)), "{left:?}");
    agent.kill("early");
    agent.end_of("early");
    assert!(folders(&agent).contains("early"));
}

#[test]
fn folders_go_by_time() {
    let agent = Agent::start(&[], &["--keep-time", "300ms", "--kill-grace", "100ms"]);
    agent.launch(shell("running", "sleep 1000"));
    run_batch(&agent, "job", 20, "true", "");
    eventually("all others are removed", || folders(&agent).len() == 1);
    assert!(folders(&agent).contains("running"));
}

#[test]
fn an_id_that_is_used_again_keeps_its_folder() {
    let agent = Agent::start(&[], &["--keep-time", "500ms", "--kill-grace", "100ms"]);
    agent.launch(shell("again", "true"));
    agent.end_of("again");
    agent.launch(shell("again", "echo here; sleep 1000"));
    agent.launch(shell("other", "true"));
    agent.end_of("other");
    eventually("the other one is removed", || !folders(&agent).contains("other"));
    assert_eq!(agent.file("again", "stdout"), "here\n");
}

#[test]
fn removal_follows_no_link() {
    let agent = Agent::start(&[], &["--keep-time", "200ms"]);
    let elsewhere = agent.sandbox.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("file"), "theirs").unwrap();
    let path = elsewhere.display();
    agent.launch(shell("inside", &format!("ln -s {path} link")));
    let script = format!("cd ..; rm -r instead; ln -s {path} instead");
    agent.launch(shell("instead", &script));
    for _ in 0..2 {
        while !agent.update().state().is_terminal() {}
    }
    eventually("both are removed", || folders(&agent).is_empty());
    assert_eq!(fs::read_to_string(elsewhere.join("file")).unwrap(), "theirs");
    // And no task begins in the folder that a link leads to.
    symlink(&elsewhere, agent.sandbox.path().join("tasks/prepared")).unwrap();
    agent.launch(shell("prepared", "touch was-here"));
    let end = agent.end_of("prepared");
    assert_eq!(end.state(), TaskState::TaskFailed);
    assert!(end.message().starts_with("cannot create the working directory"), "{}", end.message());
    assert!(!elsewhere.join("was-here").exists());
}

#[test]
fn packed_outputs_leave_no_folders() {
    let agent = Agent::start(&[], &["--launcher-workers", "1"]);
    run_batch(&agent, "job", 100, "echo $MARMOSET_INDEX", r#""pack": "job""#);
    assert_eq!(folders(&agent), BTreeSet::new());
    let packs = fs::read_dir(agent.sandbox.path().join("packs")).unwrap();
    let names: Vec<_> = packs.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["job.0.pack"]);
    agent.launch(task("x", r#"{"command": {"value": "true"}, "output": {"pack": "a/b"}}"#));
    let end = agent.end_of("x");
    assert_eq!(end.state(), TaskState::TaskError);
    assert!(end.message().contains("`TaskSpec.output.pack`"), "{}", end.message());
}
