//! Things are killed, cut and restarted while `marmoset run` works: each task still has exactly one end.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use e2e::{
    Done, Running, Scene, TestCluster,
    cluster::{agent, master},
    processes, programs, wait,
};
use marmoset_mini::{Credential, Leadership, MasterConfig, UpdateFault};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const RESOURCES: &str = "cpus:8;mem:8192;ports:[8000-8100]";

/// Starts `marmoset run --json` against the cluster, with the executor as it is deployed.
fn run(scene: &Scene, cluster: &TestCluster, more: &[&str]) -> Running {
    let master = cluster.master();
    let executor = programs::executor().to_str().unwrap();
    let ours = ["run", "--json", "--master", &master, "--executor-path", executor];
    scene.start_marmoset([&ours[..], more].concat())
}

/// Executors of this scene; their launchers left out.
fn executors(scene: &Scene) -> Vec<processes::Process> {
    let mut found = processes::within_running(scene.path(), "marmoset-executor");
    found.retain(|process| !process.command.contains("launcher"));
    found
}

fn marks(scene: &Scene) -> usize {
    fs::read_dir(scene.path().join("marks")).map(Iterator::count).unwrap_or_default()
}

/// A script that leaves a mark for each index that ran, takes `seconds`, and ends with index modulo 3.
fn marking(scene: &Scene, seconds: &str) -> String {
    let folder = scene.path().join("marks");
    fs::create_dir_all(&folder).unwrap();
    format!("> {}/$MARMOSET_INDEX; sleep {seconds}; exit $((MARMOSET_INDEX % 3))", folder.display())
}

/// All of `count` tasks ended with index modulo 3, none was lost.
fn assert_thirds(done: &Done, count: u64) -> Value {
    assert_eq!(done.code(), 1, "{}\n{}", done.stdout, done.stderr);
    let result = done.json();
    let finished = count.div_ceil(3);
    let tasks = json!({"finished": finished, "failed": count - finished, "killed": 0, "lost": 0});
    assert_eq!(result["tasks"], tasks, "{result}\n{}", done.stderr);
    let mut messages: Vec<&str> = result["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["message"].as_str().unwrap())
        .collect();
    messages.sort_unstable();
    assert_eq!(messages, ["Command exited with status 1", "Command exited with status 2"]);
    result
}

#[test]
fn an_executor_killed_in_the_middle_costs_no_task() {
    for batch in ["1", "auto", "50"] {
        let scene = Scene::new();
        let cluster = TestCluster::single(&scene, RESOURCES);
        let script = marking(&scene, "0.02");
        let more =
            ["--count", "900", "--cpus", "0.5", "--batch", batch, "--shell", "--", script.as_str()];
        let running = run(&scene, &cluster, &more);
        for threshold in [100, 400] {
            wait::until("tasks to run", || (marks(&scene) >= threshold).then_some(()));
            let victim = wait::until("an executor", || executors(&scene).into_iter().next());
            kill(Pid::from_raw(victim.pid), Signal::SIGKILL).unwrap();
            wait::until("its end", || (!executors(&scene).contains(&victim)).then_some(()));
        }
        let result = assert_thirds(&running.wait(), 900);
        assert!(result["executors"].as_u64().unwrap() >= 3, "{batch}: {result}");
        drop(cluster);
        scene.assert_deserted();
    }
}

#[test]
fn a_launcher_killed_in_the_middle_fails_what_ran_and_is_replaced() {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, RESOURCES);
    let script = marking(&scene, "0.05");
    let more = ["--count", "300", "--retries", "3", "--cpus", "0.5", "--shell", "--", &script];
    // Indices that end with 1 or 2 are tried four times; those that the kill hits finish in a later try.
    let running = run(&scene, &cluster, &more);
    wait::until("tasks to run", || (marks(&scene) >= 50).then_some(()));
    let executor = executors(&scene).remove(0);
    let launcher = wait::until("a launcher", || {
        let launchers = processes::within_running(scene.path(), "launcher");
        launchers.into_iter().find(|process| process.parent == executor.pid)
    });
    kill(Pid::from_raw(launcher.pid), Signal::SIGKILL).unwrap();
    let result = assert_thirds(&running.wait(), 300);
    assert_eq!(result["executors"], 1, "{result}");
    drop(cluster);
    scene.assert_deserted();
}

#[test]
fn an_agent_that_restarts_keeps_its_tasks() {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, RESOURCES);
    let script = marking(&scene, "0.05");
    let more = ["--count", "400", "--cpus", "0.5", "--shell", "--", &script];
    let running = run(&scene, &cluster, &more);
    for threshold in [50, 150] {
        wait::until("tasks to run", || (marks(&scene) >= threshold).then_some(()));
        cluster.block_on(cluster.get().faults().stop_agent(0));
        cluster.block_on(cluster.get().faults().restart_agent(0));
    }
    let result = assert_thirds(&running.wait(), 400);
    assert_eq!(result["executors"], 1, "the executor lived on: {result}");
    drop(cluster);
    scene.assert_deserted();
}

