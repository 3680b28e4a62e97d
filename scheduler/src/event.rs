//! What a run tells while it runs.

use std::time::Duration;

use marmoset_scheduler_core::WaitReason;

use crate::summary::Counts;

/// News of a run, for whoever watches.
///
/// What an operator reads line by line (registration, offers, each task's states) goes to
/// `tracing` instead: at INFO, target `marmoset`.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    /// How far it is. Sent a few times a second.
    Progress(Progress),
    /// There is work, and nothing moves.
    Waiting {
        /// For how long.
        since: Duration,
        /// What is missing.
        why: WaitReason,
    },
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of tasks in the job.
    pub total: u64,
    /// Tasks that have ended for good.
    pub ended: Counts,
    /// Tasks on their way: sent to an agent, not ended.
    pub under_way: u64,
}
