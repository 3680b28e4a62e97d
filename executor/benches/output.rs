//! What the output of a short task costs: none, two files, or a place in a pack.
//!
//!     cargo bench -p marmoset-executor --bench output -- [COUNT [FOLDER]...]
//!
//! Runs `/bin/echo` through a launcher as fast as it goes, the three ways in turn, in
//! each of the folders (the default is the temporary one and `/dev/shm`). Not for what
//! one figure is: for what stands beside it.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made is not made")]

use std::{
    env,
    ffi::CString,
    num::NonZeroU64,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use marmoset_executor::launcher::{
    self, Keeping, Launcher, LauncherConfig, LauncherEvent, Output, Report, RunId, Spawn,
};
use tokio::sync::mpsc;

/// Each way is measured that often; the best counts.
const ROUNDS: usize = 5;

/// Runs that the launcher knows of at a time.
const IN_FLIGHT: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Way {
    Null,
    Files,
    Packed,
}

impl Way {
    const ALL: [(Self, &str); 3] = [
        (Self::Null, "/dev/null"),
        (Self::Files, "two files in a folder"),
        (Self::Packed, "packed, the folder removed"),
    ];
}

struct Rig {
    launcher: Launcher,
    events: mpsc::Receiver<LauncherEvent>,
    last: u64,
}

fn main() {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let count = arguments.next().map_or(5000, |count| count.parse().unwrap());
    let mut folders = arguments.map(PathBuf::from).collect::<Vec<_>>();
    if folders.is_empty() {
        folders = vec![env::temp_dir(), "/dev/shm".into()];
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for folder in folders {
            measure(&folder, count).await;
        }
    });
}

async fn measure(folder: &Path, count: usize) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_marmoset-executor"));
    let config = LauncherConfig::new(program, vec!["launcher".into()]);
    let (launcher, events) = launcher::start(config).unwrap();
    let mut rig = Rig { launcher, events, last: 0 };
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for (best, (way, _)) in best.iter_mut().zip(Way::ALL) {
            // Folders of earlier rounds are gone, so that each round finds the same disk.
            let sandbox = tempfile::tempdir_in(folder).unwrap();
            *best = rig.run(way, count, sandbox.path()).await.min(*best);
        }
    }
    println!("{} tasks each, in {}", count, folder.display());
    for (best, (_, name)) in best.iter().zip(Way::ALL) {
        let each = best.as_secs_f64() / count as f64;
        println!("{name:<28} {:>8.0} a second {:>8.1} us each", 1.0 / each, each * 1e6);
    }
    rig.launcher.close().await;
}

impl Rig {
    async fn run(&mut self, way: Way, count: usize, sandbox: &Path) -> Duration {
        let begin = Instant::now();
        let (mut asked, mut ended) = (0, 0);
        while ended < count {
            let wanted = count.min(ended + IN_FLIGHT);
            let spawns = (asked..wanted).map(|_| self.request(way, sandbox)).collect();
            asked = wanted;
            self.launcher.spawn(spawns);
            match self.events.recv().await.unwrap() {
                LauncherEvent::Reports(reports) => {
                    for report in reports {
                        match report {
                            Report::Started { .. } => {}
                            Report::Exited { .. } => ended += 1,
                            Report::SpawnFailed { .. } | Report::Returned { .. } => {
                                panic!("{report:?}")
                            }
                        }
                    }
                }
                LauncherEvent::Died { reason } => panic!("{reason}"),
            }
        }
        begin.elapsed()
    }

    fn request(&mut self, way: Way, sandbox: &Path) -> Spawn {
        self.last += 1;
        let text = |path: PathBuf| CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut spawn = Spawn::new(RunId(self.last), c"/bin/echo".into());
        spawn.argv.push(c"a line of some length, as a short task writes it: 0123456789".into());
        spawn.cwd = text(sandbox.join("tasks").join(format!("job.{}", self.last)));
        spawn.create_cwd = true;
        let limit = NonZeroU64::new(10 << 20);
        match way {
            Way::Null => {}
            Way::Files | Way::Packed => {
                spawn.stdout = Output::File(c"stdout".into());
                spawn.stderr = Output::File(c"stderr".into());
                spawn.keeping = Keeping { limit, ..Keeping::default() };
            }
        }
        match way {
            Way::Null | Way::Files => {}
            Way::Packed => spawn.keeping.pack = Some(text(sandbox.join("packs/job"))),
        }
        spawn
    }
}
