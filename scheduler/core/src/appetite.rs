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
const SHARE: u64 = 4;
/// What ends at about the same time is asked for together.
const TOGETHER: Duration = Duration::from_millis(2);

/// What the appetite depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    /// Whether more could run.
    pub(crate) hungry: bool,
    /// Slots that work.
    pub(crate) working: u64,
    /// Least time between two REVIVE calls.
    pub(crate) interval: Duration,
    /// Longest wait before freed resources are asked for.
    pub(crate) delay: Duration,
}

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

    /// When [`Self::wake`] has something to say.
    pub(crate) fn poll_wake(&self, table: Table) -> Option<Instant> {
        if !table.hungry {
            return self.sated_since.filter(|_| !self.suppressed).map(|since| since + SATED);
        }
        let due = match (self.is_closed(), self.freed) {
            (true, None) => None,
            (true, Some((_, since))) => Some(since),
            (false, None) => return None,
            (false, Some((slots, since))) => {
                let much = slots.saturating_mul(SHARE) >= slots.saturating_add(table.working);
                Some(match (table.working, much) {
                    (0, _) => since,
                    (_, true) => since + TOGETHER,
                    (_, false) => since + table.delay,
                })
            }
        };
        let spaced = self.last_revive.map(|last| last + table.interval);
        match (due, spaced) {
            (Some(due), Some(spaced)) => Some(due.max(spaced)),
            (Some(due), None) => Some(due),
            // Closed, and nothing else to wait for.
            (None, spaced) => spaced,
        }
    }

    /// What to tell the master now.
    pub(crate) fn wake(&mut self, now: Instant, table: Table) -> Option<Craving> {
        if table.hungry {
            self.sated_since = None;
            let ready = match self.poll_wake(table) {
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

    fn table(hungry: bool, working: u64) -> Table {
        let (interval, delay) = (Duration::from_millis(10), Duration::from_millis(50));
        Table { hungry, working, interval, delay }
    }

    #[test]
    fn suppresses_after_a_while_and_revives_at_once() {
        let start = Instant::now();
        let mut appetite = Appetite::default();
        assert_eq!(appetite.wake(start, table(false, 0)), None);
        let due = appetite.poll_wake(table(false, 0)).unwrap();
        assert_eq!(due, start + SATED);
        assert_eq!(appetite.wake(due, table(false, 0)), Some(Craving::Suppress));
        assert_eq!(appetite.wake(due, table(false, 0)), None);
        assert_eq!(appetite.wake(due, table(true, 0)), Some(Craving::Revive));
        assert_eq!(appetite.wake(due, table(true, 0)), None);
    }

    #[test]
    fn offers_refused_for_long_are_asked_for_again() {
        let start = Instant::now();
        let mut appetite = Appetite::default();
        appetite.refused();
        assert_eq!(appetite.wake(start, table(false, 0)), None);
        assert_eq!(appetite.wake(start, table(true, 0)), Some(Craving::Revive));
        assert_eq!(appetite.wake(start, table(true, 0)), None);
    }

    #[test]
    fn nudges_are_spaced() {
        let start = Instant::now();
        let mut appetite = Appetite::default();
        appetite.freed(start, 2);
        assert_eq!(appetite.poll_wake(table(true, 6)), Some(start + TOGETHER));
        assert_eq!(appetite.wake(start, table(true, 0)), Some(Craving::Revive));
        appetite.freed(start, 2);
        assert_eq!(appetite.wake(start, table(true, 6)), None);
        let due = appetite.poll_wake(table(true, 6)).unwrap();
        assert_eq!(due, start + Duration::from_millis(10));
        assert_eq!(appetite.wake(due, table(true, 6)), Some(Craving::Revive));
        appetite.freed(due, 1);
        let small = appetite.poll_wake(table(true, 100)).unwrap();
        assert_eq!(small, due + Duration::from_millis(50));
        appetite.offered();
        assert_eq!(appetite.poll_wake(table(true, 100)), None);
    }
}
