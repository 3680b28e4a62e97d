//! Deaths at random moments under load.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use marmoset_executor::launcher::{self, LauncherEvent, Spawn};

use crate::support::{Rig, config, eventually_blocking, lives, text, workers};

const ROUNDS: u64 = 40;

/// Things that end at once, that stay, and that try to get away.
const SCRIPTS: [&str; 5] = [
    "exit 0",
    "exec sleep 1000",
    "sleep 1000 & sleep 1000 & exit 0",
    "(setsid sleep 1000 &); exec sleep 1000",
    "(setsid sh -c 'while :; do (setsid sleep 1000 &); sleep 0.01; done' &); exec sleep 1000",
];

/// A number that differs for each seed and looks as if it meant nothing.
fn scramble(seed: u64) -> u64 {
    let mut number = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn load(rig: &mut Rig, tag: &str, round: u64) -> Vec<Spawn> {
    (0..30)
        .map(|index| {
            let script = SCRIPTS[(scramble(round * 100 + index) % 5) as usize];
            let mut spawn = rig.script(script);
            spawn.env.push(text(&format!("CHAOS={tag}")));
            spawn
        })
        .collect()
}

/// Every process whose environment names `tag`.
fn tagged(tag: &str) -> Vec<i32> {
    let entry = format!("CHAOS={tag}");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|found| found.unwrap().file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
                && lives(*pid)
        })
        .collect()
}

fn kill(pid: i32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn no_process_outlives_its_launcher() {
    let mut rig = Rig::new();
    for round in 0..ROUNDS {
        let tag = format!("launcher-{}-{round}", std::process::id());
        let spawns = load(&mut rig, &tag, round);
        rig.launcher.spawn(spawns);
        let enough = rig.started.len() + (scramble(round) % 25) as usize;
        while rig.started.len() < enough {
            rig.handle_event().await;
        }
        let workers = workers(&rig.launcher);
        match scramble(round + 1_000) % 3 {
            0 => kill(rig.launcher.pid()),
            1 => kill(workers[0]),
            _ => kill(workers[1]),
        }
        let reason = rig.death().await;
        assert_eq!(tagged(&tag), Vec::<i32>::new(), "round {round}: {reason}");
        (rig.launcher, rig.events) = launcher::start(config(2)).unwrap();
        // Proof that it works, and that it has workers to be found.
        let spawn = rig.script("exit 0");
        rig.run(spawn).await;
    }
}

/// Not a test: the process that `no_process_outlives_its_executor` kills.
#[tokio::test]
async fn victim() {
    let Ok(tag) = env::var("CHAOS_VICTIM") else { return };
    let round = tag.rsplit('-').next().unwrap().parse().unwrap();
    let mut rig = Rig::new();
    let spawns = load(&mut rig, &tag, round);
    rig.launcher.spawn(spawns);
    let mut started = 0_usize;
    // Reports without end; whoever reads this stops it.
    while let Some(LauncherEvent::Reports(reports)) = rig.events.recv().await {
        started += reports.len();
        println!("\nreports {started}");
    }
}

#[test]
fn no_process_outlives_its_executor() {
    for round in 0..ROUNDS / 2 {
        let tag = format!("executor-{}-{round}", std::process::id());
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "chaos::victim", "--nocapture"])
            .env("CHAOS_VICTIM", &tag)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let enough = scramble(round + 2_000) % 35;
        let reports = BufReader::new(victim.stdout.take().unwrap())
            .lines()
            .filter_map(|line| line.unwrap().strip_prefix("reports ")?.parse::<u64>().ok());
        assert!(reports.into_iter().any(|count| count > enough), "the victim ended");
        victim.kill().unwrap();
        victim.wait().unwrap();
        eventually_blocking("nothing is left", || tagged(&tag).is_empty());
    }
}
