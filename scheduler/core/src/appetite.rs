//! When the master is asked for offers, and when it is told that none are wanted.
//!
//! Owns SUPPRESS and REVIVE. A master offers freed resources only once a second by itself;
//! a REVIVE brings them at once, but costs it an allocation over all agents.
//!
//! ```text
//!            nothing wanted for a while: SUPPRESS
//!   Open ─────────────────────────────────────────▶ Suppressed
//!     ▲  ◀─────────────────────────────────────────────┘
//!     └── REVIVE when resources came free     something wanted: REVIVE
//! ```

use std::time::{Duration, Instant};

use crate::config::Timing;

#[derive(Debug, Default)]
pub(crate) struct Appetite {
    suppressed: bool,
    /// Whether offers were refused for long because nothing was wanted.
    refused: bool,
    last_revive: Option<Instant>,
    /// Slots that came free since offers were last seen, and since when.
    freed: Option<(u64, Instant)>,
    sated_since: Option<Instant>,
}

/// What to tell the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Craving {
    Revive,
    Suppress,
}

/// How long nothing is wanted before the master is told.
const SATED: Duration = Duration::from_secs(1);
/// The share of working slots that is worth a REVIVE without further delay: one in that many.
const SHARE: u64 = 8;

impl Appetite {
    /// Starts over with a new subscription.
    pub(crate) fn subscribed(&mut self, suppressed: bool) {
        *self = Self { suppressed, ..Self::default() };
    }

    /// Learns that resources came free.
    pub(crate) fn freed(&mut self, now: Instant, slots: u64) {
        let (before, since) = self.freed.unwrap_or((0, now));
        self.freed = Some((before.saturating_add(slots), since));
    }

    /// Learns that offers came: what was free is among them.
    pub(crate) fn offered(&mut self) {
        self.freed = None;
    }

    /// Learns that offers were refused for long because nothing was wanted.
    pub(crate) fn refused(&mut self) {
        self.refused = true;
    }

    /// Whether offers stay away until the master is asked for them.
    fn is_closed(&self) -> bool {
        self.suppressed || self.refused
    }

    /// When [`Self::wake`] has something to say; `working` slots are busy.
    pub(crate) fn poll_wake(&self, hungry: bool, working: u64, timing: &Timing) -> Option<Instant> {
        if !hungry {
            return self.sated_since.filter(|_| !self.suppressed).map(|since| since + SATED);
        }
        let due = match (self.is_closed(), self.freed) {
            (true, None) => None,
            (true, Some((_, since))) => Some(since),
            (false, None) => return None,
            (false, Some((slots, since))) => {
                let much = slots.saturating_mul(SHARE) >= slots.saturating_add(working);
                Some(if much { since } else { since + timing.revive_delay })
            }
        };
        let spaced = self.last_revive.map(|last| last + timing.revive_interval);
        match (due, spaced) {
            (Some(due), Some(spaced)) => Some(due.max(spaced)),
            (Some(due), None) => Some(due),
            // Closed, and nothing else to wait for.
            (None, spaced) => spaced,
        }
    }

    /// What to tell the master now.
    pub(crate) fn wake(
        &mut self,
        now: Instant,
        hungry: bool,
        working: u64,
        timing: &Timing,
    ) -> Option<Craving> {
        if hungry {
            self.sated_since = None;
            let ready = match self.poll_wake(true, working, timing) {
                Some(due) => due <= now,
                None => self.is_closed(),
            };
            if !ready {
                return None;
            }
            self.suppressed = false;
            self.refused = false;
            self.freed = None;
            self.last_revive = Some(now);
            return Some(Craving::Revive);
        }
        let since = *self.sated_since.get_or_insert(now);
        if self.suppressed || since + SATED > now {
            return None;
        }
        self.suppressed = true;
        self.freed = None;
        Some(Craving::Suppress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppresses_after_a_while_and_revives_at_once() {
        let timing = Timing::default();
        let start = Instant::now();
        let mut appetite = Appetite::default();
        assert_eq!(appetite.wake(start, false, 0, &timing), None);
        let due = appetite.poll_wake(false, 0, &timing).unwrap();
        assert_eq!(due, start + SATED);
        assert_eq!(appetite.wake(due, false, 0, &timing), Some(Craving::Suppress));
        assert_eq!(appetite.wake(due, false, 0, &timing), None);
        assert_eq!(appetite.wake(due, true, 0, &timing), Some(Craving::Revive));
        assert_eq!(appetite.wake(due, true, 0, &timing), None);
    }

    #[test]
    fn nudges_are_spaced() {
        let timing = Timing::default();
        let start = Instant::now();
        let mut appetite = Appetite::default();
        appetite.freed(start, 2);
        assert_eq!(appetite.wake(start, true, 6, &timing), Some(Craving::Revive));
        appetite.freed(start, 2);
        assert_eq!(appetite.wake(start, true, 6, &timing), None);
        let due = appetite.poll_wake(true, 6, &timing).unwrap();
        assert_eq!(due, start + timing.revive_interval);
        assert_eq!(appetite.wake(due, true, 6, &timing), Some(Craving::Revive));
        appetite.freed(due, 1);
        let small = appetite.poll_wake(true, 100, &timing).unwrap();
        assert_eq!(small, due + timing.revive_delay);
        appetite.offered();
        assert_eq!(appetite.poll_wake(true, 100, &timing), None);
    }
}
