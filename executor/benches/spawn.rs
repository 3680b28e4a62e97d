//! Ways to start a process, and the launcher beside them.
//!
//! `cargo bench -p marmoset-executor --bench spawn [-- COUNT]` prints two tables: what
//! each primitive achieves from one thread, two threads and two processes, and
//! what the launcher achieves with several numbers of workers and of runs in
//! flight. Every figure is processes per second, the best of three.
#![expect(unsafe_code, reason = "compares system calls")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails may end")]

use std::{
    env,
    ffi::{CStr, CString, c_char, c_int, c_void},
    num::NonZeroUsize,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    ptr,
    time::{Duration, Instant},
};

use marmoset_executor::{
    cgroup::Place,
    floor::floor,
    launcher::{
        self, LauncherConfig, LauncherEvent, RateOutput, Report, RunId, Spawn, SpawnRate,
        SpawnRateConfig, spawn_rate,
    },
};

#[path = "../src/launcher/clone3.rs"]
mod clone3;

const PROGRAM: &CStr = c"/bin/true";

const ROUNDS: usize = 3;

fn main() {
    let count = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3_000);
    // Before anything else starts a thread: some of it forks.
    primitives(count);
    cgroups(count);
    launcher(count);
    latency();
}

/// One way to start `/bin/true`.
type Start = fn(&Room) -> i32;

/// What the ways need, made before the clock starts.
struct Room {
    folder: CString,
    out: CString,
    err: CString,
    stack: Box<Stack>,
    groups: Option<Groups>,
}

#[repr(align(16))]
struct Stack([u8; 64 << 10]);

/// Cgroups of one process at a time: one in each hierarchy that can be written.
struct Groups {
    /// In the unified hierarchy.
    unified: Option<OwnedFd>,
    /// The `cgroup.procs` of each.
    procs: Vec<(&'static str, CString)>,
    made: Vec<PathBuf>,
}

impl Groups {
    fn new(name: &str) -> Self {
        let mut groups = Self { unified: None, procs: Vec::new(), made: Vec::new() };
        for hierarchy in ["unified", "memory", "cpu", "freezer", ""] {
            let folder = Path::new("/sys/fs/cgroup").join(hierarchy);
            if !folder.join("cgroup.procs").exists() {
                continue;
            }
            let folder = folder.join(format!("marmoset-bench-{}-{name}", std::process::id()));
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            groups.made.push(folder.clone());
            let procs = folder.join("cgroup.procs");
            let kind = if hierarchy.is_empty() { "unified" } else { hierarchy };
            if kind == "unified" {
                groups.unified = Some(std::fs::File::open(&folder).unwrap().into());
            }
            groups.procs.push((kind, CString::new(procs.to_str().unwrap()).unwrap()));
        }
        groups
    }

