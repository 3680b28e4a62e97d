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
    os::fd::{FromRawFd, OwnedFd},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    ptr,
    time::{Duration, Instant},
};

use marmoset_executor::{
    floor::floor,
    launcher::{
        self, LauncherConfig, LauncherEvent, RateOutput, Report, RunId, Spawn, SpawnRate,
        SpawnRateConfig, spawn_rate,
    },
};

const PROGRAM: &CStr = c"/bin/true";

const ROUNDS: usize = 3;

fn main() {
    let count = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3_000);
    // Before anything else starts a thread: some of it forks.
    primitives(count);
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
    stack: Box<[u8; 64 << 10]>,
}

impl Room {
    fn new(folder: &Path, name: &str) -> Self {
        let text = |path: PathBuf| CString::new(path.to_str().unwrap()).unwrap();
        Self {
            folder: text(folder.to_owned()),
            out: text(folder.join(format!("{name}.out"))),
            err: text(folder.join(format!("{name}.err"))),
            stack: Box::new([0; 64 << 10]),
        }
    }
}

#[expect(clippy::zombie_processes, reason = "all are waited for by their pid")]
fn primitives(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let ways: [(&str, Start); 9] = [
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
    ];
    println!("| primitive | 1 thread | 2 threads | 2 processes |");
    println!("| --- | --- | --- | --- |");
    for (name, start) in ways {
        let run = |name: &str, count: usize| {
            let room = Room::new(folder.path(), name);
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
enum Streams {
    /// What the launcher does: `/dev/null` is open already.
    Null,
    Files,
    Opened([c_int; 2]),
}

/// clone(2) sharing memory, or fork(2) if `flags` is -1.
fn clone(room: &Room, flags: c_int, streams: Streams) -> i32 {
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
        let top = room.stack.as_ptr().cast_mut().byte_add(room.stack.len()).cast();
        let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let pid = libc::clone(child, top, flags, argument, &raw mut pidfd);
        if pidfd >= 0 {
            libc::close(pidfd);
        }
        pid
    }
}

extern "C" fn child(order: *mut c_void) -> c_int {
    // SAFETY: as in `clone`.
    unsafe {
        let (room, streams) = &*order.cast::<(&Room, Streams)>();
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
                        Report::SpawnFailed { .. } => panic!("{report:?}"),
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
