//! A job at work: its books, its sizes, and how much of it is under way.
//!
//! Owns what is counted per job. Refuses to know agents and Mesos tasks one by one.

use std::{sync::Arc, time::Instant};

use crate::{
    book::Book,
    counters::Progress,
    event::WaitReason,
    job::{JobId, JobSpec},
    sizing::Sizer,
};

/// A job that was taken and has not ended.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) book: Book,
    pub(crate) sizer: Sizer,
    pub(crate) phase: Phase,
    /// Items that may run at a time, over all Mesos tasks that are open.
    pub(crate) slots: u64,
    /// Slots that came free since nothing waits any more.
    pub(crate) idle_slots: u64,
    /// Items that were sent and have no result.
    pub(crate) under_way: u64,
    pub(crate) mesos_tasks: u64,
    pub(crate) mesos_tasks_open: u64,
    pub(crate) failed_retried: u64,
    pub(crate) lost_retried: u64,
    pub(crate) returned: u64,
    pub(crate) late: u64,
    pub(crate) stall: Stall,
}

/// `Running ──KillJob──▶ Killing`, and from both to `Ended` when no item and no Mesos task is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// Nothing new is sent; what runs is killed.
    Killing,
    Ended,
}

/// What is known about why nothing moves.
#[derive(Debug, Clone)]
pub(crate) struct Stall {
    /// When something last moved.
    pub(crate) since: Instant,
    /// When to tell next.
    pub(crate) tell_at: Instant,
    /// What stood in the way since: the largest offer that was too small, or the placement.
    pub(crate) seen: Option<(u64, WaitReason)>,
}

impl Job {
    pub(crate) fn new(id: JobId, spec: JobSpec, stall: Stall) -> Self {
        Self {
            id,
            book: Book::new(spec.items.count(), spec.retries, spec.lost_retries),
            sizer: Sizer::new(spec.batch),
            spec: Arc::new(spec),
            phase: Phase::Running,
            slots: 0,
            idle_slots: 0,
            under_way: 0,
            mesos_tasks: 0,
            mesos_tasks_open: 0,
            failed_retried: 0,
            lost_retried: 0,
            returned: 0,
            late: 0,
            stall,
        }
    }

    /// How many more items could run now.
    pub(crate) fn wanted(&self) -> u64 {
        match self.phase {
            Phase::Killing | Phase::Ended => 0,
            Phase::Running => {
                let room = self
                    .spec
                    .max_running
                    .map_or(u64::MAX, |most| most.get().saturating_sub(self.slots));
                self.book.waiting().min(room)
            }
        }
    }

    /// Whether there is work and none of it is with an agent.
    pub(crate) fn is_stalled(&self) -> bool {
        self.mesos_tasks_open == 0 && self.wanted() > 0
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            total: self.book.count(),
            waiting: self.book.waiting(),
            under_way: self.under_way,
            slots: self.slots,
            ended: self.book.tally(),
            failed_retried: self.failed_retried,
            lost_retried: self.lost_retried,
            late: self.late,
            returned: self.returned,
            mesos_tasks: self.mesos_tasks,
            mesos_tasks_open: self.mesos_tasks_open,
        }
    }
}
