//! How many updates a moment carries before light ones are better kept back.
//!
//! Owns one number: how far the updates of the last moments are ahead of the
//! pace. Refuses to know an update. Called by the ledger.
//!
//! ```text
//!            an update becomes ready: one down
//!   burst ─────────────────────────────────────▶ 0 ────────────────────▶ −burst
//!     ◀─────────────────────────────────────────────────────────────────
//!            one up for each interval
//!     light ones go at once while above 0  │  light ones are held
//! ```
//!
//! It goes below zero, so that a flood that uses up whatever comes back leaves
//! nothing to light ones: they pass again once the flood is over.

use std::time::{Duration, Instant};

use crate::config::UpdatePace;

/// The budget, as the instant at which it is whole again.
#[derive(Debug)]
pub(super) struct Pace {
    pace: UpdatePace,
    whole_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(pace: UpdatePace) -> Self {
        Self { pace, whole_at: None }
    }

    /// Whether an update may go out that might as well be held.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.owed(now) + self.pace.interval <= self.pace.interval * self.pace.burst
    }

    /// Counts an update, whether or not there was room for it.
    pub(super) fn spend(&mut self, now: Instant) {
        let most = self.pace.interval * self.pace.burst * 2;
        let owed = (self.owed(now) + self.pace.interval).min(most);
        self.whole_at = Some(now + owed);
    }

    /// How long it takes until the budget is whole.
    fn owed(&self, now: Instant) -> Duration {
        self.whole_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    fn pace(burst: u32) -> Pace {
        Pace::new(UpdatePace { interval: INTERVAL, burst })
    }

    #[test]
    fn a_burst_passes_and_comes_back_with_time() {
        let (mut pace, start) = (pace(3), Instant::now());
        for _ in 0..3 {
            assert!(pace.has_room(start));
            pace.spend(start);
        }
        assert!(!pace.has_room(start));
        assert!(pace.has_room(start + INTERVAL));
        pace.spend(start + INTERVAL);
        assert!(!pace.has_room(start + INTERVAL));
        assert!(pace.has_room(start + INTERVAL * 10));
    }

    #[test]
    fn a_flood_leaves_nothing_until_it_is_over() {
        let (mut pace, start) = (pace(3), Instant::now());
        let mut now = start;
        for _ in 0..1000 {
            pace.spend(now);
            now += INTERVAL / 4;
        }
        assert!(!pace.has_room(now + INTERVAL * 2));
        // The debt is bounded.
        assert!(pace.has_room(now + INTERVAL * 4));
    }

    #[test]
    fn without_a_burst_there_is_never_room() {
        let (pace, start) = (pace(0), Instant::now());
        assert!(!pace.has_room(start));
        assert!(!pace.has_room(start + INTERVAL * 100));
    }
}
