//! Whoever dies, nobody stays.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use marmoset_executor::launcher::{self, LauncherConfig, LauncherEvent};

use crate::support::{
    End, PATIENCE, Rig, config, descendants, eventually, eventually_blocking, lives, workers,
};

/// A run, a child of it, and two daemons, one of which the mark does not betray.
const FAMILY: &str = "
    sleep 1000 &
    (setsid sh -c 'touch a; exec sleep 1000' &)
    (setsid env -i sh -c '/bin/touch b; exec /bin/sleep 1000' &)
    until [ -e a -a -e b ]; do :; done
    touch $READY
    wait";

fn kill(pid: i32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// A launcher with a family, and everybody below the launcher.
async fn family() -> (Rig, Vec<i32>) {
    let mut rig = Rig::new();
    rig.ready(FAMILY).await;
    let everybody = descendants(rig.launcher.pid());
    // Two workers, the shell, its child, two daemons.
    assert!(everybody.len() >= 6, "{everybody:?}");
    (rig, everybody)
}

#[tokio::test]
async fn closing_ends_everything_before_it_returns() {
    let (rig, everybody) = family().await;
    let guard = rig.launcher.pid();
    rig.launcher.close().await;
    assert!(!everybody.iter().any(|pid| lives(*pid)));
    assert!(!lives(guard));
}

#[tokio::test]
async fn dropping_ends_everything() {
    let (rig, everybody) = family().await;
    let guard = rig.launcher.pid();
    let Rig { launcher, mut events, .. } = rig;
    drop(launcher);
    // The channel ends without a word of death.
    while let Some(event) = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap() {
        assert!(matches!(event, LauncherEvent::Reports(_)), "{event:?}");
    }
    assert!(!everybody.iter().any(|pid| lives(*pid)));
    assert!(!lives(guard));
}

#[tokio::test]
async fn not_listening_ends_everything() {
    let (rig, everybody) = family().await;
    drop(rig.events);
    eventually("all have ended", || !everybody.iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_takes_everybody_with_it() {
    for victim in 0..2 {
        let (mut rig, everybody) = family().await;
        kill(workers(&rig.launcher)[victim]);
        let reason = rig.death().await;
        assert_eq!(reason, format!("worker {victim} was killed by signal 9"));
        assert!(!everybody.iter().any(|pid| lives(*pid)));
    }
}

#[tokio::test]
async fn a_guard_that_is_killed_takes_everybody_with_it() {
    let (mut rig, everybody) = family().await;
    let workers = workers(&rig.launcher);
    kill(rig.launcher.pid());
    let reason = rig.death().await;
    assert!(reason.contains("signal: 9"), "{reason}");
    let (workers, runs): (Vec<i32>, Vec<i32>) =
        everybody.into_iter().partition(|pid| workers.contains(pid));
    assert!(!runs.iter().any(|pid| lives(*pid)));
    // They have nobody to wait for them.
    eventually("the workers have ended", || !workers.iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn when_guard_and_workers_are_killed_at_once_no_session_survives() {
    let mut rig = Rig::new();
    rig.ready("sleep 1000 & (sleep 1000 &); touch $READY; wait").await;
    let everybody = descendants(rig.launcher.pid());
    let mut victims = vec![rig.launcher.pid()];
    victims.extend(workers(&rig.launcher));
    let victims = victims.iter().map(ToString::to_string);
    assert!(Command::new("kill").arg("-KILL").args(victims).status().unwrap().success());
    rig.death().await;
    assert!(!everybody.iter().any(|pid| lives(*pid)));
}

#[tokio::test]
async fn when_guard_and_workers_are_killed_at_once_no_member_of_the_family_survives() {
    let family = format!("FAMILY={}.", std::process::id());
    let config = LauncherConfig { family: Some(crate::support::text(&family)), ..config(2) };
    let mut rig = Rig::with_workers(1);
    (rig.launcher, rig.events) = launcher::start(config).unwrap();
    let mut spawn = rig.script("(setsid sh -c 'echo $$ > daemon; exec sleep 1000' &); sleep 1000");
    spawn.env.push(crate::support::text(&format!("{family}7")));
    let run = rig.spawn(spawn);
    rig.pid(run).await;
    let daemon = crate::support::written_pid(&rig.path("daemon")).await;
    let mut victims = vec![rig.launcher.pid()];
    victims.extend(workers(&rig.launcher));
    let victims = victims.iter().map(ToString::to_string);
    assert!(Command::new("kill").arg("-KILL").args(victims).status().unwrap().success());
    rig.death().await;
    assert!(!lives(daemon));
}

#[tokio::test]
async fn signals_that_terminals_and_service_managers_send_do_not_end_it() {
    let mut rig = Rig::new();
    let mut victims = vec![rig.launcher.pid()];
    // The workers are there once one of them has done something.
    let spawn = rig.script("true");
    rig.run(spawn).await;
    victims.extend(workers(&rig.launcher));
    for signal in ["-TERM", "-INT", "-HUP", "-QUIT", "-USR1", "-PIPE"] {
        let victims = victims.iter().map(ToString::to_string);
        assert!(Command::new("kill").arg(signal).args(victims).status().unwrap().success());
    }
    for _ in 0..4 {
        let spawn = rig.script("exit 9");
        assert_eq!(rig.run(spawn).await, End::code(9));
    }
}

#[tokio::test]
async fn a_program_that_is_no_launcher_is_told_as_its_death() {
    let config = LauncherConfig::new("/bin/sh".into(), vec!["-c".into(), "exit 3".into()]);
    let (_launcher, mut events) = launcher::start(config).unwrap();
    let reason = "its process exited with status 3".to_owned();
    assert_eq!(events.recv().await, Some(LauncherEvent::Died { reason }));
    assert_eq!(events.recv().await, None);

    let config = LauncherConfig::new("/nowhere/launcher".into(), Vec::new());
    let error = launcher::start(config).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_person_who_calls_it_is_told_what_it_is() {
    let output = Command::new(env!("CARGO_BIN_EXE_marmoset-executor"))
        .arg("launcher")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("a part of the executor, which starts it"), "{error}");

    let (_ours, theirs) = UnixStream::pair().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_marmoset-executor"))
        .args(["launcher", "now"])
        .stdin(OwnedFd::from(theirs))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(64));
}

/// Not a test: the process that `a_parent_that_is_killed…` kills.
#[tokio::test]
async fn victim() {
    if env::var_os("LAUNCHER_VICTIM").is_none() {
        return;
    }
    let (rig, everybody) = family().await;
    let guard = rig.launcher.pid();
    let pids = everybody.iter().chain([&guard]).map(ToString::to_string);
    println!("\nfamily {}", pids.collect::<Vec<_>>().join(" "));
    // Until it is killed, or its parent is.
    let _ended = std::io::stdin().read_line(&mut String::new());
}

/// Another process that has a launcher with a family.
struct Victim {
    process: Child,
    _stdin: ChildStdin,
    _stdout: BufReader<ChildStdout>,
    everybody: Vec<i32>,
}

fn start_victim() -> Victim {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "deaths::victim", "--nocapture"])
        .env("LAUNCHER_VICTIM", "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.flush().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("family ") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the victim ended");
    }
    let everybody =
        line.split_whitespace().skip(1).map(|pid| pid.parse().unwrap()).collect::<Vec<_>>();
    Victim { process, _stdin: stdin, _stdout: stdout, everybody }
}

#[test]
fn a_parent_that_is_killed_is_followed_by_everybody_within_a_second() {
    let mut victim = start_victim();
    let at = std::time::Instant::now();
    victim.process.kill().unwrap();
    victim.process.wait().unwrap();
    eventually_blocking("all have ended", || !victim.everybody.iter().any(|pid| lives(*pid)));
    assert!(at.elapsed() < std::time::Duration::from_secs(1), "{:?}", at.elapsed());
}

#[test]
fn a_parent_and_a_launcher_process_that_are_killed_at_once_leave_nobody() {
    // The guard, then a worker.
    for index in [None, Some(0)] {
        let mut victim = start_victim();
        let guard = *victim.everybody.last().unwrap();
        let other = index.map_or(guard, |index: usize| victim.everybody[index]);
        let both = [victim.process.id().to_string(), other.to_string()];
        assert!(Command::new("kill").arg("-KILL").args(both).status().unwrap().success());
        victim.process.wait().unwrap();
        eventually_blocking("all have ended", || !victim.everybody.iter().any(|pid| lives(*pid)));
    }
}

#[tokio::test]
async fn a_launcher_that_died_can_be_replaced() {
    let (mut rig, _) = family().await;
    kill(workers(&rig.launcher)[0]);
    rig.death().await;
    let (launcher, events) = launcher::start(config(1)).unwrap();
    (rig.launcher, rig.events) = (launcher, events);
    let spawn = rig.script("exit 6");
    assert_eq!(rig.run(spawn).await, End::code(6));
}
