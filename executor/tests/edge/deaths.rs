//! However the executor ends, nothing of a task outlives it by more than a second.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use marmoset_proto::mesos::v1::{Resource, TaskInfo, value};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    agent::{Agent, shell},
    children, eventually, is_alive,
};

/// A task with a child, a daemon in a session of its own, and one that has wiped its environment.
const FAMILY: &str = "sleep 1000 & (setsid sleep 1000 &); \
    (setsid env -i sh -c 'touch wiped; exec /bin/sleep 1000' &); \
    until [ -e wiped ]; do :; done; touch ready; sleep 1000";

fn family(id: &str) -> TaskInfo {
    let scalar = |name: &str, value| Resource {
        name: name.into(),
        scalar: Some(value::Scalar { value }),
        ..Resource::default()
    };
    TaskInfo { resources: vec![scalar("cpus", 0.1), scalar("mem", 64.0)], ..shell(id, FAMILY) }
}

/// Processes whose working directory is below a folder: tasks, whatever became of them.
fn living_below(folder: &Path) -> Vec<i32> {
    let folder = folder.canonicalize().unwrap();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            // A removed folder is shown with a remark behind it.
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| {
                cwd.as_os_str().as_bytes().starts_with(folder.as_os_str().as_bytes())
            }) && is_alive(*pid)
        })
        .collect()
}

fn start_family(agent: &Agent) {
    agent.launch(family("t"));
    let folder = agent.sandbox.path().join("tasks/t");
    eventually("the family is there", || folder.join("ready").exists());
    // The shell, two children, and two daemons.
    eventually("all of it is there", || living_below(&folder).len() >= 5);
}

/// How long it takes until nothing of the task is left.
fn time_to_die(agent: &Agent) -> Duration {
    let begin = Instant::now();
    let folder = agent.sandbox.path().join("tasks");
    eventually("nobody is left", || living_below(&folder).is_empty());
    begin.elapsed()
}

/// A second, and as much again as a busy machine takes to run the processes that kill.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn a_killed_executor_is_followed_by_everybody() {
    let agent = Agent::start(&[], &[]);
    start_family(&agent);
    kill(Pid::from_raw(agent.pid()), Signal::SIGKILL).unwrap();
    assert!(time_to_die(&agent) < AT_ONCE);
}

/// As a container engine ends a container: its first process is killed, and the kernel kills the rest.
#[test]
fn a_destroyed_container_leaves_nobody() {
    let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child=KILL"];
    let possible = Command::new("unshare").args(unshare).arg("true").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!(
            "skipped: a_destroyed_container_leaves_nobody: no pid namespace can be made here"
        );
        return;
    }
    let agent = Agent::start_by("unshare", &unshare);
    start_family(&agent);
    let init = children(agent.pid());
    assert_eq!(init.len(), 1);
    kill(Pid::from_raw(init[0]), Signal::SIGKILL).unwrap();
    assert!(time_to_die(&agent) < AT_ONCE);
}

/// As the freezer of an agent's containerizer ends a container: everybody at the same moment, the
/// helpers of the executor before they can do anything.
#[test]
fn executor_and_launcher_killed_at_once_leave_what_the_next_executor_ends() {
    let agent = Agent::start(&[], &[]);
    let has_cgroups = agent.log().contains("each task gets a cgroup");
    start_family(&agent);
    let folder = agent.sandbox.path().join("tasks");
    let mut ours = vec![agent.pid()];
    let guard = children(agent.pid());
    ours.extend(&guard);
    ours.extend(guard.iter().flat_map(|guard| children(*guard)));
    assert!(ours.len() >= 3, "executor, guard, worker: {ours:?}");
    // Nobody acts between the first kill and the last.
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in &ours {
            kill(Pid::from_raw(*pid), signal).unwrap();
        }
    }
    eventually("they have ended", || !ours.iter().any(|pid| is_alive(*pid)));
    if !has_cgroups {
        eprintln!(
            "skipped: the rest of executor_and_launcher_killed_at_once: no writable cgroup, so daemons survive"
        );
        for pid in living_below(&folder) {
            let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        return;
    }
    // The kernel has killed the first process of the task; its daemons live on, unless an executor
    // of another test has already done what this next one does.
    let next = Agent::start(&[], &[]);
    eventually("nobody is left", || living_below(&folder).is_empty());
    drop(next);
}
