//! What runs on this machine, as `/proc` has it.
//!
//! Owns the reading of `/proc` and the killing of whole trees. Refuses to know
//! runs. Called by guard and workers, and by the executor's side when both are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    time::{Duration, Instant},
};

use super::sys::{self, Reaped};

/// A process at the moment of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// It has ended and waits to be reaped.
    pub(super) ended: bool,
    /// CPU time in its own code, in clock ticks.
    pub(super) user_ticks: u64,
    /// CPU time in the kernel, in clock ticks.
    pub(super) system_ticks: u64,
}

impl Process {
    /// Reads a line of `/proc/<pid>/stat`.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(' ')?;
        // The name is in parentheses, and may contain anything.
        let (_, rest) = rest.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = |skip| fields.nth(skip)?.parse().ok();
        let [parent, group, session] = [number(0)?, number(0)?, number(0)?];
        let user_ticks = fields.nth(7)?.parse().ok()?;
        let system_ticks = fields.next()?.parse().ok()?;
        Some(Self {
            pid: pid.parse().ok()?,
            parent,
            group,
            session,
            ended: matches!(state, "Z" | "X"),
            user_ticks,
            system_ticks,
        })
    }
}

/// All processes that could be seen, by pid.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_pid: BTreeMap<i32, Process>,
}

impl Processes {
    /// Reads all of `/proc`. Whatever ends meanwhile is missing.
    pub(super) fn scan() -> io::Result<Self> {
        let by_pid = fs::read_dir("/proc")?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let pid = name.to_str()?.parse::<i32>().ok()?;
                let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
                Process::parse(&String::from_utf8_lossy(&stat))
            })
            .map(|process| (process.pid, process))
            .collect();
        Ok(Self { by_pid })
    }

    pub(super) fn get(&self, pid: i32) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_pid.values()
    }

    /// Adds to `set` whatever descends from a member of it.
    pub(super) fn add_descendants(&self, set: &mut BTreeSet<i32>) {
        let mut children = BTreeMap::<i32, Vec<i32>>::new();
        for process in self.iter() {
            children.entry(process.parent).or_default().push(process.pid);
        }
        let mut open = set.iter().copied().collect::<Vec<_>>();
        while let Some(parent) = open.pop() {
            let new = children.get(&parent).into_iter().flatten().filter(|pid| set.insert(**pid));
            open.extend(new);
        }
    }

    /// Whatever descends from `root` and has not ended, without `root`.
    fn living_below(&self, root: i32) -> Vec<i32> {
        let mut tree = BTreeSet::from([root]);
        self.add_descendants(&mut tree);
        tree.remove(&root);
        tree.retain(|pid| self.by_pid.get(pid).is_some_and(|process| !process.ended));
        tree.into_iter().collect()
    }
}

/// The children of this process, which must have one thread, from the cheapest source.
pub(super) fn own_children() -> io::Result<Vec<i32>> {
    let own = sys::own_pid();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => Ok(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()),
        // A kernel without CONFIG_PROC_CHILDREN.
        Err(_) => {
            let processes = Processes::scan()?;
            let children = processes.iter().filter(|process| process.parent == own);
            Ok(children.map(|process| process.pid).collect())
        }
    }
}

/// Reads the environment that a process was started with.
pub(super) fn environment(pid: i32) -> io::Result<Vec<u8>> {
    fs::read(format!("/proc/{pid}/environ"))
}

/// Kills everything below this process, a subreaper, and returns once nothing is left.
///
/// `groups` are killed first, and alone where `/proc` cannot be read. `helpers`,
/// who do the same further down, are spared for a while: if this process is killed
/// in the middle of it, they are the ones who finish.
pub(super) fn exterminate(groups: impl IntoIterator<Item = i32>, helpers: &[i32]) {
    const PAUSE_MAX: Duration = Duration::from_millis(200);
    const HELPERS_SPARED: Duration = Duration::from_millis(500);
    let begin = Instant::now();
    let groups = groups.into_iter().collect::<Vec<_>>();
    for group in &groups {
        sys::kill(-group, libc::SIGKILL);
    }
    let own = sys::own_pid();
    let mut pause = Duration::from_millis(1);
    loop {
        // Each round gets whoever was born in the one before; whoever loses its
        // parent becomes a child of ours.
        let spared = if begin.elapsed() < HELPERS_SPARED { helpers } else { &[] };
        for pid in Processes::scan().unwrap_or_default().living_below(own) {
            if !spared.contains(&pid) {
                sys::kill(pid, libc::SIGKILL);
            }
        }
        loop {
            match sys::wait(-1, libc::WNOHANG) {
                Reaped::Child { .. } => pause = Duration::from_millis(1),
                Reaped::Pending => break,
                Reaped::NoChildren => return,
            }
        }
        sys::await_child(pause);
        // What is left is stuck in the kernel.
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// Kills every process of some sessions that are not below this process.
///
/// Tells whether there was one.
pub(super) fn kill_sessions(sessions: &BTreeSet<i32>) -> bool {
    let processes = Processes::scan().unwrap_or_default();
    let mut found = false;
    for process in processes.iter() {
        if sessions.contains(&process.session) && !process.ended {
            sys::kill(process.pid, libc::SIGKILL);
            found = true;
        }
    }
    found
}

/// Kills every process with a variable in its environment that begins like this.
///
/// Tells whether there was one. Those of other users cannot be read, and are left alone.
pub(super) fn kill_marked(prefix: &[u8]) -> bool {
    let own = sys::own_pid();
    let processes = Processes::scan().unwrap_or_default();
    let mut found = false;
    for process in processes.iter().filter(|process| process.pid != own && !process.ended) {
        let environment = environment(process.pid).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(prefix)) {
            sys::kill(process.pid, libc::SIGKILL);
            found = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse() {
        let stat = "12 (a) b (c) S 1 2 3 0 -1 4194560 5 6 7 8 100 20 9 9 20 0 1 0 77 0 0";
        let process = Process::parse(stat).unwrap();
        let expected = Process {
            pid: 12,
            parent: 1,
            group: 2,
            session: 3,
            ended: false,
            user_ticks: 100,
            system_ticks: 20,
        };
        assert_eq!(process, expected);
        assert_eq!(Process::parse("12 (a"), None);
    }

    #[test]
    fn finds_this_process() {
        let processes = Processes::scan().unwrap();
        let own = processes.iter().find(|process| process.pid == sys::own_pid()).unwrap();
        assert!(!own.ended);
        let mut tree = BTreeSet::from([own.parent]);
        processes.add_descendants(&mut tree);
        assert!(tree.contains(&own.pid));
    }
}
