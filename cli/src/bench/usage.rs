//! Processor time and memory of a process and of all that it started, from /proc.
//!
//! Owns what is read there and how it is attributed. Refuses to know what the
//! processes do. What has ended is in its parent's sums, to 10 ms; what runs is
//! looked at now and then, on a thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::resource::{UsageWho, getrusage},
    sys::time::{TimeVal, TimeValLike as _},
    unistd::{SysconfVar, sysconf},
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How long processes may take to end after their work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Processor time and memory of one round.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// Processor time of the watched process itself.
    pub(super) own: Duration,
    /// Processor time of everything that it started.
    pub(super) below: Duration,
    /// Processor time, among that, of processes with the program of its direct children, as far as
    /// it was seen: of those that live long.
    pub(super) executors: Duration,
    /// Most memory that the watched process held, in bytes.
    pub(super) own_peak: u64,
    /// Most memory that processes with the program of its direct children held together.
    pub(super) executors_peak: u64,
    /// Most of those at a time.
    pub(super) executors_most: u64,
}

/// Watches one process until it is told to stop.
#[derive(Debug)]
pub(super) struct Watch {
    pid: i32,
    before: Stat,
    /// What ran below it before, and how long it had worked: of others, if the agent serves others.
    others: BTreeSet<i32>,
    others_time: Duration,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    looker: JoinHandle<()>,
}

/// What the looks have seen.
#[derive(Debug, Default)]
struct Seen {
    /// Processor time of each executor's process at the last look, by pid and start time.
    executors: BTreeMap<(i32, u64), Duration>,
    peak: u64,
    most: u64,
}

impl Watch {
    /// Starts to watch; none if there is no such process or its memory is not ours to see.
    pub(super) fn start(pid: i32) -> Option<Self> {
        let before = Stat::read(pid)?;
        let others = children(pid).into_iter().collect();
        let others_time = living(pid);
        reset_peak(&pid.to_string());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let looker = thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    look(pid, &mut seen.lock().unwrap_or_else(PoisonError::into_inner));
                    thread::park_timeout(PAUSE);
                }
            }
        });
        Some(Self { pid, before, others, others_time, seen, stop, looker })
    }

    /// Waits until all that was started has ended, and sums up. None if the process is gone.
    pub(super) fn stop(self) -> Option<Usage> {
        let deadline = Instant::now() + PATIENCE;
        let is_new = |child: &i32| !self.others.contains(child);
        while Instant::now() < deadline && children(self.pid).iter().any(is_new) {
            thread::sleep(Duration::from_millis(10));
        }
        self.stop.store(true, Ordering::Relaxed);
        self.looker.thread().unpark();
        // It does nothing that could panic; if it did, what it saw is still there.
        let _ = self.looker.join();
        let after = Stat::read(self.pid)?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Usage {
            own: after.own.saturating_sub(self.before.own),
            below: (after.reaped + living(self.pid))
                .saturating_sub(self.before.reaped + self.others_time),
            executors: seen.executors.values().sum(),
            own_peak: peak(&self.pid.to_string()),
            executors_peak: seen.peak,
            executors_most: seen.most,
        })
    }
}

/// Processor time of what runs below a process, and of what that has waited for.
fn living(pid: i32) -> Duration {
    let stats = descendants(pid).into_iter().filter_map(|(pid, _)| Stat::read(pid));
    stats.map(|stat| stat.own + stat.reaped).sum()
}

/// Processor time of a process so far, what it started left out.
pub(super) fn processor_time(pid: i32) -> Option<Duration> {
    Stat::read(pid).map(|stat| stat.own)
}

/// Processor time of this process so far.
pub(super) fn own_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let span = |time: TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or_default())
    };
    span(usage.user_time()) + span(usage.system_time())
}

/// Forgets the most memory that a process (`self` or a pid) held.
pub(super) fn reset_peak(pid: &str) {
    // Not ours: then the peak is that of its whole life, which is more, never less.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// The most memory that a process (`self` or a pid) held, in bytes.
pub(super) fn peak(pid: &str) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}