    fn procs(&self, kinds: &[&str]) -> Vec<&CStr> {
        let own = self.procs.iter().filter(|(kind, _)| kinds.contains(kind));
        own.map(|(_, path)| path.as_c_str()).collect()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in &self.made {
            let _emptied = std::fs::remove_dir(folder);
        }
    }
}

impl Room {
    fn new(folder: &Path, name: &str) -> Self {
        let text = |path: PathBuf| CString::new(path.to_str().unwrap()).unwrap();
        Self {
            folder: text(folder.to_owned()),
            out: text(folder.join(format!("{name}.out"))),
            err: text(folder.join(format!("{name}.err"))),
            stack: Box::new(Stack([0; 64 << 10])),
            groups: None,
        }
    }
}

#[expect(clippy::zombie_processes, reason = "all are waited for by their pid")]
fn primitives(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let ways: [(&str, Start); 16] = [
        ("posix_spawn, nothing set up", |_| posix_spawn(&[], None)),
        ("posix_spawn: session, folder, /dev/null", |room| {
            let null = c"/dev/null";
            posix_spawn(&[(0, null), (1, null), (2, null)], Some(&room.folder))
        }),
        ("clone VM|VFORK: session, folder, /dev/null", |room| clone(room, 0, Streams::Null)),
        ("the same with CLONE_PIDFD", |room| clone(room, libc::CLONE_PIDFD, Streams::Null)),
        ("posix_spawn: session, folder, two files", |room| {
            let files = [(0, c"/dev/null"), (1, room.out.as_c_str()), (2, room.err.as_c_str())];
            posix_spawn(&files, Some(&room.folder))
        }),
        ("clone VM|VFORK: two files opened by the child", |room| clone(room, 0, Streams::Files)),
        ("clone VM|VFORK: two files opened before", |room| {
            let files = [open(&room.out), open(&room.err)];
            let pid = clone(room, 0, Streams::Opened(files));
            // SAFETY: opened above.
            files.into_iter().for_each(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd) }));
            pid
        }),
        ("fork: session, folder, /dev/null", |room| clone(room, -1, Streams::Null)),
        ("std::process::Command with pre_exec", |_| {
            let mut command = Command::new("/bin/true");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // SAFETY: does nothing.
            let child = unsafe { command.pre_exec(|| Ok(())) }.spawn().unwrap();
            child.id() as i32
        }),
        ("clone3 VM|VFORK: session, folder, /dev/null", |room| clone3(room, false, false)),
        ("the same with CLONE_PIDFD", |room| clone3(room, false, true)),
        ("clone3 VM|VFORK|INTO_CGROUP", |room| clone3(room, true, false)),
        ("clone, the child enters: unified", |room| enter(room, &["unified"])),
        ("clone, the child enters: memory", |room| enter(room, &["memory"])),
        ("clone, the child enters: memory, cpu", |room| enter(room, &["memory", "cpu"])),
        ("clone, the child enters: memory, cpu, freezer", |room| {
            enter(room, &["memory", "cpu", "freezer"])
        }),
    ];
    println!("| primitive | 1 thread | 2 threads | 2 processes |");
    println!("| --- | --- | --- | --- |");
    for (name, start) in ways {
        let run = |name: &str, count: usize| {
            let mut room = Room::new(folder.path(), name);
            room.groups = Some(Groups::new(name));
            for _ in 0..count {
                wait(start(&room));
            }
        };
        let one = best(count, || run("a", count));
        let threads = best(count, || {
            std::thread::scope(|scope| {
                scope.spawn(|| run("a", count / 2));
                scope.spawn(|| run("b", count / 2));
            });
        });
        let processes = best(count, || {
            let children = ["a", "b"].map(|name| {
                // SAFETY: the threads of the round before have ended.
                match unsafe { libc::fork() } {
                    0 => {
                        run(name, count / 2);
                        // SAFETY: ends the process.
                        unsafe { libc::_exit(0) }
                    }
                    child => child,
                }
            });
            children.into_iter().for_each(wait);
        });
        println!("| {name} | {one:.0} | {threads:.0} | {processes:.0} |");
    }
}

fn best(count: usize, mut run: impl FnMut()) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            run();
            count as f64 / begin.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}

fn wait(pid: i32) {
    assert!(pid > 0);
    // SAFETY: no status is asked for.
    assert_eq!(unsafe { libc::waitpid(pid, ptr::null_mut(), 0) }, pid);
}

const FLAGS: c_int = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

fn open(path: &CStr) -> c_int {
    // SAFETY: a path and numbers.
    unsafe { libc::open(path.as_ptr(), FLAGS | libc::O_CLOEXEC, 0o644) }
}

fn posix_spawn(files: &[(c_int, &CStr)], folder: Option<&CStr>) -> i32 {
    let argv = [PROGRAM.as_ptr().cast_mut(), ptr::null_mut()];
    let env: [*mut c_char; 1] = [ptr::null_mut()];
    // SAFETY: everything is initialised before it is used, and outlives the call.
    unsafe {
        let mut actions = std::mem::zeroed();
        let mut attributes = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut actions);
        libc::posix_spawnattr_init(&raw mut attributes);
        if let Some(folder) = folder {
            libc::posix_spawn_file_actions_addchdir_np(&raw mut actions, folder.as_ptr());
            // POSIX_SPAWN_SETSID, which the libc crate has no name for.
            libc::posix_spawnattr_setflags(&raw mut attributes, 0x80);
        }
        for (fd, path) in files {
            let flags = if *fd == 0 { libc::O_RDONLY } else { FLAGS };
            libc::posix_spawn_file_actions_addopen(
                &raw mut actions,
                *fd,
                path.as_ptr(),
                flags,
                0o644,
            );
        }
        let mut pid = 0;
        let (actions_in, attributes_in) = match folder {
            Some(_) => (&raw const actions, &raw const attributes),
            None => (ptr::null(), ptr::null()),
        };
        let (argv, env) = (argv.as_ptr(), env.as_ptr());
        libc::posix_spawn(&raw mut pid, PROGRAM.as_ptr(), actions_in, attributes_in, argv, env);
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        libc::posix_spawnattr_destroy(&raw mut attributes);
        pid
    }
}

