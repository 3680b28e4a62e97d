//! `kill -9` at random moments, 200 times: of executors, of each kind of launcher process, and of agents.
//!
//! An agent of mini lives in the process of the test, so it is not killed by a signal: its actor is ended where it
//! stands, as a killed process would be, and another starts on the same port from what was checkpointed. Executors and
//! launchers are processes, and get SIGKILL.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{
    collections::BTreeMap,
    env, fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use e2e::{
    Scene, TestCluster,
    cluster::{agent, master},
    processes::{self, Process},
    programs, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How often something is killed.
const KILLS: u64 = 200;

/// Tasks of one job; jobs follow each other as long as there is something to kill.
const TASKS: u64 = 150;

const AGENTS: usize = 2;

/// Numbers that follow from a seed and look as if they meant nothing (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The seed, which `KILLS_SEED` repeats.
fn seed() -> u64 {
    let given =
        env::var("KILLS_SEED").ok().map(|seed| seed.parse().expect("`KILLS_SEED` is a number"));
    given.unwrap_or_else(|| {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
        now.as_micros() as u64
    })
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Executor,
    Guard,
    Worker,
    /// Everything of one launcher at the same moment.
    Launcher,
    Agent,
}

const VICTIMS: [Victim; 5] =
    [Victim::Executor, Victim::Guard, Victim::Worker, Victim::Launcher, Victim::Agent];

/// The name that a process has given itself.
fn name(process: &Process) -> String {
    fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default().trim().to_owned()
}

/// The processes to kill, of those that there are.
fn choose(scene: &Scene, victim: Victim, random: &mut Random) -> Vec<Process> {
    let all = processes::within(scene.path());
    let mut pick = |fits: &dyn Fn(&Process) -> bool| {
        let found = all.iter().filter(|process| fits(process)).collect::<Vec<_>>();
        (!found.is_empty()).then(|| found[random.below(found.len() as u64) as usize].clone())
    };
    let is_executor = |process: &Process| {
        let program = process.command.split(' ').next().unwrap_or_default();
        program.ends_with("marmoset-executor") && !process.command.contains("launcher")
    };
    let one = match victim {
        Victim::Executor => pick(&is_executor),
        Victim::Guard | Victim::Launcher => pick(&|process| name(process) == "marmoset-guard"),
        Victim::Worker => pick(&|process| name(process).starts_with("marmoset-work-")),
        Victim::Agent => None,
    };
    let mut victims = one.into_iter().collect::<Vec<_>>();
    if victim == Victim::Launcher {
        let guards = victims.iter().map(|guard| guard.pid).collect::<Vec<_>>();
        let workers = all.iter().filter(|process| {
            guards.contains(&process.parent) && name(process).starts_with("marmoset-work-")
        });
        victims.extend(workers.cloned());
    }
    victims
}

/// Kills one thing. False if there was none of it.
fn strike(scene: &Scene, cluster: &TestCluster, victim: Victim, random: &mut Random) -> bool {
    if victim == Victim::Agent {
        let index = random.below(AGENTS as u64) as usize;
        let down = Duration::from_millis(random.below(300));
        let faults = cluster.get().faults();
        cluster.block_on(async {
            assert!(faults.stop_agent(index).await);
            thread::sleep(down);
            assert!(faults.restart_agent(index).await);
        });
        return true;
    }
    let mut hit = false;
    for process in choose(scene, victim, random) {
        // Whoever is gone by now was about to end.
        hit |= kill(Pid::from_raw(process.pid), Signal::SIGKILL).is_ok();
    }
    hit
}

/// Runs one job, and sees to it that each of its tasks has one end.
fn run_job(scene: &Scene, cluster: &TestCluster, number: u64) {
    let marks = scene.path().join(format!("marks-{number}"));
    fs::create_dir_all(&marks).unwrap();
    // Daemons that leave the session, some of which outlive their task if nobody ends them.
    let script = format!(
        "case $MARMOSET_INDEX in *7) (setsid sleep 1000 &);; *3) sleep 1000 & ;; esac
         sleep 0.$((MARMOSET_INDEX % 4 + 1)); > {}/$MARMOSET_INDEX",
        marks.display()
    );
    let batch = ["1", "auto", "20"][number as usize % 3];
    let master = cluster.master();
    let executor = programs::executor().to_str().unwrap();
    let count = TASKS.to_string();
    let done = scene.marmoset([
        "run",
        "--json",
        "--master",
        &master,
        "--executor-path",
        executor,
        "--count",
        &count,
        "--cpus",
        "0.25",
        "--mem",
        "32",
        "--retries",
        "1000",
        "--batch",
        batch,
        "--shell",
        "--",
        &script,
    ]);
    let result = done.json();
    let tasks = &result["tasks"];
    let of = |state: &str| tasks[state].as_u64().unwrap();
    let all = of("finished") + of("failed") + of("killed") + of("lost");
    assert_eq!(all, TASKS, "job {number}: {result}\n{}", done.stderr);
    // The script never fails, and what a kill failed was tried again.
    assert_eq!(of("failed") + of("killed"), 0, "job {number}: {result}\n{}", done.stderr);
    let ran = fs::read_dir(&marks).unwrap().count() as u64;
    assert!(of("finished") <= ran, "job {number}: {ran} of its tasks ran to their end: {result}");
    assert!(done.code() == i32::from(of("lost") > 0), "{}: {result}", done.code());
}

#[test]
fn two_hundred_kills_leave_no_process_and_each_task_one_end() {
    let seed = seed();
    eprintln!("KILLS_SEED={seed} repeats the choices of this test");
    let scene = Scene::new();
    let agents = ["a", "b"].map(|name| agent(&scene, name, "cpus:2;mem:4096;ports:[9000-9010]"));
    let cluster = TestCluster::start(master(), agents.into());
    let (ended, jobs) = (AtomicBool::new(false), AtomicU64::new(0));
    let struck = thread::scope(|scope| {
        let runner = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                run_job(&scene, &cluster, jobs.fetch_add(1, Ordering::Relaxed));
            }
        });
        let mut random = Random(seed);
        let mut struck = BTreeMap::<Victim, u64>::new();
        while struck.values().sum::<u64>() < KILLS && !runner.is_finished() {
            let victim = VICTIMS[random.below(VICTIMS.len() as u64) as usize];
            wait::until("something to kill", || {
                (strike(&scene, &cluster, victim, &mut random) || runner.is_finished())
                    .then_some(())
            });
            *struck.entry(victim).or_default() += 1;
            // Where there are no cgroups, an executor that dies in the moment in which it ends what a dead
            // launcher has left cannot keep its promise, and does not give it (docs/executor-protocol.md).
            let pause = if victim == Victim::Launcher { 300 } else { 0 };
            thread::sleep(Duration::from_millis(pause + random.below(400)));
        }
        ended.store(true, Ordering::Relaxed);
        runner.join().expect("each task has one end");
        struck
    });
    eprintln!("{struck:?} killed during {} jobs", jobs.load(Ordering::Relaxed));
    assert_eq!(struck.values().sum::<u64>(), KILLS);
    drop(cluster);
    scene.assert_deserted();
}