/// Throws a switch again and again while a job runs, and expects the job to end as if nothing had happened.
fn undisturbed_by(throw: impl Fn(&TestCluster) + Sync) {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, RESOURCES);
    let script = marking(&scene, "0.01");
    let more = ["--count", "1200", "--cpus", "0.5", "--shell", "--", &script];
    let running = run(&scene, &cluster, &more);
    let ended = AtomicBool::new(false);
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            wait::until("tasks to run", || (marks(&scene) >= 20).then_some(()));
            while !ended.load(Ordering::Relaxed) {
                throw(&cluster);
                thread::sleep(Duration::from_millis(250));
            }
        });
        let done = running.wait();
        ended.store(true, Ordering::Relaxed);
        done
    });
    assert_thirds(&done, 1200);
    drop(cluster);
    scene.assert_deserted();
}

#[test]
fn cut_scheduler_streams_cost_no_task() {
    undisturbed_by(|cluster| cluster.block_on(cluster.get().faults().cut_scheduler_streams()));
}

#[test]
fn cut_executor_streams_cost_no_task() {
    undisturbed_by(|cluster| {
        cluster.block_on(cluster.get().faults().cut_executor_streams(0));
    });
}

#[test]
fn lost_doubled_and_late_updates_cost_no_task() {
    undisturbed_by(|cluster| {
        cluster.get().faults().set_updates(UpdateFault {
            drop_one_in: 4,
            duplicate_one_in: 3,
            delay: Duration::from_millis(20),
        });
    });
}

#[test]
fn a_master_that_fails_over_costs_no_task() {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, RESOURCES);
    let script = marking(&scene, "0.05");
    let more = ["--count", "400", "--cpus", "0.5", "--shell", "--", &script];
    let running = run(&scene, &cluster, &more);
    wait::until("tasks to run", || (marks(&scene) >= 50).then_some(()));
    cluster.block_on(cluster.get().faults().fail_master_over(Duration::from_millis(300)));
    assert_thirds(&running.wait(), 400);
    drop(cluster);
    scene.assert_deserted();
}

#[test]
fn a_redirect_to_the_leader_is_followed() {
    let scene = Scene::new();
    let leader = TestCluster::single(&scene, RESOURCES);
    let follower = TestCluster::start(
        MasterConfig { leadership: Leadership::Following(leader.master()), ..master() },
        Vec::new(),
    );
    let more = ["--count", "20", "--", "true"];
    let done = run(&scene, &follower, &more).wait();
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(done.json()["tasks"]["finished"], 20);
}

#[test]
fn several_agents_share_a_job() {
    let scene = Scene::new();
    let agents =
        ["a", "b", "c"].map(|name| agent(&scene, name, "cpus:2;mem:1024;ports:[9000-9010]")).into();
    let cluster = TestCluster::start(master(), agents);
    let more = ["--count", "120", "--cpus", "0.5", "--", "sleep", "0.1"];
    let done = run(&scene, &cluster, &more).wait();
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let result = done.json();
    assert_eq!(result["tasks"]["finished"], 120);
    assert_eq!(result["executors"], 3, "one for each agent: {result}");
}

#[test]
fn a_master_with_credentials_wants_the_right_secret() {
    let scene = Scene::new();
    let credential = Credential { principal: "batch".to_owned(), secret: "s3cret".to_owned() };
    let cluster = TestCluster::start(
        MasterConfig { credentials: Some(vec![credential]), ..master() },
        vec![agent(&scene, "agent", RESOURCES)],
    );
    let secret = scene.path().join("secret");
    let path = secret.to_str().unwrap();
    let more = ["--count", "5", "--principal", "batch", "--secret-file", path, "--", "true"];

    fs::write(&secret, "s3cret\n").unwrap();
    let done = run(&scene, &cluster, &more).wait();
    assert_eq!(done.code(), 0, "{}", done.stderr);

    fs::write(&secret, "wrong\n").unwrap();
    let done = run(&scene, &cluster, &more).wait();
    assert_eq!(done.code(), 2, "{}", done.stderr);
    assert!(done.stderr.contains("--secret-file"), "{}", done.stderr);
    assert!(!done.stderr.contains("wrong"), "the secret was printed: {}", done.stderr);

    let done = run(&scene, &cluster, &["--count", "5", "--", "true"]).wait();
    assert_eq!(done.code(), 2, "{}", done.stderr);
    assert!(done.stderr.contains("--principal"), "{}", done.stderr);
}

#[test]
fn an_executor_path_that_is_not_on_the_agents_is_explained() {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, RESOURCES);
    let master = cluster.master();
    let done = scene.marmoset([
        "run",
        "--json",
        "--master",
        &master,
        "--executor-path",
        "/no/such/executor",
        "--count",
        "3",
        "--",
        "true",
    ]);
    assert_ne!(done.code(), 0, "{}", done.stdout);
    let all = format!("{}{}", done.stdout, done.stderr);
    assert!(all.contains("/no/such/executor"), "{all}");
}
