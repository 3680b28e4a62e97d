//! What a task inherits: the variables that it is given, and three descriptors.

use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
};

use marmoset_proto::mesos::v1::{Resource, TaskInfo, TaskState, resource::AllocationInfo, value};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::agent::{Agent, shell, task};

/// The lines of a task's stdout, sorted.
fn lines(agent: &Agent, task: &str) -> Vec<String> {
    let mut lines = agent.file(task, "stdout").lines().map(str::to_owned).collect::<Vec<_>>();
    lines.sort();
    lines
}

#[test]
fn a_task_has_the_variables_it_was_given_and_no_other() {
    let agent = Agent::start(
        &[
            // Of the agent.
            ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "hidden"),
            ("LIBPROCESS_IP", "127.0.0.1"),
            ("LIBPROCESS_PORT", "0"),
            // Of `ExecutorInfo.command.environment`.
            ("COLOUR", "blue"),
            ("SHAPE", "round"),
            ("PORT", "1"),
            ("PORT7", "1"),
            ("MARMOSET_INDEX", "1"),
            // Of the shell that started the executor.
            ("PWD", "/"),
            ("OLDPWD", "/"),
            ("SHLVL", "1"),
            ("_", "/bin/env"),
        ],
        &["--log", "debug"],
    );
    let spec = r#"{"command": {"value": "env", "shell": false, "arguments": ["env"],
        "environment": {"variables": [{"name": "COLOUR", "value": "red"}]}},
        "item": {"index": 12}}"#;
    let ranges = Some(value::Ranges { range: vec![value::Range { begin: 8003, end: 8004 }] });
    let allocation_info = Some(AllocationInfo { role: Some("batch".into()) });
    let ports = Resource { name: "ports".into(), ranges, allocation_info, ..Resource::default() };
    agent.launch(TaskInfo { resources: vec![ports], ..task("t", spec) });
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFinished, "{}", end.message());
    let found = lines(&agent, "t");
    // Another one in every executor, followed by the run.
    let run = found.iter().find(|line| line.starts_with("MARMOSET_RUN=")).unwrap();
    assert_eq!(run.len(), "MARMOSET_RUN=".len() + 32 + ".1".len(), "{run}");
    let sandbox = agent.sandbox.path().display();
    let address = found.iter().find_map(|line| line.strip_prefix("MESOS_AGENT_ENDPOINT="));
    let address = address.unwrap();
    let mut expected = vec![
        "COLOUR=red".to_owned(),
        "SHAPE=round".to_owned(),
        "LIBPROCESS_IP=127.0.0.1".to_owned(),
        "LIBPROCESS_PORT=0".to_owned(),
        format!("MARMOSET_EXECUTOR_SANDBOX={sandbox}"),
        "MARMOSET_INDEX=12".to_owned(),
        run.clone(),
        "MARMOSET_TASK_ID=t".to_owned(),
        format!("MESOS_AGENT_ENDPOINT={address}"),
        "MESOS_ALLOCATION_ROLE=batch".to_owned(),
        "MESOS_CHECKPOINT=0".to_owned(),
        format!("MESOS_DIRECTORY={sandbox}"),
        "MESOS_EXECUTOR_ID=executor".to_owned(),
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs".to_owned(),
        "MESOS_FRAMEWORK_ID=framework".to_owned(),
        format!("MESOS_SANDBOX={sandbox}/tasks/t"),
        format!("MESOS_SLAVE_PID=slave(1)@{address}"),
        "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
        "PORT0=8003".to_owned(),
        "PORT1=8004".to_owned(),
        "PORT=8003".to_owned(),
        format!("PWD={sandbox}/tasks/t"),
    ];
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_token_is_nowhere_to_be_found() {
    let token = ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "an-unusual-token");
    let agent = Agent::start(&[token], &["--log", "trace"]);
    agent.launch(shell("t", "cat /proc/*/environ; cat /proc/*/cmdline; env"));
    agent.end_of("t");
    // What others on this machine do is none of our business.
    let own = fs::read(format!("/proc/{}/environ", agent.pid())).unwrap();
    let own = String::from_utf8_lossy(&own).into_owned();
    assert!(own.contains("MESOS_FRAMEWORK_ID=framework"));
    assert!(!own.contains(token.1), "{own}");
    assert!(!agent.file("t", "stdout").contains(token.1));
    assert!(!agent.log().contains(token.1));
}

#[test]
fn a_task_has_three_descriptors_whatever_the_executor_was_given() {
    let file = File::open("/etc/hosts").unwrap();
    // As somebody leaves one open who starts the agent.
    let open = nix::unistd::dup(&file).unwrap();
    fcntl(&open, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let agent = Agent::start(&[], &[]);
    let inherited = format!("/proc/{}/fd/{}", agent.pid(), open.as_raw_fd());
    assert_eq!(fs::read_link(inherited).unwrap().to_str(), Some("/etc/hosts"));
    agent.launch(shell("t", "ls /proc/$$/fd; readlink /proc/$$/fd/0; :"));
    agent.end_of("t");
    assert_eq!(lines(&agent, "t"), ["/dev/null", "0", "1", "2"]);
}
