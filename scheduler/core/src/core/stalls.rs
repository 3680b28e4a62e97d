//! Telling why nothing moves.

use std::time::Instant;

use super::{Action, Core};
use crate::{
    clock::Now,
    config::Timing,
    event::{JobEvent, WaitReason},
    work::{Job, Stall},
};

impl Stall {
    pub(crate) fn new(now: Instant, timing: &Timing) -> Self {
        Self { since: now, tell_at: now + timing.waiting_notice, seen: None }
    }

    /// Something moved.
    pub(crate) fn moved(&mut self, now: Instant, timing: &Timing) {
        *self = Self::new(now, timing);
    }
}

impl Core {
    /// When a stalled job is told about next.
    pub(super) fn stall_at(&self) -> Option<Instant> {
        let stalled = self.jobs.values().filter(|job| job.is_stalled());
        stalled.map(|job| job.stall.tell_at).min()
    }

    pub(super) fn tell_stalls(&mut self, now: Now) {
        let due = |job: &&Job| job.is_stalled() && job.stall.tell_at <= now.instant;
        let ids = self.jobs.values().filter(due).map(|job| job.id).collect::<Vec<_>>();
        if ids.is_empty() {
            return;
        }
        let common = self.common_reason(now);
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let waited = now.instant.saturating_duration_since(job.stall.since);
            // Ever less often.
            job.stall.tell_at = now.instant + waited.max(self.config.timing.waiting_notice);
            let seen = job.stall.seen.take().map(|(_, why)| why);
            let why = common.clone().or(seen).unwrap_or(WaitReason::NoOffers);
            self.actions.push_back(Action::Job(id, JobEvent::Waiting { waited, why }));
        }
    }

    /// What stands in the way of every job.
    fn common_reason(&self, now: Now) -> Option<WaitReason> {
        if !self.session.is_subscribed() {
            return Some(WaitReason::NotSubscribed);
        }
        let mut failing = None;
        for (_, agent) in self.agents.iter() {
            agent.pause(now.instant)?;
            let (_, message) = agent.paused.clone()?;
            failing = Some(WaitReason::ExecutorsFail { message, hostname: agent.hostname.clone() });
        }
        failing
    }
}
