//! When to look at the output of which run.
//!
//! Owns the order of looks. Refuses to look: the worker does, and says how it went.
//! Time is an argument.
//!
//! ```text
//!   started ──▶ young ── after FIRST ──▶ looked at ──▶ old ── after its own pause ──┐
//!                 │ ended before: forgotten   ▲                                     │
//!                 ▼                           └─────────────────────────────────────┘
//! ```
//!
//! A short run is put into a queue and taken out of it, and nothing else. One that
//! writes is looked at the sooner the faster it writes; one that does not, more and
//! more seldom.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::launcher::RunId;

/// From the start of a run to the first look.
const FIRST: Duration = Duration::from_millis(50);

/// Looks at one run are never closer.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// How long a run that does not write is left alone, if there are not many.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// With many runs a look at each takes this much of the pause.
const PAUSE_EACH: Duration = Duration::from_micros(200);

/// Runs to look at.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// In the order of their starts.
    young: VecDeque<(Instant, Watched)>,
    old: BTreeSet<(Instant, Watched)>,
}

/// A run that had this pid when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Watched {
    pub(crate) pid: i32,
    pub(crate) run: RunId,
}

impl Watch {
    /// Takes up a run that was just started.
    pub(crate) fn add(&mut self, now: Instant, run: Watched) {
        self.young.push_back((now + FIRST, run));
    }

    /// Forgets runs that have ended in the order of their starts.
    pub(crate) fn forget_ended(&mut self, lives: impl Fn(Watched) -> bool) {
        while self.young.front().is_some_and(|(_, run)| !lives(*run)) {
            self.young.pop_front();
        }
    }

    /// When the next look is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let young = self.young.front().map(|(at, _)| *at);
        let old = self.old.first().map(|(at, _)| *at);
        young.into_iter().chain(old).min()
    }

    /// Takes a run that is to be looked at now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Watched> {
        if self.young.front().is_some_and(|(at, _)| *at <= now) {
            return self.young.pop_front().map(|(_, run)| run);
        }
        let (at, run) = self.old.first().copied()?;
        (at <= now).then(|| {
            self.old.pop_first();
            run
        })
    }

    /// Takes a run up again, after `pause`.
    pub(crate) fn again(&mut self, now: Instant, run: Watched, pause: Duration) {
        let longest = PAUSE_MAX.max(PAUSE_EACH * u32::try_from(self.old.len()).unwrap_or(u32::MAX));
        self.old.insert((now + pause.clamp(PAUSE_MIN, longest), run));
    }
}

/// How long a run may be left alone that has `grown` by so much in `elapsed`, and has this much
/// `room` left: half of the time that it takes to fill it. One that has not grown is left alone
/// for twice as long as before.
pub(crate) fn pause(elapsed: Duration, grown: u64, room: u64) -> Duration {
    if grown == 0 {
        return elapsed.saturating_mul(2);
    }
    let seconds = elapsed.as_secs_f64() * (room as f64 / grown as f64) / 2.0;
    // Not finite, or longer than anything: the caller knows how long is long enough.
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: i32) -> Watched {
        Watched { pid: number, run: RunId(number as u64) }
    }

    #[test]
    fn short_runs_are_never_looked_at() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        for number in 1..=100 {
            watch.add(start, run(number));
        }
        watch.forget_ended(|run| run.pid == 7);
        assert_eq!(watch.due(), Some(start + FIRST));
        assert_eq!(watch.next(start), None);
        assert_eq!(watch.next(start + FIRST), Some(run(7)));
        watch.forget_ended(|_| false);
        assert_eq!(watch.due(), None);
    }

    #[test]
    fn the_one_that_is_due_comes_first() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.again(now, run(1), Duration::from_millis(90));
        watch.again(now, run(2), Duration::ZERO);
        watch.again(now, run(3), Duration::MAX);
        assert_eq!(watch.due(), Some(now + PAUSE_MIN));
        let later = now + PAUSE_MAX;
        let order = [watch.next(later), watch.next(later), watch.next(later), watch.next(later)];
        assert_eq!(order, [Some(run(2)), Some(run(1)), Some(run(3)), None]);
    }

    #[test]
    fn many_silent_runs_are_looked_at_seldom() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        for number in 0..10_000 {
            watch.again(now, run(number), Duration::MAX);
        }
        let soon = std::iter::from_fn(|| watch.next(now + Duration::from_secs(1))).count();
        assert!(soon < 6_000, "{soon} looks in the first second");
    }

    #[test]
    fn a_pause_follows_the_growth() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(50), 0, 1000), ms(100));
        assert_eq!(pause(ms(50), 1000, 1000), ms(25));
        assert_eq!(pause(ms(50), 4000, 1000), Duration::from_micros(6250));
        assert_eq!(pause(ms(50), 1, 0), Duration::ZERO);
        assert_eq!(pause(Duration::MAX / 2, 1, u64::MAX), Duration::MAX);
    }
}
