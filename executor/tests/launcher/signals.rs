//! Who gets a signal, and what an ended run leaves.

use std::fs;

use marmoset_executor::launcher::Scope;

use crate::support::{End, Rig, eventually, lives, written_pid};

/// Starts processes in every way to get away from a run.
const FAMILY: &str = "
    sleep 1000 & echo $! > child
    setsid sh -c 'echo $$ > stranger; exec sleep 1000' &
    (setsid sh -c 'echo $$ > daemon; exec sleep 1000' &)
    nohup sh -c 'echo $$ > nohup; exec sleep 1000' > /dev/null &
    (sh -c 'echo $$ > orphan; exec sleep 1000' &)
    for name in child stranger daemon nohup orphan; do
        until [ -s $name ]; do :; done
    done
    touch $READY";

const NAMES: [&str; 5] = ["child", "stranger", "daemon", "nohup", "orphan"];

async fn family(rig: &Rig) -> Vec<i32> {
    let mut pids = Vec::new();
    for name in NAMES {
        pids.push(written_pid(&rig.path(name)).await);
    }
    pids
}

#[tokio::test]
async fn a_signal_for_the_group_reaches_the_group() {
    let mut rig = Rig::new();
    let run = rig.ready("sleep 1000 & echo $! > child; touch $READY; wait").await;
    let child = written_pid(&rig.path("child")).await;
    assert!(lives(child));
    rig.signal(run, libc::SIGTERM, Scope::Group);
    assert_eq!(rig.end(run).await, End::status(libc::SIGTERM));
    eventually("the child has ended", || !lives(child)).await;
}

#[tokio::test]
async fn a_signal_can_be_handled() {
    let mut rig = Rig::new();
    let run = rig.ready("trap 'exit 7' TERM; sleep 1000 & touch $READY; wait").await;
    rig.signal(run, libc::SIGTERM, Scope::Session);
    assert_eq!(rig.end(run).await, End::code(7));
}

#[tokio::test]
async fn a_kill_of_the_session_reaches_whoever_tried_to_get_away() {
    let mut rig = Rig::with_workers(1);
    let run = rig.ready(&format!("{FAMILY}; wait")).await;
    let family = family(&rig).await;
    assert!(family.iter().all(|pid| lives(*pid)));
    // Somebody else's daemon, which must not be hit.
    let other = rig
        .ready(
            "(setsid sh -c 'echo $$ > other; exec sleep 1000' &); touch $READY; wait; sleep 1000",
        )
        .await;
    let bystander = written_pid(&rig.path("other")).await;

    rig.signal(run, libc::SIGKILL, Scope::Session);
    assert_eq!(rig.end(run).await, End::status(libc::SIGKILL));
    eventually("all have ended", || !family.iter().any(|pid| lives(*pid))).await;
    assert!(lives(bystander));
    rig.signal(other, libc::SIGKILL, Scope::Session);
    rig.end(other).await;
    eventually("the bystander has ended", || !lives(bystander)).await;
}

#[tokio::test]
async fn a_run_that_ends_leaves_nobody_behind() {
    let mut rig = Rig::with_workers(1);
    let living = rig
        .ready("(setsid sh -c 'echo $$ > other; exec sleep 1000' &); touch $READY; sleep 1000")
        .await;
    let spared = written_pid(&rig.path("other")).await;
    let run = rig.ready(&format!("{FAMILY}; exit 5")).await;
    let family = family(&rig).await;
    assert_eq!(rig.end(run).await, End::code(5));
    eventually("all have ended", || !family.iter().any(|pid| lives(*pid))).await;
    // The daemon of a run that goes on is its own business.
    assert!(lives(spared));
    rig.signal(living, libc::SIGKILL, Scope::Session);
}

#[tokio::test]
async fn an_orphan_of_another_group_in_the_session_is_found_without_a_mark() {
    let mut rig = Rig::with_workers(1);
    // With job control each job is a group of its own, in the same session.
    let mut spawn = rig.request(
        "/bin/bash",
        &["-c", "set -m; (exec env -i /bin/sleep 1000) & echo $! > job; exit 0"],
    );
    spawn.env.retain(|entry| entry.as_bytes().starts_with(b"PATH"));
    rig.run(spawn).await;
    let job = written_pid(&rig.path("job")).await;
    eventually("the job has ended", || !lives(job)).await;
}

#[tokio::test]
async fn a_signal_for_a_run_that_has_not_started_waits_for_it() {
    let mut rig = Rig::with_workers(1);
    // One thing after another: the signal arrives long before the last is started.
    let spawns = (0..50).map(|_| rig.request("/bin/sleep", &["1000"])).collect::<Vec<_>>();
    let runs = spawns.iter().map(|spawn| spawn.run).collect::<Vec<_>>();
    rig.launcher.spawn(spawns);
    for run in &runs {
        rig.signal(*run, libc::SIGKILL, Scope::Group);
    }
    for run in runs {
        assert_eq!(rig.end(run).await, End::status(libc::SIGKILL));
    }
}

#[tokio::test]
async fn signals_for_the_ended_and_the_unknown_are_ignored() {
    let mut rig = Rig::new();
    let spawn = rig.script("true");
    let run = rig.spawn(spawn);
    rig.end(run).await;
    rig.signal(run, libc::SIGKILL, Scope::Session);
    rig.signal(marmoset_executor::launcher::RunId(999), libc::SIGKILL, Scope::Group);
    let spawn = rig.script("exit 4");
    let run = rig.spawn(spawn);
    rig.signal(run, 12_345, Scope::Session);
    assert_eq!(rig.end(run).await, End::code(4));
    assert!(fs::exists(rig.folder.path()).unwrap());
}

#[tokio::test]
async fn an_orphan_that_holds_the_output_open_does_not_hold_the_run_open() {
    let mut rig = Rig::with_workers(1);
    let mut spawn = rig.script("echo before; (setsid sleep 1000 &); exit 3");
    spawn.stdout = crate::support::file("stdout");
    let end = rig.run(spawn).await;
    assert_eq!(end, End::Exited { wait_status: 3 << 8, stdout_bytes: 7, stderr_bytes: 0 });
}
