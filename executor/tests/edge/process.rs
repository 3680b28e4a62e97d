//! What a task may wish of its process: user, limits, nice value, umask.

use std::{fs, os::unix::fs::PermissionsExt as _};

use marmoset_proto::mesos::v1::{
    ContainerInfo, RLimitInfo, TaskInfo, TaskState, container_info,
    r_limit_info::{RLimit, r_limit::Type},
};
use nix::unistd::{Uid, User};

use crate::agent::{Agent, task};

fn rlimit(kind: Type, soft: Option<u64>, hard: Option<u64>) -> RLimit {
    RLimit { r#type: Some(kind.into()), soft, hard }
}

fn limited(task: TaskInfo, rlimits: Vec<RLimit>) -> TaskInfo {
    let container = ContainerInfo {
        r#type: container_info::Type::Mesos.into(),
        rlimit_info: Some(RLimitInfo { rlimits }),
        ..ContainerInfo::default()
    };
    TaskInfo { container: Some(container), ..task }
}

fn script(id: &str, script: &str, more: &str) -> TaskInfo {
    task(id, &format!(r#"{{"command": {{"value": "{script}"}} {more}}}"#))
}

#[test]
fn limits_nice_and_umask_reach_the_process() {
    let agent = Agent::start(&[], &[]);
    let text = "ulimit -Sn; ulimit -Hn; ulimit -Sc; umask; nice; touch made";
    let wishes = r#", "nice": 3, "umask": 63"#;
    let rlimits = vec![
        rlimit(Type::RlmtNofile, Some(50), Some(60)),
        rlimit(Type::RlmtCore, Some(7), Some(7)),
    ];
    agent.launch(limited(script("t", text, wishes), rlimits));
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFinished, "{}", end.message());
    let own = std::process::Command::new("nice").output().unwrap().stdout;
    let own = String::from_utf8(own).unwrap().trim().parse::<i32>().unwrap();
    // dash counts core files in blocks of 512 bytes.
    let expected = format!("50\n60\n0\n0077\n{}\n", (own + 3).min(19));
    assert_eq!(agent.file("t", "stdout"), expected);
    let made = fs::metadata(agent.sandbox.path().join("tasks/t/made")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_limit_ends_what_goes_beyond_it() {
    let agent = Agent::start(&[], &[]);
    let rlimits = vec![rlimit(Type::RlmtCpu, Some(1), Some(1))];
    agent.launch(limited(script("t", "while :; do :; done", ""), rlimits));
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFailed);
    assert_eq!(end.message(), "Command terminated with signal Killed");
}

#[test]
fn wishes_that_make_no_sense_are_errors_of_the_task() {
    let agent = Agent::start(&[], &[]);
    let half = vec![rlimit(Type::RlmtNofile, Some(50), None)];
    for (task, part) in [
        (limited(script("a", "true", ""), half), "set both `soft` and `hard`"),
        (script("b", "true", r#", "nice": 40"#), "`TaskSpec.nice` is 40"),
        (script("c", "true", r#", "umask": 1022"#), "`TaskSpec.umask` is 1022"),
    ] {
        let id = task.task_id.value.clone();
        agent.launch(task);
        let end = agent.end_of(&id);
        assert_eq!(end.state(), TaskState::TaskError);
        assert!(end.message().contains(part), "{}", end.message());
    }
}

#[test]
fn a_user_is_found_become_or_refused() {
    let agent = Agent::start(&[], &[]);
    let folder = agent.sandbox.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |id: &str, user: &str| {
        let spec =
            format!(r#"{{"command": {{"value": "id -u; id -g; id -G", "user": "{user}"}}}}"#);
        agent.launch(task(id, &spec));
        agent.end_of(id)
    };
    let refused = |id: &str, user: &str, part: &str| {
        let end = run(id, user);
        assert_eq!(end.state(), TaskState::TaskFailed);
        assert!(end.message().contains(part), "{}", end.message());
    };
    refused("a", "no such user", "user `no such user` is not in `/etc/passwd`");
    refused("b", "3999999", "name its group as well, as in `3999999:GID`");
    if !Uid::effective().is_root() {
        refused("c", "root", "`CommandInfo.user` is `root`, and the executor");
        return;
    }
    let end = run("d", "3999999:4000000");
    assert_eq!(end.state(), TaskState::TaskFinished, "{}", end.message());
    assert_eq!(agent.file("d", "stdout"), "3999999\n4000000\n4000000\n");
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let end = run("e", "nobody");
    assert_eq!(end.state(), TaskState::TaskFinished, "{}", end.message());
    let ids = agent.file("e", "stdout");
    assert!(ids.starts_with(&format!("{}\n{}\n", nobody.uid, nobody.gid)), "{ids}");
}

/// An executor without the rights of root, as an agent starts it for an ordinary user.
#[test]
fn who_is_not_root_cannot_become_another() {
    if !Uid::effective().is_root() {
        // Then `a_user_is_found_become_or_refused` has shown it.
        return;
    }
    let agent = Agent::start_as(3_999_999, &[]);
    let spec = r#"{"command": {"value": "true", "user": "root"}}"#;
    agent.launch(task("t", spec));
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFailed);
    let part =
        "`CommandInfo.user` is `root`, and the executor, which runs with the user id 3999999";
    assert!(end.message().contains(part), "{}", end.message());
    agent.launch(limited(script("u", "true", ""), vec![rlimit(Type::RlmtNofile, None, None)]));
    let end = agent.end_of("u");
    assert!(end.message().contains("has a `hard` above the executor's own"), "{}", end.message());
    agent.launch(script("v", "true", r#", "nice": -5"#));
    let end = agent.end_of("v");
    assert!(end.message().contains("a `nice` below 0 takes root"), "{}", end.message());
}