/// Who listens on a port of this machine: a process id, if it may be known.
pub(super) fn listener(port: u16) -> Option<i32> {
    let inodes: BTreeSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| {
            table.lines().filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>()
        })
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find(|pid| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| {
            fs::read_link(file.path())
                .is_ok_and(|target| target.to_str().is_some_and(|name| inodes.contains(name)))
        })
    })
}

/// The inode in a line of /proc/net/tcp, if it is a socket that listens on this port.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let own = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    let listens = *fields.get(3)? == LISTEN && own == port;
    listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

/// One look at all that runs below a process.
fn look(pid: i32, seen: &mut Seen) {
    let processes = descendants(pid);
    let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let executors: BTreeSet<PathBuf> = processes
        .iter()
        .filter(|(_, depth)| *depth == 1)
        .filter_map(|(pid, _)| program(*pid))
        .collect();
    let (mut memory, mut number) = (0, 0);
    // The looks of others' executors, if there are any, cannot be told from ours by their program
    // alone; a comparison wants a cluster of its own, and its report says so.
    for (pid, _) in processes {
        if program(pid).is_none_or(|program| !executors.contains(&program)) {
            continue;
        }
        if let Some(stat) = Stat::read(pid) {
            seen.executors.insert((pid, stat.begun), stat.own);
            memory += resident(pid);
            number += 1;
        }
    }
    seen.peak = seen.peak.max(memory);
    seen.most = seen.most.max(number);
}

/// Processes below one, each with its depth.
fn descendants(pid: i32) -> Vec<(i32, u32)> {
    let mut found: Vec<(i32, u32)> = children(pid).into_iter().map(|child| (child, 1)).collect();
    let mut next = 0;
    while let Some((parent, depth)) = found.get(next).copied() {
        found.extend(children(parent).into_iter().map(|child| (child, depth + 1)));
        next += 1;
    }
    found
}

/// Direct children of all threads of a process.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

fn resident(pid: i32) -> u64 {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * u64::try_from(page).unwrap_or(4096))
}

/// What /proc/PID/stat says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    /// Processor time of the process itself.
    own: Duration,
    /// Processor time of its children that were waited for, theirs included.
    reaped: Duration,
    /// When it was started: tells two processes with one id apart.
    begun: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(
            &fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?,
        )
    }

    fn parse(line: &str) -> Option<Self> {
        // The name may contain blanks and parentheses; the third field follows the last one.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let span = |ticks: u64| {
            Duration::from_secs_f64(
                ticks as f64 / u32::try_from(per_second).map_or(100.0, f64::from),
            )
        };
        Some(Self {
            own: span(number(14)? + number(15)?),
            reaped: span(number(16)? + number(17)?),
            begun: number(22)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, process::Command};

    use super::*;

    #[test]
    fn a_line_of_stat() {
        let line = "42 (a b) c) S 1 42 42 0 -1 4194560 100 200 0 0 150 50 30 20 20 0 1 0 777 1 2";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.own, Duration::from_secs(2));
        assert_eq!(stat.reaped, Duration::from_millis(500));
        assert_eq!(stat.begun, 777);
        assert_eq!(Stat::parse("42 (x) S 1"), None);
    }

    #[test]
    fn the_work_of_children_that_ended_is_counted() {
        // The shell of the test is the watched process; its own child does the work.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "read go; (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); read end"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let watch = Watch::start(i32::try_from(shell.id()).unwrap()).unwrap();
        use std::io::Write as _;
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(b"go\n").unwrap();
        // Its child is there, then gone: `stop` waits for the latter.
        let deadline = Instant::now() + Duration::from_secs(30);
        while children(watch.pid).is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let usage = watch.stop().unwrap();
        drop(stdin);
        shell.wait().unwrap();
        assert!(usage.below >= Duration::from_millis(20), "{usage:?}");
        assert!(usage.own_peak > 100_000, "{usage:?}");
        assert!(usage.below > usage.own, "{usage:?}");
    }

    #[test]
    fn listeners_are_found_by_port() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(port), i32::try_from(std::process::id()).ok());
        drop(socket);
        assert_eq!(listener(port), None);
    }

    #[test]
    fn own_figures() {
        assert!(peak("self") > 1_000_000);
        assert_eq!(peak("no such process"), 0);
        assert!(own_time() > Duration::ZERO);
    }
}
