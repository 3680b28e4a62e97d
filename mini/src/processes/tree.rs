//! Everything that belongs together, found in `/proc` and signalled.
//!
//! A container here is no cgroup. What belongs to it: the first process, its
//! session and process group, all descendants, their sessions and groups, and
//! whatever still carries the sandbox's path in its environment (a daemon that
//! made a session of its own and lost its parents).

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Between two looks; dying takes the kernel a moment.
const PAUSE: Duration = Duration::from_millis(2);
/// After which a process that does not die is left alone (it hangs in the kernel).
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    dead: bool,
}

/// Sends a signal once to a process, its descendants, and their groups and sessions.
///
/// The process must not have been reaped yet.
pub(crate) fn signal_tree(first: u32, signal: Signal) {
    let Ok(first) = i32::try_from(first) else { return };
    for pid in members(&processes(), &mut BTreeSet::from([first]), |_| false) {
        // It may have ended since; there is nothing else to do about an error.
        let _gone = kill(Pid::from_raw(pid), signal);
    }
}

/// Sends SIGKILL to all of a container until nothing of it lives. Blocks until then.
///
/// The first process must not have been reaped yet.
pub(crate) fn kill_container(first: u32, sandbox: &Path) {
    let Ok(first) = i32::try_from(first) else { return };
    let marker = format!("MESOS_DIRECTORY={}", sandbox.display());
    let give_up = Instant::now() + PATIENCE;
    // What was a descendant stays a suspect after its parents are gone.
    let mut seen = BTreeSet::from([first]);
    loop {
        let members = members(&processes(), &mut seen, |pid| carries(pid, marker.as_bytes()));
        if members.is_empty() {
            return;
        }
        for pid in &members {
            // It may have ended since; there is nothing else to do about an error.
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if Instant::now() > give_up {
            tracing::warn!(?members, "processes of a container survive SIGKILL");
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Adds what belongs to the container to `seen`; yields what of it is alive.
fn members(
    processes: &[Process],
    seen: &mut BTreeSet<i32>,
    carries: impl Fn(i32) -> bool,
) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let candidates: Vec<&Process> =
        processes.iter().filter(|process| process.pid != own && process.pid > 1).collect();
    let living: BTreeSet<i32> = candidates.iter().map(|process| process.pid).collect();
    // A pid that was ours and is gone may be given to a stranger: forget it.
    seen.retain(|pid| living.contains(pid));
    for process in &candidates {
        if !process.dead && carries(process.pid) {
            seen.insert(process.pid);
        }
    }
    loop {
        let before = seen.len();
        for process in &candidates {
            if [process.parent, process.group, process.session].iter().any(|id| seen.contains(id)) {
                seen.insert(process.pid);
            }
        }
        if seen.len() == before {
            break;
        }
    }
    candidates
        .iter()
        .filter(|process| !process.dead && seen.contains(&process.pid))
        .map(|process| process.pid)
        .collect()
}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
        })
        .collect()
}

/// Reads `pid (name) state ppid pgrp session …`; the name may hold anything.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    let mut number = || fields.next()?.parse().ok();
    Some(Process { pid, parent: number()?, group: number()?, session: number()?, dead })
}

fn carries(pid: i32, marker: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|v| v == marker))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, session: i32) -> Process {
        Process { pid, parent, group, session, dead: false }
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let expected = Process { dead: true, ..process(7, 3, 4, 5) };
        assert_eq!(parse(7, "7 (a) S 1) b) Z 3 4 5 0 -1"), Some(expected));
        assert_eq!(parse(7, "7 (x"), None);
    }

    #[test]
    fn members_are_descendants_groups_sessions_and_the_marked() {
        let all = [
            process(100, 1, 100, 100),   // first
            process(101, 100, 101, 101), // child with its own session
            process(102, 1, 101, 101),   // orphan in the child's session
            process(103, 1, 103, 103),   // marked daemon
            process(104, 103, 103, 103), // its child
            process(200, 1, 200, 200),   // stranger
            Process { dead: true, ..process(105, 100, 100, 100) },
        ];
        let mut seen = BTreeSet::from([100]);
        assert_eq!(members(&all, &mut seen, |pid| pid == 103), [100, 101, 102, 103, 104]);
        let later = [process(102, 1, 101, 101), process(200, 1, 200, 200)];
        assert_eq!(members(&later, &mut seen, |_| false), [102], "the orphan stays a suspect");
        assert!(members(&later[1..], &mut seen, |_| false).is_empty());
    }
}
