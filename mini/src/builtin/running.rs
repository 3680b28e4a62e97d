//! A command that runs, perhaps on its way out.
//!
//! Plain records of [`super::core`], with the deadlines that follow from them.

use std::time::{Duration, Instant};

use marmoset_proto::mesos::v1::{
    CheckStatusInfo, ContainerStatus, DurationInfo, KillPolicy, TaskInfo,
};

use super::check::{Health, Watch};

/// Why the command is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Killed,
    Unhealthy,
    Overtime,
}

/// A command on its way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) cause: Cause,
    pub(super) since: Instant,
    /// SIGKILL then; none once it was sent.
    pub(super) escalate: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) task: TaskInfo,
    pub(super) overtime: Option<Instant>,
    pub(super) health: Option<Health>,
    pub(super) watch: Option<Watch>,
    pub(super) healthy: Option<bool>,
    pub(super) checked: Option<CheckStatusInfo>,
    /// What its container is, if it has one with an address.
    pub(super) container: Option<ContainerStatus>,
    pub(super) end: Option<End>,
}

impl Running {
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        [
            self.overtime,
            self.end.and_then(|end| end.escalate),
            self.health.as_ref().and_then(Health::poll_wake),
            self.watch.as_ref().and_then(Watch::poll_wake),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The check that the last updates carry.
    pub(super) fn checked_at_end(
        &self,
        in_container: bool,
        now: Instant,
    ) -> Option<CheckStatusInfo> {
        if in_container { None } else { empty_check(now, &self.task) }
    }
}

/// With a check, every update has a status of it, even if nothing is known.
pub(super) fn empty_check(now: Instant, task: &TaskInfo) -> Option<CheckStatusInfo> {
    Some(Watch::new(now, task.check.as_ref()?)?.empty())
}

pub(super) fn grace_of(policy: Option<&KillPolicy>) -> Option<Duration> {
    policy?.grace_period.as_ref().map(DurationInfo::to_duration)
}
