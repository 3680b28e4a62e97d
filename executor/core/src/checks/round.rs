//! The rounds of one check: wait, probe, wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::spec::Pace;
use crate::{action::Attempt, ids::ProbeId};

/// Where a check is in its round; drawn in the module above.
#[derive(Debug)]
pub(super) struct Round {
    pace: Pace,
    attempt: Arc<Attempt>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle,
    Waiting {
        until: Instant,
    },
    /// Too late at `until`, or never.
    Probing {
        probe: ProbeId,
        until: Option<Instant>,
    },
}

/// What is to be done at the time of [`Round::timer`].
#[derive(Debug)]
pub(super) enum Due {
    /// The next probe.
    Probe(Arc<Attempt>),
    /// The probe under way has had its time.
    TooLate(ProbeId, Duration),
}

impl Round {
    pub(super) fn new(pace: Pace, attempt: Arc<Attempt>) -> Self {
        Self { pace, attempt, phase: Phase::Idle }
    }

    pub(super) fn start(&mut self, now: Instant) {
        self.phase = Phase::Waiting { until: now + self.pace.delay };
    }

    /// When [`Self::due`] gives something.
    pub(super) fn timer(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle => None,
            Phase::Waiting { until } => Some(until),
            Phase::Probing { until, .. } => until,
        }
    }

    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        match self.phase {
            Phase::Waiting { until } if until <= now => Some(Due::Probe(self.attempt.clone())),
            Phase::Probing { probe, until: Some(until) } if until <= now => {
                Some(Due::TooLate(probe, self.pace.timeout.unwrap_or_default()))
            }
            Phase::Idle | Phase::Waiting { .. } | Phase::Probing { .. } => None,
        }
    }

    /// The probe begins.
    pub(super) fn probe(&mut self, now: Instant, probe: ProbeId) {
        let until = self.pace.timeout.map(|timeout| now + timeout);
        self.phase = Phase::Probing { probe, until };
    }

    /// The probe ended, one way or another.
    pub(super) fn ended(&mut self, now: Instant) {
        self.phase = Phase::Waiting { until: now + self.pace.interval };
    }

    /// Ends the rounds; gives the probe that is under way.
    pub(super) fn stop(&mut self) -> Option<ProbeId> {
        let probe = match self.phase {
            Phase::Idle | Phase::Waiting { .. } => None,
            Phase::Probing { probe, .. } => Some(probe),
        };
        self.phase = Phase::Idle;
        probe
    }
}
