//! The books of one job: what waits, how often each item was tried, how it ended.
//!
//! Owns the budgets and the rule that an item ends exactly once. Refuses to know where
//! items run. Called by [`Job`](crate::work::Job).
//!
//! ```text
//!             take                      result, loss
//!  Waiting ─────────▶ Under way ──────────────────────────▶ Ended
//!     ▲                  │                                    ▲
//!     └── budget left ───┘                                    │
//!     └── returned, never delivered      job killed ──────────┘
//! ```
//!
//! *Waiting*: among `fresh..count` or in `again`. *Under way*: in the open set of exactly one
//! Mesos task. *Ended*: in `done`. An item gets a row only when it is tried again.

use std::collections::BTreeMap;

use crate::{
    counters::Ended,
    done::Done,
    event::{EndState, RetryReason},
    indices::Indices,
};

/// What happened to an item that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit status 0.
    Finished,
    /// Any other end of its own.
    Failed,
    /// An end that was asked for.
    Killed,
    /// An unusable description.
    Error,
    /// No result, through no fault of its own.
    Lost,
    /// It came back untouched.
    NotStarted {
        /// Whether its next try needs a task id of its own.
        new_attempt: bool,
    },
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ended for good.
    Ended(EndState),
    /// It waits again.
    Again(RetryReason),
}

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    attempt: u32,
    failures: u32,
    losses: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Book {
    count: u64,
    /// From here on nothing was ever sent.
    fresh: u64,
    /// What waits below `fresh`.
    again: Indices,
    rows: BTreeMap<u64, Row>,
    done: Done,
    tally: Ended,
    retries: u32,
    lost_retries: u32,
    closed: bool,
}

impl Book {
    pub(crate) fn new(count: u64, retries: u32, lost_retries: u32) -> Self {
        Self {
            count,
            fresh: 0,
            again: Indices::default(),
            rows: BTreeMap::new(),
            done: Done::new(count),
            tally: Ended::default(),
            retries,
            lost_retries,
            closed: false,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.count - self.fresh + self.again.len()
    }

    pub(crate) fn tally(&self) -> Ended {
        self.tally
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.done.is_complete()
    }

    /// How often an item was tried before.
    pub(crate) fn attempt(&self, index: u64) -> u32 {
        self.rows.get(&index).map_or(0, |row| row.attempt)
    }

    /// Items of a range that were tried before, ascending.
    pub(crate) fn tried(&self, begin: u64, end: u64) -> impl Iterator<Item = (u64, u32)> + '_ {
        let rows = self.rows.range(begin..=end);
        rows.filter(|(_, row)| row.attempt > 0).map(|(index, row)| (*index, row.attempt))
    }

    /// Takes items to send: those that come back first.
    pub(crate) fn take(&mut self, at_most: u64) -> Indices {
        let mut taken = Indices::default();
        while taken.len() < at_most {
            match self.pop_front(at_most - taken.len()) {
                Some((begin, end)) => taken.insert(begin, end),
                None => break,
            }
        }
        taken
    }

    /// Takes items to send until their sizes add up to a budget; one at least.
    pub(crate) fn take_sized(
        &mut self,
        at_most: u64,
        budget: usize,
        size: impl Fn(u64) -> usize,
    ) -> Indices {
        let mut taken = Indices::default();
        let mut used = 0_usize;
        while taken.len() < at_most {
            let Some((index, _)) = self.pop_front(1) else { break };
            let size = size(index);
            if !taken.is_empty() && used.saturating_add(size) > budget {
                self.again.insert(index, index);
                break;
            }
            used = used.saturating_add(size);
            taken.insert(index, index);
        }
        taken
    }

    fn pop_front(&mut self, at_most: u64) -> Option<(u64, u64)> {
        if let Some(piece) = self.again.pop_front(at_most) {
            return Some(piece);
        }
        let length = at_most.min(self.count - self.fresh);
        let begin = self.fresh;
        self.fresh += length;
        (length > 0).then(|| (begin, begin + length - 1))
    }

    /// Takes back items that were not sent after all.
    pub(crate) fn give_back(&mut self, items: &Indices) {
        for (begin, end) in items.ranges() {
            self.again.insert(begin, end);
        }
    }

    /// Closes the books for new tries; gives what waited: never sent, and tried before.
    ///
    /// The first have ended as killed when this returns, the second are still to be settled.
    pub(crate) fn close(&mut self) -> (Vec<(u64, u64)>, Vec<u64>) {
        self.closed = true;
        let mut again = std::mem::take(&mut self.again);
        let tried = again
            .ranges()
            .flat_map(|(begin, end)| self.rows.range(begin..=end))
            .map(|(index, _)| *index)
            .collect::<Vec<_>>();
        for index in &tried {
            again.remove(*index);
        }
        let mut never_sent = again.ranges().collect::<Vec<_>>();
        if self.fresh < self.count {
            never_sent.push((self.fresh, self.count - 1));
            self.fresh = self.count;
        }
        for (begin, end) in &never_sent {
            self.done.insert_range(*begin, *end);
            self.tally.killed += end - begin + 1;
        }
        (never_sent, tried)
    }

