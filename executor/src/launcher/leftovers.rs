//! What runs leave behind, and what escapes from them.
//!
//! Owns the search for processes that are no longer below the first process of
//! their run: orphans, which became children of the worker, the subreaper.
//! Refuses to know how a run is started or reported. Called by the worker.
//!
//! An orphan belongs to the run whose session it is in, or else to the run whose
//! mark is in its environment. Whose run has ended is killed; what belongs to no
//! run that is known, since it left the session and wiped its environment, is left
//! alone as long as the worker lives.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    live::{Live, Mark},
    processes::{self, Processes},
    sys,
};

/// How long an ended run's leftovers may live, and how much looking for them may cost:
/// one look in this time.
const INTERVAL: Duration = Duration::from_millis(100);

/// The search.
#[derive(Debug)]
pub(super) struct Leftovers {
    mark: Mark,
    due: Option<Instant>,
    /// First processes of runs that ended since the last time nothing was found.
    ended: BTreeSet<i32>,
    /// Orphans that may live, with the first process of the run that they belong to.
    spared: BTreeMap<i32, Option<i32>>,
}

impl Leftovers {
    pub(super) fn new(mark: Mark) -> Self {
        Self { mark, due: None, ended: BTreeSet::new(), spared: BTreeMap::new() }
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Notes that a run has ended.
    pub(super) fn run_ended(&mut self, leader: i32, now: Instant) {
        self.ended.insert(leader);
        self.due.get_or_insert(now + INTERVAL);
    }

    /// Notes that an orphan was reaped.
    pub(super) fn orphan_ended(&mut self, pid: i32) {
        self.spared.remove(&pid);
    }

    /// When to look.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Kills what ended runs have left, if it is time.
    pub(super) fn look(&mut self, live: &Live, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let known = |pid: &i32| {
            live.is_leader(*pid)
                || self
                    .spared
                    .get(pid)
                    .is_some_and(|leader| leader.is_none_or(|leader| live.is_leader(leader)))
        };
        // Mostly all of them are the runs themselves, which takes one file to see.
        let children = processes::own_children().unwrap_or_default();
        let killed = !children.iter().all(known) && self.kill(live);
        if killed {
            self.due = Some(now + INTERVAL);
        } else {
            self.due = None;
            self.ended.clear();
        }
    }

    fn kill(&mut self, live: &Live) -> bool {
        let Ok(processes) = Processes::scan() else { return false };
        let mut doomed = BTreeSet::new();
        for (orphan, session) in orphans(&processes, live) {
            let leader = if live.is_leader(session) {
                Some(session)
            } else if self.ended.contains(&session) {
                doomed.insert(orphan);
                continue;
            } else {
                let environment = processes::environment(orphan).unwrap_or_default();
                match self.mark.find(&environment) {
                    None => None,
                    Some(mark) => match live.marked(mark) {
                        Some(leader) => Some(leader),
                        None => {
                            doomed.insert(orphan);
                            continue;
                        }
                    },
                }
            };
            self.spared.insert(orphan, leader);
        }
        processes.add_descendants(&mut doomed);
        for pid in &doomed {
            sys::kill(*pid, libc::SIGKILL);
        }
        !doomed.is_empty()
    }

    /// Everything that belongs to the runs of `leaders`, except for their groups.
    pub(super) fn members(
        &self,
        processes: &Processes,
        live: &Live,
        leaders: &BTreeSet<i32>,
    ) -> BTreeMap<i32, BTreeSet<i32>> {
        let orphans = orphans(processes, live)
            .map(|(orphan, _)| (orphan, processes::environment(orphan).unwrap_or_default()))
            .collect::<Vec<_>>();
        let members = |leader: i32| {
            let mut members = processes
                .iter()
                .filter(|process| process.session == leader)
                .map(|process| process.pid)
                .collect::<BTreeSet<_>>();
            members.insert(leader);
            if let Some(mark) = live.mark(leader) {
                let own = orphans.iter().filter(|(_, environment)| {
                    self.mark.find(environment) == Some(mark.to_bytes())
                });
                members.extend(own.map(|(orphan, _)| *orphan));
            }
            processes.add_descendants(&mut members);
            members.retain(|pid| {
                let process = processes.get(*pid);
                process.is_some_and(|process| process.group != leader && !process.ended)
            });
            members
        };
        leaders.iter().map(|leader| (*leader, members(*leader))).collect()
    }
}

/// Children of this process that no run began with, and their sessions.
fn orphans(processes: &Processes, live: &Live) -> impl Iterator<Item = (i32, i32)> {
    let own = sys::own_pid();
    processes
        .iter()
        .filter(move |process| {
            process.parent == own && !process.ended && !live.is_leader(process.pid)
        })
        .map(|process| (process.pid, process.session))
}
