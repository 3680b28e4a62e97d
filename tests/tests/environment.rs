//! What tasks inherit, on the embedded cluster: what the agent gives, and nothing of those above it.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{Framework, Scene, programs};
use marmoset_proto::mesos::v1::{Resource, TaskInfo};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

type Variables = BTreeMap<String, String>;

fn variables(text: &str) -> Variables {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Finds the file of this name below a folder; links are not followed.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().find_map(|entry| {
        let entry = entry.unwrap();
        if entry.file_name() == name {
            return Some(entry.path());
        }
        entry.file_type().unwrap().is_dir().then(|| find(&entry.path(), name)).flatten()
    })
}

#[test]
fn nothing_of_those_above_the_agent_reaches_a_task() {
    let scene = Scene::new();
    let output = scene.path().join("out");
    // As a shell leaves one open, or a service manager.
    let file = File::open("/etc/hosts").unwrap();
    let open = file.as_fd().try_clone_to_owned().unwrap();
    fcntl(&open, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let mut command = Command::new(programs::marmoset());
    command
        .args(["run", "--json", "--env", "COLOUR=red", "--ports", "1", "--output"])
        .arg(&output)
        .args(["--shell", "--", "env; ls /proc/$$/fd; :"])
        .envs([
            ("SECRET_OF_THE_PARENT", "x"),
            ("MESOS_TASK_ID", "x"),
            ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "x"),
            ("MARMOSET_SECRET", "x"),
            ("LIBPROCESS_SECRET", "x"),
            ("RUST_BACKTRACE", "full"),
            ("RUST_LOG", "trace"),
            ("LD_LIBRARY_PATH", "/nowhere"),
        ]);
    let done = scene.start(command).wait();
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let printed = fs::read_to_string(output.join("0.out")).unwrap();
    let descriptors = printed.lines().filter(|line| !line.contains('=')).collect::<Vec<_>>();
    assert_eq!(descriptors, ["0", "1", "2"]);
    let found = variables(&printed);
    let names = found.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(
        names,
        [
            "COLOUR",
            "LIBPROCESS_IP",
            "LIBPROCESS_PORT",
            "MARMOSET_EXECUTOR_SANDBOX",
            "MARMOSET_INDEX",
            "MARMOSET_RUN",
            "MARMOSET_TASK_ID",
            "MESOS_AGENT_ENDPOINT",
            "MESOS_ALLOCATION_ROLE",
            "MESOS_CHECKPOINT",
            "MESOS_DIRECTORY",
            "MESOS_EXECUTOR_ID",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
            "MESOS_FRAMEWORK_ID",
            "MESOS_HTTP_COMMAND_EXECUTOR",
            "MESOS_SANDBOX",
            "MESOS_SLAVE_ID",
            "MESOS_SLAVE_PID",
            "PATH",
            "PORT",
            "PORT0",
            "PWD",
        ]
    );
    assert_eq!(found["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(found["MESOS_SANDBOX"], found["PWD"]);
    assert_eq!(found["MARMOSET_EXECUTOR_SANDBOX"], found["MESOS_DIRECTORY"]);
}

#[test]
fn a_task_has_what_the_built_in_executor_gives_and_ours_besides() {
    let scene = Scene::new();
    let mut framework = Framework::new(&scene, &[]);
    let resources = vec![Resource::scalar("cpus", 0.1), Resource::scalar("mem", 32.0)];
    framework.launch_both(
        "env > of-${MARMOSET_TASK_ID:-builtin}",
        &TaskInfo { name: "task".into(), resources, ..TaskInfo::default() },
    );
    framework.until_ended(&["ours", "builtin"]);
    let read = |name| variables(&fs::read_to_string(find(scene.path(), name).unwrap()).unwrap());
    let (mut ours, mut builtin) = (read("of-ours"), read("of-builtin"));
    // Those of the executor itself, and its folder.
    for name in ["MESOS_DIRECTORY", "MESOS_EXECUTOR_ID", "MESOS_SANDBOX", "PWD"] {
        assert!(ours.remove(name).is_some() && builtin.remove(name).is_some(), "{name}");
    }
    // The built-in one has time for the kill and for two seconds more.
    let grace = "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD";
    assert!(ours.remove(grace).is_some() && builtin.remove(grace).is_some());
    for name in ["MARMOSET_EXECUTOR_SANDBOX", "MARMOSET_RUN", "MARMOSET_TASK_ID"] {
        assert!(ours.remove(name).is_some(), "{name}");
    }
    assert_eq!(ours, builtin);
}