    /// Settles what happened to an item that is under way.
    pub(crate) fn settle(&mut self, index: u64, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Finished => self.end(index, EndState::Finished),
            Outcome::Error => self.end(index, EndState::Error),
            Outcome::Killed => self.end(index, EndState::Killed),
            Outcome::Failed => {
                let spent = self.rows.get(&index).map_or(0, |row| row.failures) >= self.retries;
                if spent || self.closed {
                    return self.end(index, EndState::Failed);
                }
                self.again(index, |row| row.failures += 1);
                Verdict::Again(RetryReason::Failed)
            }
            Outcome::Lost => {
                let spent = self.rows.get(&index).map_or(0, |row| row.losses) >= self.lost_retries;
                if spent || self.closed {
                    return self.end(index, EndState::Lost);
                }
                self.again(index, |row| row.losses += 1);
                Verdict::Again(RetryReason::Lost)
            }
            Outcome::NotStarted { .. } if self.closed => self.end(index, EndState::Killed),
            Outcome::NotStarted { new_attempt: true } => {
                self.again(index, |_| ());
                Verdict::Again(RetryReason::NotStarted)
            }
            Outcome::NotStarted { new_attempt: false } => {
                self.again.insert(index, index);
                Verdict::Again(RetryReason::NotStarted)
            }
        }
    }

    fn again(&mut self, index: u64, pay: impl FnOnce(&mut Row)) {
        let row = self.rows.entry(index).or_default();
        row.attempt += 1;
        pay(row);
        self.again.insert(index, index);
    }

    fn end(&mut self, index: u64, state: EndState) -> Verdict {
        let first = self.done.insert(index);
        assert!(first, "item {index} ended twice");
        self.rows.remove(&index);
        match state {
            EndState::Finished => self.tally.finished += 1,
            EndState::Failed => self.tally.failed += 1,
            EndState::Killed => self.tally.killed += 1,
            EndState::Lost => self.tally.lost += 1,
            EndState::Error => self.tally.error += 1,
        }
        Verdict::Ended(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_separate() {
        let mut book = Book::new(1, 1, 1);
        for (outcome, verdict, attempt) in [
            (Outcome::Lost, Verdict::Again(RetryReason::Lost), 1),
            (Outcome::Failed, Verdict::Again(RetryReason::Failed), 2),
            (
                Outcome::NotStarted { new_attempt: false },
                Verdict::Again(RetryReason::NotStarted),
                2,
            ),
            (Outcome::NotStarted { new_attempt: true }, Verdict::Again(RetryReason::NotStarted), 3),
        ] {
            assert_eq!(book.take(10), Indices::range(0, 0));
            assert_eq!(book.settle(0, outcome), verdict);
            assert_eq!(book.attempt(0), attempt);
        }
        book.take(1);
        assert_eq!(book.settle(0, Outcome::Lost), Verdict::Ended(EndState::Lost));
        assert!(book.is_complete());
        assert_eq!(book.tally(), Ended { lost: 1, ..Ended::default() });
    }

    #[test]
    fn closing_tells_never_sent_from_tried() {
        let mut book = Book::new(1_000_000_000_000, 3, 3);
        book.take(10);
        book.settle(3, Outcome::Failed);
        book.settle(4, Outcome::NotStarted { new_attempt: false });
        let (never_sent, tried) = book.close();
        assert_eq!(never_sent, [(4, 4), (10, 999_999_999_999)]);
        assert_eq!(tried, [3]);
        assert_eq!(book.waiting(), 0);
        assert_eq!(book.settle(3, Outcome::Killed), Verdict::Ended(EndState::Killed));
        assert_eq!(book.settle(5, Outcome::Failed), Verdict::Ended(EndState::Failed));
        assert_eq!(
            book.settle(6, Outcome::NotStarted { new_attempt: false }),
            Verdict::Ended(EndState::Killed)
        );
        assert!(!book.is_complete());
    }

    #[test]
    fn sizes_bound_what_is_taken() {
        let mut book = Book::new(5, 0, 0);
        assert_eq!(book.take_sized(10, 25, |_| 10), Indices::range(0, 1));
        assert_eq!(book.take_sized(10, 5, |_| 10), Indices::range(2, 2), "one at least");
        assert_eq!(book.waiting(), 2);
        assert_eq!(book.take_sized(10, 1000, |_| 10), Indices::range(3, 4));
        assert!(book.take_sized(10, 1000, |_| 10).is_empty());
    }
}
