//! Runs in cgroups: limits, kills, what is left. Skipped, by name, where none can be made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use marmoset_executor::{
    cgroup::{Limits, Place},
    launcher::{self, LauncherConfig, Report, Rlimit, Scope, Spawn},
};

use crate::support::{End, Rig, config, eventually, file, lives, text, workers, written_pid};

const MIB: u64 = 1 << 20;

/// A place of this test's own, removed at the end; or the reason why there is none.
struct Ground {
    folders: Vec<PathBuf>,
    place: Place,
}

impl Ground {
    fn find(test: &str) -> Option<Self> {
        let place = match Place::find() {
            Ok(place) => place,
            Err(reason) => {
                eprintln!("skipped: {test}: no writable cgroup: {reason}");
                return None;
            }
        };
        let mut folders = Vec::new();
        let name = format!("marmoset-test-{}-{test}", std::process::id());
        let mut make = |folder: &PathBuf| {
            let own = folder.join(&name);
            fs::create_dir(&own).unwrap();
            folders.push(own.clone());
            own
        };
        let place = match &place {
            Place::V1 { memory, cpu, freezer } => Place::V1 {
                memory: memory.as_ref().map(&mut make),
                cpu: cpu.as_ref().map(&mut make),
                freezer: freezer.as_ref().map(&mut make),
            },
            Place::V2(folder) => {
                let own = make(folder);
                for controller in ["+memory", "+cpu"] {
                    let _absent = fs::write(own.join("cgroup.subtree_control"), controller);
                }
                Place::V2(own)
            }
        };
        Some(Self { folders, place })
    }

    fn config(&self, workers: usize) -> LauncherConfig {
        LauncherConfig { cgroups: Some(self.place.clone()), ..config(workers) }
    }

    fn rig(&self, workers: usize) -> Rig {
        let mut rig = Rig::with_workers(1);
        (rig.launcher, rig.events) = launcher::start(self.config(workers)).unwrap();
        rig
    }

    /// Trees that are there, in any hierarchy.
    fn trees(&self) -> Vec<PathBuf> {
        self.folders.iter().flat_map(|folder| below(folder)).collect()
    }

    /// Cgroups of runs.
    fn groups(&self) -> Vec<PathBuf> {
        self.trees().iter().flat_map(|tree| below(tree)).collect()
    }