/// Tasks that run go on under an agent that restarts: same process, no gap in what they write.
#[test]
fn an_agent_that_restarts_disturbs_no_running_task() {
    const LINES: usize = 60;
    let scene = Scene::new();
    let cluster = TestCluster::single(&scene, "cpus:4;mem:1024;ports:[9000-9010]");
    let folder = scene.path().join("lines");
    fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "n=0; while [ $n -lt {LINES} ]; do echo $$ $n >> {}/$MARMOSET_INDEX; n=$((n + 1)); sleep 0.1; done",
        folder.display()
    );
    let executor = programs::executor().to_str().unwrap();
    let (master, count) = (cluster.master(), "3");
    let running = scene.start_marmoset([
        "run",
        "--json",
        "--master",
        &master,
        "--executor-path",
        executor,
        "--count",
        count,
        "--cpus",
        "0.5",
        "--shell",
        "--",
        &script,
    ]);
    let lines = |index: usize| -> Vec<String> {
        let text = fs::read_to_string(folder.join(index.to_string())).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    for threshold in [5, 20] {
        wait::until("all three to write", || {
            (0..3).all(|index| lines(index).len() >= threshold).then_some(())
        });
        cluster.block_on(cluster.get().faults().stop_agent(0));
        let before = lines(0).len();
        wait::until("a task to go on without an agent", || (lines(0).len() > before).then_some(()));
        cluster.block_on(cluster.get().faults().restart_agent(0));
    }
    let done = running.wait();
    assert_eq!(done.code(), 0, "{}\n{}", done.stdout, done.stderr);
    let result = done.json();
    assert_eq!((&result["tasks"]["finished"], &result["executors"]), (&3.into(), &1.into()));
    for index in 0..3 {
        let lines = lines(index);
        let pid = lines[0].split(' ').next().unwrap().to_owned();
        let expected = (0..LINES).map(|number| format!("{pid} {number}")).collect::<Vec<_>>();
        assert_eq!(lines, expected, "one process, every line once");
    }
    drop(cluster);
    scene.assert_deserted();
}