#[derive(Clone, Copy)]
enum Streams<'a> {
    /// What the launcher does: `/dev/null` is open already.
    Null,
    Files,
    Opened([c_int; 2]),
    /// `/dev/null`, and into the cgroups with these `cgroup.procs`.
    Enter(&'a [&'a CStr]),
}

/// clone(2) sharing memory, or fork(2) if `flags` is -1.
fn clone(room: &Room, flags: c_int, streams: Streams<'_>) -> i32 {
    let order = (room, streams);
    let argument = (&raw const order).cast_mut().cast::<c_void>();
    // SAFETY: the parent stands still while the child uses its memory.
    unsafe {
        if flags == -1 {
            return match libc::fork() {
                0 => child(argument),
                pid => pid,
            };
        }
        let mut pidfd: c_int = -1;
        let top = room.stack.0.as_ptr().cast_mut().byte_add(room.stack.0.len()).cast();
        let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let pid = libc::clone(child, top, flags, argument, &raw mut pidfd);
        if pidfd >= 0 {
            libc::close(pidfd);
        }
        pid
    }
}

/// clone3(2); not a process (and a failing `wait`) where the cgroup it is to be in is not there.
fn clone3(room: &Room, into: bool, pidfd: bool) -> i32 {
    let order = (room, Streams::Null);
    let argument = (&raw const order).cast_mut().cast::<c_void>();
    let cgroup = room.groups.as_ref().and_then(|groups| groups.unified.as_ref());
    let mut descriptor = -1;
    let stack = ptr::slice_from_raw_parts_mut(room.stack.0.as_ptr().cast_mut(), room.stack.0.len());
    // SAFETY: the stack is this thread's alone; `child` ends in execve or _exit.
    let pid = unsafe {
        clone3::clone3(
            stack,
            child3,
            argument,
            cgroup.filter(|_| into).map(AsFd::as_fd),
            pidfd.then_some(&mut descriptor),
        )
    };
    if descriptor >= 0 {
        // SAFETY: the kernel has just made it.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
    pid as i32
}

extern "C" fn child3(order: *mut c_void) -> ! {
    child(order);
    unreachable!()
}

/// clone(2), and the child writes itself into cgroups.
fn enter(room: &Room, kinds: &[&str]) -> i32 {
    let procs = room.groups.as_ref().map(|groups| groups.procs(kinds)).unwrap_or_default();
    clone(room, 0, Streams::Enter(&procs))
}

extern "C" fn child(order: *mut c_void) -> c_int {
    // SAFETY: as in `clone`.
    unsafe {
        let (room, streams) = &*order.cast::<(&Room, Streams<'_>)>();
        libc::setsid();
        libc::chdir(room.folder.as_ptr());
        match streams {
            Streams::Null => {
                libc::dup2(0, 1);
                libc::dup2(0, 2);
            }
            Streams::Files => {
                libc::dup2(open(&room.out), 1);
                libc::dup2(open(&room.err), 2);
            }
            Streams::Enter(procs) => {
                libc::dup2(0, 1);
                libc::dup2(0, 2);
                for path in *procs {
                    let procs = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                    libc::write(procs, c"0".as_ptr().cast(), 1);
                    libc::close(procs);
                }
            }
            Streams::Opened([out, err]) => {
                libc::dup2(*out, 1);
                libc::dup2(*err, 2);
            }
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::getppid();
        let argv = [PROGRAM.as_ptr(), ptr::null()];
        let env = [ptr::null::<c_char>()];
        libc::execve(PROGRAM.as_ptr(), argv.as_ptr(), env.as_ptr());
        libc::_exit(127)
    }
}

/// One run at a time: from the request to the report that it has started, and to that of its end.
fn latency() {
    const COUNT: u64 = 500;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let program = env!("CARGO_BIN_EXE_marmoset-executor").into();
        let config = LauncherConfig::new(program, vec!["launcher".into()]);
        let (launcher, mut events) = launcher::start(config).unwrap();
        for run in 0..COUNT {
            let begin = Instant::now();
            launcher.spawn(vec![Spawn::new(RunId(run), PROGRAM.to_owned())]);
            let mut ended = false;
            while !ended {
                let Some(LauncherEvent::Reports(reports)) = events.recv().await else { panic!() };
                for report in reports {
                    match report {
                        Report::Started { .. } => starts.push(begin.elapsed()),
                        Report::Exited { .. } => {
                            ends.push(begin.elapsed());
                            ended = true;
                        }
                        Report::SpawnFailed { .. } | Report::Returned { .. } => {
                            panic!("{report:?}")
                        }
                    }
                }
            }
        }
        launcher.close().await;
    });
    println!();
    println!("| one run at a time, from its request to the report of | p50 | p99 |");
    println!("| --- | --- | --- |");
    for (what, mut times) in [("its start", starts), ("its end", ends)] {
        times.sort();
        let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
        println!("| {what} | {:.2} ms | {:.2} ms |", at(50), at(99));
    }
}

/// What a cgroup for each run costs: with and without by turns, because the machine drifts.
fn cgroups(count: usize) {
    const TURNS: usize = 5;
    let place = match Place::find() {
        Ok(place) => place,
        Err(reason) => return println!("\nNo cgroups here: {reason}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let measure = |in_flight: usize, cgroups: Option<Place>| {
        let program = env!("CARGO_BIN_EXE_marmoset-executor").into();
        let config = SpawnRateConfig {
            launcher: LauncherConfig {
                workers: NonZeroUsize::new(2),
                cgroups,
                ..LauncherConfig::new(program, vec!["launcher".into()])
            },
            count,
            in_flight,
            output: RateOutput::Null,
        };
        let before = children_cpu();
        let rate = runtime.block_on(spawn_rate(config)).unwrap();
        (rate.rate(), (children_cpu() - before).as_secs_f64() * 1e6 / count as f64)
    };
    println!();
    println!("| 2 workers, in flight | cgroups | rate | CPU of launcher and run, µs |");
    println!("| --- | --- | --- | --- |");
    for in_flight in [2, 8, 64] {
        let mut without = Vec::new();
        let mut with = Vec::new();
        for _ in 0..TURNS {
            without.push(measure(in_flight, None));
            with.push(measure(in_flight, Some(place.clone())));
        }
        for (what, mut turns) in [("no", without), ("yes", with)] {
            let mut middle = |of: fn(&(f64, f64)) -> f64| {
                turns.sort_by(|a, b| of(a).total_cmp(&of(b)));
                of(&turns[TURNS / 2])
            };
            let (rate, cpu) = (middle(|turn| turn.0), middle(|turn| turn.1));
            println!("| {in_flight} | {what} | {rate:.0} | {cpu:.0} |");
        }
    }
}

/// CPU time of all processes that ended and were waited for below this one.
fn children_cpu() -> Duration {
    // SAFETY: all zeroes is a valid `rusage`, and the pointer is to a local.
    let rusage = unsafe {
        let mut rusage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut rusage);
        rusage
    };
    let span = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    span(rusage.ru_utime) + span(rusage.ru_stime)
}

fn launcher(count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rate = |workers: usize, in_flight: usize, files: bool| {
        // Removed after the clock has stopped.
        let folder = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_marmoset-executor").into();
        let config = SpawnRateConfig {
            launcher: LauncherConfig {
                workers: NonZeroUsize::new(workers),
                ..LauncherConfig::new(program, vec!["launcher".into()])
            },
            count,
            in_flight,
            output: if files {
                RateOutput::Files(folder.path().to_owned())
            } else {
                RateOutput::Null
            },
        };
        let rate = runtime.block_on(spawn_rate(config)).unwrap();
        assert_eq!(rate.count, count);
        rate
    };
    println!();
    println!(
        "| what | output | rate | × floor | CPU of the caller, µs | of the launcher: user | system |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for files in [false, true] {
        let output = if files { "two files" } else { "/dev/null" };
        for workers in [1, 2, 4] {
            // The floor and what it is compared with by turns: the machine drifts.
            let mut floors = 0.0_f64;
            let flights = [2, 8, 64, 1024];
            let mut rates: [Option<SpawnRate>; 4] = [None; 4];
            for _ in 0..ROUNDS {
                floors = floors.max(floor(workers, count, files).unwrap().rate());
                for (in_flight, best) in flights.into_iter().zip(&mut rates) {
                    let new = rate(workers, in_flight, files);
                    if best.is_none_or(|best| best.rate() < new.rate()) {
                        *best = Some(new);
                    }
                }
            }
            println!("| floor, {workers} threads | {output} | {floors:.0} | 1 | | | |");
            for (in_flight, rate) in flights.into_iter().zip(rates) {
                let rate = rate.unwrap();
                let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
                println!(
                    "| launcher, {workers} workers, {in_flight} in flight | {output} | {:.0} | {:.2} \
                     | {:.1} | {:.1} | {:.1} |",
                    rate.rate(),
                    rate.rate() / floors,
                    each(rate.parent_cpu),
                    each(rate.launcher_user),
                    each(rate.launcher_system),
                );
            }
        }
    }
}