    async fn deserted(&self) {
        eventually("all cgroups are gone", || self.trees().is_empty()).await;
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for folder in &self.folders {
            let removed = fs::remove_dir(folder);
            assert!(std::thread::panicking() || removed.is_ok(), "{folder:?}: {removed:?}");
        }
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn limited(spawn: Spawn, memory: u64) -> Spawn {
    let limits = Limits { memory: Some(memory), cpu_shares: Some(512), cpu_quota: None };
    Spawn { limits: Some(limits), ..spawn }
}

/// A script that takes that much memory.
fn eats(mebibytes: u64) -> String {
    // Each character twice, in a shell's variable: no other program is needed.
    format!("x=$(head -c {} /dev/zero | tr '\\0' x); exit 0", mebibytes * MIB)
}

#[tokio::test]
async fn a_run_that_takes_too_much_memory_is_killed_and_told() {
    let Some(ground) = Ground::find("too_much_memory") else { return };
    let mut rig = ground.rig(1);
    let spawn = rig.script(&eats(100));
    let run = rig.spawn(limited(spawn, 32 * MIB));
    let memory = loop {
        if let launcher::LauncherEvent::Reports(reports) = rig.event().await {
            let own = reports.into_iter().find_map(|report| match report {
                Report::Exited { run: ended, out_of_memory, .. } if ended == run => {
                    Some(out_of_memory)
                }
                _ => None,
            });
            if let Some(memory) = own {
                break memory.expect("told");
            }
        }
    };
    assert_eq!(memory.limit, 32 * MIB);
    assert!(memory.peak > 24 * MIB && memory.peak <= memory.limit, "{memory:?}");
    // The next run in the same cgroup has the limit for itself, and no part in that end.
    for _ in 0..3 {
        let spawn = rig.script("exit 0");
        assert_eq!(rig.run(limited(spawn, 32 * MIB)).await, End::code(0));
    }
    let spawn = rig.script(&eats(100));
    assert_eq!(rig.run(limited(spawn, 1024 * MIB)).await, End::code(0));
    rig.launcher.close().await;
    ground.deserted().await;
}

#[tokio::test]
async fn what_earlier_runs_have_left_in_memory_is_no_burden_of_later_ones() {
    let Some(ground) = Ground::find("tmpfs") else { return };
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: tmpfs: `/dev/shm` cannot be written");
        return;
    };
    let mut rig = ground.rig(1);
    for number in 0..12 {
        let file = folder.path().join(number.to_string());
        let spawn = rig.script(&format!("head -c 8000000 /dev/zero > {}", file.display()));
        assert_eq!(rig.run(limited(spawn, 32 * MIB)).await, End::code(0), "file {number}");
    }
    // Three times the limit is there, and still no run was without memory.
    let spawn = rig.script(&eats(10));
    assert_eq!(rig.run(limited(spawn, 32 * MIB)).await, End::code(0));
    rig.launcher.close().await;
    ground.deserted().await;
}

#[tokio::test]
async fn runs_share_no_cgroup_and_use_them_again() {
    let Some(ground) = Ground::find("used_again") else { return };
    let mut rig = ground.rig(1);
    for _ in 0..100 {
        let spawn = rig.request("/bin/true", &[]);
        assert_eq!(rig.run(limited(spawn, 64 * MIB)).await, End::code(0));
    }
    assert_eq!(ground.groups().len(), 1, "{:?}", ground.groups());
    let list = "cat /proc/self/cgroup; touch $READY; exec sleep 1000";
    let mut runs = Vec::new();
    for _ in 0..3 {
        let mut spawn = limited(rig.script(list), 64 * MIB);
        spawn.stdout = crate::support::file(&format!("{}.out", spawn.run));
        runs.push(rig.spawn(spawn));
    }
    let mut lists = Vec::new();
    for run in &runs {
        let path = rig.path(&format!("{run}.out"));
        eventually("a list is written", || fs::read(&path).is_ok_and(|list| list.len() > 9)).await;
        let list = fs::read_to_string(path).unwrap();
        lists.extend(list.lines().find(|line| line.contains("marmoset-tree-")).map(str::to_owned));
    }
    lists.sort();
    lists.dedup();
    assert_eq!(lists.len(), 3, "{lists:?}");
    rig.launcher.close().await;
    ground.deserted().await;
}

#[tokio::test]
async fn a_run_that_lasts_gets_its_share_of_cpu_time() {
    let Some(ground) = Ground::find("cpu_share") else { return };
    let controlled = match &ground.place {
        Place::V1 { cpu: Some(folder), .. } => (folder.clone(), "cpu.shares", "512"),
        Place::V2(folder) if folder.join("cpu.weight").exists() => {
            (folder.clone(), "cpu.weight", "20")
        }
        Place::V1 { cpu: None, .. } | Place::V2(_) => {
            eprintln!("skipped: cpu_share: no controller for CPU time here");
            return;
        }
    };
    let (folder, file, expected) = controlled;
    let mut rig = ground.rig(1);
    let mut spawn = rig.script("(setsid sleep 1000 &); exec sleep 1000");
    spawn.limits = Some(Limits {
        memory: Some(64 * MIB),
        cpu_shares: Some(512),
        cpu_quota: Some(Duration::from_millis(50)),
    });
    let run = rig.spawn(spawn);
    rig.pid(run).await;
    let groups = || below(&folder).iter().flat_map(|tree| below(tree)).collect::<Vec<_>>();
    let members = |group: &PathBuf| {
        fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines().count()
    };
    eventually("both processes are in it", || groups().iter().any(|group| members(group) == 2))
        .await;
    let group = groups().remove(0);
    assert_eq!(fs::read_to_string(group.join(file)).unwrap().trim(), expected);
    rig.signal(run, libc::SIGKILL, Scope::Session);
    rig.end(run).await;
    rig.launcher.close().await;
    ground.deserted().await;
}

/// Starts processes that neither session nor environment betrays.
const STRANGERS: &str = "
    (setsid env -i sh -c 'echo $$ > a; exec /bin/sleep 1000' &)
    (setsid env -i sh -c 'echo $$ > b; (setsid /bin/sleep 1000 &); exec /bin/sleep 1000' &)
    until [ -s a -a -s b ]; do :; done";

#[tokio::test]
async fn a_kill_reaches_whoever_wiped_its_traces() {
    let Some(ground) = Ground::find("wiped") else { return };
    let mut rig = ground.rig(1);
    let spawn = rig.script(&format!("{STRANGERS}; wait; exec sleep 1000"));
    let run = rig.spawn(limited(spawn, 64 * MIB));
    rig.pid(run).await;
    let (a, b) = (written_pid(&rig.path("a")).await, written_pid(&rig.path("b")).await);
    rig.signal(run, libc::SIGKILL, Scope::Session);
    assert_eq!(rig.end(run).await, End::status(libc::SIGKILL));
    eventually("all have ended", || !lives(a) && !lives(b)).await;
    rig.launcher.close().await;
    ground.deserted().await;
}

#[tokio::test]
async fn an_ended_run_leaves_nobody_who_wiped_its_traces() {
    let Some(ground) = Ground::find("leftovers") else { return };
    let mut rig = ground.rig(1);
    // One that leaves nobody, and whose cgroup is used again at once.
    let spawn = rig.request("/bin/true", &[]);
    assert_eq!(rig.run(limited(spawn, 64 * MIB)).await, End::code(0));
    let spawn = rig.script(&format!("{STRANGERS}; exit 4"));
    assert_eq!(rig.run(limited(spawn, 64 * MIB)).await, End::code(4));
    let (a, b) = (written_pid(&rig.path("a")).await, written_pid(&rig.path("b")).await);
    eventually("all have ended", || !lives(a) && !lives(b)).await;
    // Its cgroup is used again once it is empty.
    eventually("it is empty", || {
        ground.groups().iter().all(|group| {
            fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().is_empty()
        })
    })
    .await;
    rig.launcher.close().await;
    ground.deserted().await;
}

#[tokio::test]
async fn descriptors_of_cgroups_do_not_count_for_a_run() {
    let Some(ground) = Ground::find("descriptors") else { return };
    let mut rig = ground.rig(1);
    let many = (0..20).map(|_| limited(rig.request("/bin/sleep", &["0.2"]), 64 * MIB));
    let many = many.collect::<Vec<_>>();
    let runs = many.iter().map(|spawn| spawn.run).collect::<Vec<_>>();
    rig.launcher.spawn(many);
    for run in runs {
        assert_eq!(rig.end(run).await, End::code(0));
    }
    let mut spawn = limited(rig.script("echo told"), 64 * MIB);
    (spawn.cwd, spawn.create_cwd) = (text(rig.path("few").to_str().unwrap()), true);
    (spawn.stdout, spawn.stderr) = (file("stdout"), file("stderr"));
    let resource = libc::RLIMIT_NOFILE;
    spawn.rlimits = vec![Rlimit { resource, soft: 16, hard: 16 }];
    let end = rig.run(spawn).await;
    assert_eq!(end, End::Exited { wait_status: 0, stdout_bytes: 5, stderr_bytes: 0 });
    rig.launcher.close().await;
    ground.deserted().await;
}

#[tokio::test]
async fn whoever_has_children_faster_than_they_are_killed_is_stopped_first() {
    let Some(ground) = Ground::find("fast_children") else { return };
    let mut rig = ground.rig(1);
    // Each generation is another session, lives a moment, and has two children before it ends.
    let bomb = "printf '%s\\n' 'setsid sh ./bomb & setsid sh ./bomb2 & sleep 0.05' > bomb
        printf '%s\\n' 'sleep 0.3' > bomb2
        sh ./bomb; touch $READY; exec sleep 1000";
    let mut spawn = limited(rig.script(bomb), 256 * MIB);
    let ready = rig.path("ready");
    spawn.env.push(text(&format!("READY={}", ready.display())));
    let run = rig.spawn(spawn);
    rig.pid(run).await;
    eventually("generations", || ready.exists()).await;
    rig.signal(run, libc::SIGKILL, Scope::Session);
    rig.end(run).await;
    eventually("nobody is left", || {
        ground.groups().iter().all(|group| {
            fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().is_empty()
        })
    })
    .await;
    rig.launcher.close().await;
    ground.deserted().await;
}

fn kill(pids: &[i32]) {
    let pids = pids.iter().map(ToString::to_string);
    assert!(Command::new("kill").arg("-KILL").args(pids).status().unwrap().success());
}

#[tokio::test]
async fn when_guard_and_workers_are_killed_at_once_nobody_survives() {
    let Some(ground) = Ground::find("all_at_once") else { return };
    let mut rig = ground.rig(2);
    let spawn = rig.script(&format!("{STRANGERS}; exec sleep 1000"));
    let run = rig.spawn(limited(spawn, 64 * MIB));
    rig.pid(run).await;
    let (a, b) = (written_pid(&rig.path("a")).await, written_pid(&rig.path("b")).await);
    let mut victims = workers(&rig.launcher);
    victims.push(rig.launcher.pid());
    kill(&victims);
    rig.death().await;
    assert!(!lives(a) && !lives(b));
    ground.deserted().await;
}

/// A tree whose owners were all killed at once, as the next one finds it.
#[tokio::test]
async fn what_nobody_owns_is_swept_and_what_somebody_owns_is_not() {
    let Some(ground) = Ground::find("swept") else { return };
    let folders = ground.folders.clone();
    let hierarchy = match &ground.place {
        Place::V1 { memory: Some(_), .. } => "memory",
        Place::V1 { memory: None, .. } => "cpu",
        Place::V2(_) => "unified",
    };
    let mut strangers = Vec::new();
    for folder in &folders {
        let group = folder.join(format!("marmoset-tree-{hierarchy}-0123")).join("0.0");
        fs::create_dir_all(&group).unwrap();
        if strangers.is_empty() {
            let stranger = Command::new("sleep").arg("1000").spawn().unwrap();
            strangers.push(stranger);
        }
        fs::write(group.join("cgroup.procs"), strangers[0].id().to_string()).unwrap();
    }
    let mut first = ground.rig(1);
    assert!(!strangers[0].wait().unwrap().success());
    let spawn = limited(first.script("exec sleep 1000"), 64 * MIB);
    let run = first.spawn(spawn);
    let pid = first.pid(run).await;
    let mut second = ground.rig(1);
    let spawn = limited(second.script("exit 2"), 64 * MIB);
    assert_eq!(second.run(spawn).await, End::code(2));
    assert!(lives(pid));
    assert_eq!(ground.trees().len(), 2 * folders.len());
    first.launcher.close().await;
    second.launcher.close().await;
    ground.deserted().await;
}

#[tokio::test]
async fn a_place_that_is_gone_fails_the_start() {
    let place = Place::V2("/nowhere/cgroup".into());
    let config = LauncherConfig { cgroups: Some(place), ..config(1) };
    let error = launcher::start(config).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
