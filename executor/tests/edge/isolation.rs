//! Tasks are kept within their resources, or the executor says that they are not.

use std::{fs, path::Path};

use marmoset_proto::{
    marmoset::v1::Report,
    mesos::v1::{Resource, TaskInfo, TaskState, task_status::Reason, value},
};
use nix::unistd::Uid;
use prost::Message as _;

use crate::agent::{Agent, task};

const STRANGER: u32 = 3_999_999;

fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.into(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value }),
        ..Resource::default()
    }
}

fn sized(task: TaskInfo, mem: f64) -> TaskInfo {
    TaskInfo { resources: vec![scalar("cpus", 0.5), scalar("mem", mem)], ..task }
}

/// Keeps this many MiB in a shell's variable.
fn eater(mebibytes: u64) -> String {
    format!("x=$(head -c {} /dev/zero | tr '\\\\0' x); exit 0", mebibytes << 20)
}

fn command(id: &str, script: &str) -> TaskInfo {
    task(id, &format!(r#"{{"command": {{"value": "{script}"}}}}"#))
}

/// An executor whose tasks have cgroups; none where none can be made.
fn with_cgroups(test: &str, arguments: &[&str]) -> Option<Agent> {
    let agent = Agent::start(&[], arguments);
    let log = agent.log();
    if log.contains("each task gets a cgroup") {
        return Some(agent);
    }
    let reason =
        log.lines().find(|line| line.contains("tasks get no cgroups")).expect("it is told");
    eprintln!("skipped: {test}: no writable cgroup: {reason}");
    None
}

#[test]
fn too_much_memory_is_told_with_the_limit() {
    let Some(agent) = with_cgroups("too_much_memory", &[]) else { return };
    agent.launch(sized(command("t", &eater(100)), 32.0));
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFailed, "{}", end.message());
    assert_eq!(end.reason(), Reason::ContainerLimitationMemory);
    assert!(
        end.message().starts_with("Memory limit exceeded: Requested: 32MB Maximum Used: "),
        "{}",
        end.message()
    );
    let limitation = end.limitation.unwrap();
    let used = limitation.resources[0].scalar.as_ref().unwrap().value;
    assert_eq!(limitation.resources[0].name, "mem");
    assert!(used > 24.0 && used <= 32.0, "{used}");
    // A limit of its own is more than what was requested.
    let roomy = TaskInfo {
        limits: [("mem".to_owned(), value::Scalar { value: 1024.0 })].into(),
        ..sized(command("u", &eater(100)), 32.0)
    };
    agent.launch(roomy);
    assert_eq!(agent.end_of("u").state(), TaskState::TaskFinished);
    // What is least for Mesos is enough for a shell.
    agent.launch(sized(command("v", "exit 0"), 1.0));
    assert_eq!(agent.end_of("v").state(), TaskState::TaskFinished);
}

#[test]
fn each_item_of_a_batch_has_its_share_and_its_reason() {
    let Some(agent) = with_cgroups("items", &[]) else { return };
    let spec = format!(
        r#"{{"batch": {{"command": {{"value": "[ {{#}} = 1 ] || exit 0; {}"}}, "job": "j",
            "width": 2, "ranges": [{{"begin": 0, "end": 3}}]}}}}"#,
        eater(100)
    );
    agent.launch(sized(task("b", &spec), 80.0));
    let mut results = Vec::new();
    loop {
        let update = agent.update();
        let report = Report::decode(update.data.clone().unwrap_or_default()).unwrap();
        results.extend(report.results);
        if update.state().is_terminal() {
            assert_eq!(update.state(), TaskState::TaskFinished);
            break;
        }
    }
    results.sort_by_key(|result| result.index);
    assert_eq!(results.len(), 4);
    for result in results {
        let memory = Reason::ContainerLimitationMemory as i32;
        let expected = (result.index == 1).then_some(memory);
        assert_eq!(result.reason, expected, "{result:?}");
        if result.index == 1 {
            assert!(result.message().contains("Requested: 40MB"), "{result:?}");
        }
    }
}

/// Every cgroup of this executor is gone with it, however it ends.
#[test]
fn nothing_of_the_tree_is_left() {
    for kill in [false, true] {
        let Some(mut agent) = with_cgroups("tree", &[]) else { return };
        agent
            .launch(sized(command("t", "cat /proc/self/cgroup > list; touch x; sleep 1000"), 64.0));
        let folder = agent.sandbox.path().join("tasks/t");
        crate::eventually("the task runs", || folder.join("x").exists());
        let list = fs::read_to_string(folder.join("list")).unwrap();
        let tree = list.lines().find_map(|line| {
            let at = line.find("marmoset-tree-")?;
            line[at..].split('/').next()
        });
        let tree = tree.expect("a tree").to_owned();
        let left = || {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            let points = mounts.lines().filter(|line| line.contains(" cgroup"));
            let points = points.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned);
            points.filter(|point| exists_below(Path::new(point), &tree)).collect::<Vec<_>>()
        };
        assert!(!left().is_empty());
        if kill {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(agent.pid()),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
        } else {
            agent.shutdown();
        }
        agent.wait();
        crate::eventually("the tree is gone", || left().is_empty());
    }
}

fn exists_below(folder: &Path, name: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    folders.any(|path| path.ends_with(name) || exists_below(&path, name))
}

#[test]
fn without_cgroups_it_says_so_once_and_limits_what_it_can() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: without_cgroups: only root can start an executor for another user");
        return;
    }
    let agent = Agent::start_as(STRANGER, &[]);
    let limited = |id: &str, limit: Option<f64>| TaskInfo {
        limits: limit
            .map(|value| ("mem".to_owned(), value::Scalar { value }))
            .into_iter()
            .collect(),
        ..sized(command(id, "ulimit -d"), 64.0)
    };
    agent.launch(limited("a", None));
    assert_eq!(agent.end_of("a").state(), TaskState::TaskFinished);
    agent.launch(limited("b", Some(100.0)));
    assert_eq!(agent.end_of("b").state(), TaskState::TaskFinished);
    assert_eq!(agent.file("a", "stdout"), "unlimited\n");
    assert_eq!(agent.file("b", "stdout"), format!("{}\n", 100 << 10));
    let log = agent.log();
    let told = log.lines().filter(|line| line.contains("tasks get no cgroups"));
    let told = told.collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("reason="), "{}", told[0]);
}

#[test]
fn rlimits_by_order_of_the_operator() {
    let agent = Agent::start(&[], &["--isolation", "rlimits"]);
    agent.launch(sized(command("t", &eater(200)), 64.0));
    let end = agent.end_of("t");
    assert_eq!(end.state(), TaskState::TaskFailed, "{}", end.message());
    // It was not killed: it could not get more, and gave up.
    assert!(end.limitation.is_none());
}

#[test]
fn cgroups_or_nothing() {
    if !Uid::effective().is_root() {
        return;
    }
    let mut agent = Agent::start_only_as(STRANGER, &["--isolation", "cgroups"]);
    assert_eq!(agent.wait().code(), Some(1));
    let log = agent.log();
    assert!(log.contains("`--isolation=cgroups`"), "{log}");
}
