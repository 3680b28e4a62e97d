//! One run: what phase it is in, and which timer that has.
//!
//! Owns the types of the state machine that is drawn in [`super`]. Refuses to move between
//! phases. Called by the runs.

use std::time::{Duration, Instant};

use super::{Cause, Owner};
use crate::{
    action::{RuntimeKind, Spawn, Template},
    time::WallTime,
};

#[derive(Debug)]
pub(super) struct Run {
    pub(super) owner: Owner,
    pub(super) runtime: RuntimeKind,
    pub(super) start: StartKind,
    pub(super) limit: Option<Duration>,
    /// For a kill by the limit.
    pub(super) grace: Duration,
    pub(super) phase: Phase,
}

/// How long a runtime takes to start it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartKind {
    /// As long as the system takes to make a process.
    Quick,
    /// Nobody knows: something comes over a network, or a container is made.
    Slow,
    /// Like the quick ones, once those before it in its strand have ended. It needs no place.
    Behind,
}

impl StartKind {
    pub(super) fn of(template: &Template) -> Self {
        if template.starts_at_once() { Self::Quick } else { Self::Slow }
    }
}

#[derive(Debug)]
pub(super) enum Phase {
    Queued(Box<Spawn>),
    Starting { kill: Option<Kill> },
    Running { started: WallTime, limit_at: Option<Instant> },
    Killing { started: WallTime, kill: Kill },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    pub(super) cause: Cause,
    pub(super) escalation: Escalation,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Escalation {
    /// SIGKILL is to follow then.
    At(Instant),
    /// SIGKILL was sent.
    Done,
}

impl Run {
    pub(super) fn is_at_launcher(&self) -> bool {
        match (self.runtime, &self.phase) {
            (RuntimeKind::Docker | RuntimeKind::Warm, _) | (_, Phase::Queued(_)) => false,
            (RuntimeKind::Process, Phase::Starting { .. }) => self.start != StartKind::Slow,
            (RuntimeKind::Process, Phase::Running { .. } | Phase::Killing { .. }) => true,
        }
    }

    pub(super) fn timer(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Queued(_) | Phase::Starting { .. } => None,
            Phase::Running { limit_at, .. } => *limit_at,
            Phase::Killing { kill, .. } => match kill.escalation {
                Escalation::At(at) => Some(at),
                Escalation::Done => None,
            },
        }
    }
}

impl Phase {
    pub(super) fn facts(&self) -> (Option<WallTime>, Option<Cause>) {
        match self {
            Self::Queued(_) => (None, None),
            Self::Starting { kill } => (None, kill.map(|kill| kill.cause)),
            Self::Running { started, .. } => (Some(*started), None),
            Self::Killing { started, kill } => (Some(*started), Some(kill.cause)),
        }
    }
}
