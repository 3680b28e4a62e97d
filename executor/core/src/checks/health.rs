//! `health_check`: judges a task.
//!
//! | answer | before the first success, in the grace period | otherwise |
//! | --- | --- | --- |
//! | failure | nothing | told; the last of `consecutive_failures` in a row ends the task |
//! | success | told | told after a failure |

use std::time::{Duration, Instant};

use super::{Finding, round::Round, spec::HealthSpec};

/// A `health_check` at work.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) round: Round,
    /// As far as it was told.
    pub(super) healthy: Option<bool>,
    grace: Duration,
    grace_until: Option<Instant>,
    limit: u32,
    failures: u32,
    succeeded: bool,
}

impl Health {
    pub(super) fn new(spec: &HealthSpec) -> Self {
        Self {
            round: Round::new(spec.pace, spec.attempt.clone()),
            healthy: None,
            grace: spec.grace,
            grace_until: None,
            limit: spec.consecutive_failures,
            failures: 0,
            succeeded: false,
        }
    }

    /// The task has started.
    pub(super) fn start(&mut self, now: Instant) {
        self.grace_until = Some(now + self.grace);
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Failures in a row that end the task.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn judge(&mut self, now: Instant, success: bool) -> Option<Finding> {
        if success {
            let news = !self.succeeded || self.failures > 0;
            self.succeeded = true;
            self.failures = 0;
            self.healthy = Some(true);
            return news.then_some(Finding::Healthy);
        }
        if !self.succeeded && self.grace_until.is_some_and(|until| now < until) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        self.healthy = Some(false);
        Some(Finding::Unhealthy { kill: self.failures >= self.limit })
    }
}
