//! Numbers for progress bars and metrics.

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Items of the job.
    pub total: u64,
    /// Items that are not sent.
    pub waiting: u64,
    /// Items that were sent and have no result yet.
    pub under_way: u64,
    /// Of these, how many may run at a time.
    pub slots: u64,
    /// Items that ended, by how.
    pub ended: Ended,
    /// Tries that failed and were followed by another.
    pub failed_retried: u64,
    /// Tries that were lost and were followed by another.
    pub lost_retried: u64,
    /// Results of tries that are not current any more; dropped.
    pub late: u64,
    /// Items that came back before they started: taken back, or never delivered.
    pub returned: u64,
    /// Mesos tasks sent so far.
    pub mesos_tasks: u64,
    /// Mesos tasks that have not ended.
    pub mesos_tasks_open: u64,
}

/// Items that ended, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Exit status 0.
    pub finished: u64,
    /// Any other end of their own.
    pub failed: u64,
    /// Because it was asked for.
    pub killed: u64,
    /// Lost more often than the budget allows.
    pub lost: u64,
    /// With an unusable description.
    pub error: u64,
}

impl Ended {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.finished + self.failed + self.killed + self.lost + self.error
    }
}

/// What the framework did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Subscriptions.
    pub subscriptions: u64,
    /// Offers received.
    pub offers: u64,
    /// Offers declined.
    pub declined: u64,
    /// ACCEPT calls.
    pub accepts: u64,
    /// REVIVE calls.
    pub revives: u64,
    /// SUPPRESS calls.
    pub suppresses: u64,
    /// Updates received.
    pub updates: u64,
    /// Updates received again.
    pub duplicates: u64,
    /// Updates acknowledged.
    pub acknowledged: u64,
    /// Updates of Mesos tasks that the core does not know.
    pub unknown: u64,
    /// RECONCILE calls.
    pub reconciles: u64,
    /// KILL calls.
    pub kills: u64,
    /// Take-backs asked for.
    pub take_backs: u64,
    /// Executors that were asked for.
    pub executors: u64,
    /// Agents seen and not gone.
    pub agents: u64,
}
