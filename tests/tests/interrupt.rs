//! Ctrl-C, kills, and what is left behind.

use e2e::{Scene, processes, wait};
use nix::sys::signal::Signal;

#[test]
fn ctrl_c_kills_the_tasks_and_says_so() {
    let scene = Scene::new();
    let mut running = scene.start_marmoset(["run", "--count", "50", "-v", "--", "sleep", "1000"]);
    wait::until("a task to run", || {
        (!processes::within_running(scene.path(), "sleep 1000").is_empty()).then_some(())
    });
    running.signal(Signal::SIGINT);
    running.wait_for("killed");
    let done = running.wait();
    assert_eq!(done.code(), 130, "{}\n{}", done.stdout, done.stderr);
    let all = format!("{}{}", done.stdout, done.stderr);
    assert!(all.contains("50 killed"), "{all}");
    scene.assert_deserted();
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_leaves_nothing() {
    let scene = Scene::new();
    // The tasks ignore SIGTERM, so that the first Ctrl-C has to wait for their grace period.
    let script = "trap '' TERM; while :; do sleep 1; done";
    let mut running = scene.start_marmoset(["run", "--count", "2", "--shell", "--", script]);
    wait::until("a task to run", || {
        (!processes::within_running(scene.path(), "trap").is_empty()).then_some(())
    });
    running.signal(Signal::SIGINT);
    running.wait_for("again");
    running.signal(Signal::SIGINT);
    let done = running.wait();
    assert_eq!(done.code(), 130, "{}\n{}", done.stdout, done.stderr);
    scene.assert_deserted();
}

#[test]
fn nothing_is_left_when_marmoset_itself_is_killed() {
    let scene = Scene::new();
    let running = scene.start_marmoset(["run", "--count", "8", "--", "sleep", "1000"]);
    wait::until("a task to run", || {
        (!processes::within_running(scene.path(), "sleep 1000").is_empty()).then_some(())
    });
    running.signal(Signal::SIGKILL);
    drop(running);
    scene.assert_deserted();
}
