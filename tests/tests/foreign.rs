//! Parties that are not ours, on both sides.

use std::process::Command;

use e2e::{Scene, TestCluster, processes, programs, wait};
use nix::sys::signal::Signal;

#[test]
fn a_python_scheduler_uses_our_executor() {
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, "cpus:8;mem:8192;ports:[8000-8100]");
    let mut python = Command::new("python3");
    python
        .arg(programs::tree().join("examples/foreign-scheduler/scheduler.py"))
        .arg(cluster.master())
        .arg(programs::executor());
    let done = scene.start(python).wait();
    assert_eq!(done.code(), 0, "{}\n{}", done.stdout, done.stderr);
    drop(cluster);
    scene.assert_deserted();
}

#[test]
fn mini_runs_alone_for_others_and_ends_without_a_trace() {
    let scene = Scene::new();
    let mini = scene.start_marmoset([
        "mini",
        "--agents",
        "3",
        "--resources",
        "cpus:2;mem:512;ports:[8000-8100]",
        "--port",
        "0",
        "--json",
    ]);
    let master = wait::until("the address of the master", || {
        let line = mini.stdout().lines().next()?.to_owned();
        let endpoints: serde_json::Value = serde_json::from_str(&line).ok()?;
        endpoints["master"].as_str().map(str::to_owned)
    });
    let executor = programs::executor().to_str().unwrap();
    let done = scene.marmoset([
        "run",
        "--json",
        "--master",
        &master,
        "--executor-path",
        executor,
        "--count",
        "60",
        "--cpus",
        "0.5",
        "--",
        "sleep",
        "0.05",
    ]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(done.json()["tasks"]["finished"], 60);
    // Tasks of a framework that is still there end with mini.
    let other = scene.start_marmoset([
        "run",
        "--master",
        &master,
        "--executor-path",
        executor,
        "--count",
        "6",
        "--",
        "sleep",
        "1000",
    ]);
    wait::until("tasks to run", || {
        (!processes::within_running(scene.path(), "sleep 1000").is_empty()).then_some(())
    });
    mini.signal(Signal::SIGTERM);
    let ended = mini.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    wait::until("the tasks to end", || {
        processes::within_running(scene.path(), "sleep 1000")
            .iter()
            .all(|process| process.command.contains("marmoset"))
            .then_some(())
    });
    drop(other);
    scene.assert_deserted();
}
