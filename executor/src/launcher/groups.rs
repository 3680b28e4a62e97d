//! Runs and their cgroups.
//!
//! Owns the way of a run into a cgroup and out of it: through which door, what CPU time it
//! gets once it lasts, who is still in it when it has ended. Refuses to know how cgroups are
//! made: see [`crate::cgroup`]. Called by the worker.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use nix::unistd::{Pid, getpgid};

use super::{
    RunId, Spawn, Step,
    birth::{Birthplace, Failure},
    live::{Live, Run},
    sys,
};
use crate::cgroup::{CPU_DELAY, Door, Group, OutOfMemory, Pool};

/// How often a cgroup is looked at that is not empty after its run.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);

/// The cgroups of a worker's runs. Without a pool, runs have none.
#[derive(Debug)]
pub(super) struct Groups {
    pool: Option<Pool>,
    /// Runs that are to get a share of CPU time if they live then.
    young: VecDeque<(Instant, i32, RunId)>,
    /// Those whose run has ended, and somebody is still in them.
    draining: Vec<Group>,
    drain_at: Option<Instant>,
}

impl Groups {
    pub(super) fn new(pool: Option<Pool>) -> Self {
        Self { pool, young: VecDeque::new(), draining: Vec::new(), drain_at: None }
    }

    /// Starts a process in a cgroup of its own, if it has limits.
    pub(super) fn start(
        &mut self,
        birthplace: &mut Birthplace,
        spawn: &Spawn,
    ) -> Result<(i32, Option<Group>), Failure> {
        let (Some(pool), Some(limits)) = (&mut self.pool, spawn.limits) else {
            return birthplace.start(spawn, None).map(|pid| (pid, None));
        };
        let failure = |error: std::io::Error| Failure {
            step: Step::Cgroup,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        };
        let group = pool.take(limits).map_err(failure)?;
        let result = loop {
            let door = match pool.door(&group) {
                Ok(door) => door,
                Err(error) => break Err(failure(error)),
            };
            match (birthplace.start(spawn, Some(&door)), door) {
                (Err(Failure { step: Step::Cgroup, .. }), Door::Folder(_)) => pool.never_direct(),
                (result, Door::Folder(_) | Door::Procs(_) | Door::Open(_)) => break result,
            }
        };
        match result {
            Ok(pid) => {
                if pool.shares_cpu_later(&group) {
                    self.young.push_back((Instant::now() + CPU_DELAY, pid, spawn.run));
                }
                Ok((pid, Some(group)))
            }
            Err(failure) => {
                self.release(group, false);
                Err(failure)
            }
        }
    }

    /// Sends a signal to all of a run that is not in the group of its first process. False if
    /// the run has no cgroup.
    pub(super) fn signal(&self, live: &Live, leader: i32, signal: i32) -> bool {
        let (Some(pool), Some(group)) = (&self.pool, live.group(leader)) else { return false };
        if signal == libc::SIGKILL {
            pool.kill(group);
            return true;
        }
        for pid in pool.members(group) {
            if getpgid(Some(Pid::from_raw(pid))).is_ok_and(|found| found.as_raw() != leader) {
                sys::kill(pid, signal);
            }
        }
        true
    }

    /// Takes the cgroup of a run that has ended. Tells whether it had no memory left.
    /// `nobody_left` says that no process of any run lives.
    pub(super) fn ended(&mut self, run: &mut Run, nobody_left: bool) -> Option<OutOfMemory> {
        let mut group = run.group.take()?;
        let out_of_memory = self.pool.as_ref()?.out_of_memory(&mut group);
        self.release(group, nobody_left);
        out_of_memory
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let young = self.young.front().map(|(at, ..)| *at);
        [young, self.drain_at].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn look(&mut self, live: &mut Live, now: Instant) {
        while let Some((at, pid, id)) = self.young.front().copied()
            && (at <= now || live.pid(id).is_none())
        {
            self.young.pop_front();
            if let Some(pool) = &self.pool
                && let Some(run) = live.get_mut(pid).filter(|run| run.id == id)
                && let Some(group) = &mut run.group
            {
                // Not a reason to end it: it has as much as the others then.
                let _unshared = pool.share_cpu(group);
            }
        }
        if self.drain_at.is_some_and(|at| at <= now) {
            self.drain_at = None;
            for group in std::mem::take(&mut self.draining) {
                self.release(group, false);
            }
        }
    }

    /// Removes them all. Nothing may run in them.
    pub(super) fn close(self) {
        if let Some(pool) = self.pool {
            pool.close();
        }
    }

    /// Gives a cgroup back, or kills who is in it and tries again later.
    fn release(&mut self, group: Group, is_empty: bool) {
        let Some(pool) = &mut self.pool else { return };
        if let Some(group) = pool.give_back(group, is_empty) {
            pool.kill(&group);
            self.draining.push(group);
            self.drain_at.get_or_insert_with(|| Instant::now() + DRAIN_INTERVAL);
        }
    }
}
