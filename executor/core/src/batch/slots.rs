//! The places of a batch, and the runs in them.
//!
//! Owns which slots are free, which runs each of the others has, and how fast they end.
//! Refuses to know what an item is. Called by the batch.
//!
//! A slot has one run at a time. While its runs are short, more of them are given to the
//! runtime ahead of time, in the slot's strand: each starts when the one before it has
//! ended, and nobody has to be told in between.
//!
//! ```text
//!   free ── take ──▶ busy: a run ── ahead ──▶ a run, and others behind it
//!     ▲                │                          │ first ended: the next one runs
//!     └── last ended ──┘                          │ first lasts: those behind are wanted back
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::ids::{RunId, StrandId};

/// Runs that are given away ahead of time are to take no longer than this, all those of one
/// slot together.
const AHEAD_TIME: Duration = Duration::from_millis(24);

/// And be no more than this.
const AHEAD_MAX: usize = 24;

/// All slots of a batch together.
const AHEAD_TOTAL_MAX: usize = 256;

/// How many runs must have ended before it is known how fast they do.
const KNOWN_FROM: u32 = 4;

/// A run that lasts so long has those behind it taken back.
const STALL: Duration = Duration::from_millis(50);

/// What a new run is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) slot: u32,
    pub(super) strand: StrandId,
}

/// All slots of a batch.
#[derive(Debug)]
pub(super) struct Slots {
    /// The lowest number that was never used.
    fresh: u32,
    width: u32,
    freed: Vec<u32>,
    busy: BTreeMap<u32, Busy>,
    /// Slots that may take more: the runtime has their first run, and takes others behind it.
    open: Vec<u32>,
    /// How many runs are behind others.
    ahead: usize,
    ended: u32,
    /// How long the last runs took; later ones count more.
    average: Duration,
    /// When to see whether one lasts.
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Busy {
    strand: StrandId,
    /// The first one starts or runs; the others are behind it.
    runs: VecDeque<RunId>,
    /// When the first one became that, or started.
    since: Instant,
    /// The runtime has the first one: what is given away goes behind it.
    given: bool,
    /// Those behind it are wanted back.
    recalled: bool,
}

impl Slots {
    pub(super) fn new(width: u32) -> Self {
        Self {
            fresh: 0,
            width,
            freed: Vec::new(),
            busy: BTreeMap::new(),
            open: Vec::new(),
            ahead: 0,
            ended: 0,
            average: Duration::ZERO,
            look_at: None,
        }
    }

    /// A slot that nobody has.
    pub(super) fn free(&mut self) -> Option<u32> {
        self.freed.pop().or_else(|| {
            (self.fresh < self.width).then(|| {
                self.fresh += 1;
                self.fresh - 1
            })
        })
    }

    /// Puts a run into a slot, behind those that are there.
    pub(super) fn add(&mut self, now: Instant, room: Room, run: RunId) {
        let busy = self.busy.entry(room.slot).or_insert_with(|| Busy {
            strand: room.strand,
            runs: VecDeque::new(),
            since: now,
            given: false,
            recalled: false,
        });
        if !busy.runs.is_empty() {
            self.ahead += 1;
            self.look_at.get_or_insert(now + STALL);
        }
        busy.runs.push_back(run);
    }

    /// A run has started. Tells whether there is none behind it.
    pub(super) fn started(&mut self, now: Instant, slot: u32, run: RunId) -> bool {
        let Some(busy) = self.busy.get_mut(&slot) else { return false };
        if busy.runs.front() == Some(&run) {
            (busy.since, busy.given) = (now, true);
        }
        let alone = busy.runs == [run];
        if alone {
            self.open.push(slot);
        }
        alone
    }

    /// Forgets where runs could go behind others: none of them may.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }

    /// Where another run may be put behind those that are there, if `waiting` could go there.
    pub(super) fn room_behind(&mut self, waiting: u64) -> Option<Room> {
        let most = self.depth(waiting);
        while let Some(slot) = self.open.last().copied() {
            if let Some(busy) = self.busy.get(&slot)
                && busy.given
                && !busy.recalled
                && busy.runs.len() <= most
                && self.ahead < AHEAD_TOTAL_MAX
            {
                return Some(Room { slot, strand: busy.strand });
            }
            self.open.pop();
        }
        None
    }

    /// How many may stand behind the first: none near the end of the batch, where other slots
    /// are free before it is their turn.
    fn depth(&self, waiting: u64) -> usize {
        if self.ended < KNOWN_FROM {
            return 0;
        }
        let by_time = AHEAD_TIME.as_micros() / self.average.as_micros().max(1);
        let each = waiting / (2 * self.busy.len() as u64).max(1);
        AHEAD_MAX.min(by_time as usize).min(each as usize)
    }

    /// A run ended, was never there, or came back. `took` says how long it ran.
    pub(super) fn remove(&mut self, now: Instant, slot: u32, run: RunId, took: Option<Duration>) {
        if let Some(took) = took {
            self.average = if self.ended == 0 { took } else { (self.average * 7 + took) / 8 };
            self.ended = self.ended.saturating_add(1);
        }
        let Some(busy) = self.busy.get_mut(&slot) else { return };
        let Some(at) = busy.runs.iter().position(|other| *other == run) else { return };
        busy.runs.remove(at);
        if busy.runs.is_empty() {
            self.busy.remove(&slot);
            self.freed.push(slot);
            return;
        }
        self.ahead -= 1;
        if at == 0 {
            (busy.since, busy.given, busy.recalled) = (now, true, false);
            self.open.push(slot);
        }
    }

    /// Names the runs that are behind one that lasts, the last ones first.
    pub(super) fn stalled(&mut self, now: Instant) -> Vec<RunId> {
        if self.look_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.look_at = (self.ahead > 0).then(|| now + STALL);
        let lasting = self.busy.values_mut().filter(|busy| {
            !busy.recalled && busy.runs.len() > 1 && now.duration_since(busy.since) >= STALL
        });
        lasting
            .flat_map(|busy| {
                busy.recalled = true;
                busy.runs.iter().skip(1).rev().copied()
            })
            .collect()
    }

    /// When [`Self::stalled`] may have something to say.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Option<Duration> = Some(Duration::from_millis(6));

    fn room(slot: u32) -> Room {
        Room { slot, strand: StrandId(7) }
    }

    /// One slot whose runs are known to be quick, and has run 4.
    fn quick(now: Instant) -> Slots {
        let mut slots = Slots::new(1);
        for run in 0..4 {
            assert_eq!(slots.free(), Some(0));
            slots.add(now, room(0), RunId(run));
            assert_eq!((slots.free(), slots.room_behind(100)), (None, None));
            slots.remove(now, 0, RunId(run), QUICK);
        }
        assert_eq!(slots.free(), Some(0));
        slots.add(now, room(0), RunId(4));
        slots
    }

    fn fill(slots: &mut Slots, now: Instant, from: u64, waiting: u64) -> u64 {
        let mut run = from;
        while let Some(room) = slots.room_behind(waiting) {
            slots.add(now, room, RunId(run));
            run += 1;
        }
        run - from
    }

    #[test]
    fn short_runs_are_given_away_ahead_of_time() {
        let now = Instant::now();
        let mut slots = quick(now);
        assert!(slots.started(now, 0, RunId(4)));
        assert_eq!(fill(&mut slots, now, 5, 100), 4, "24 milliseconds of six each");
        slots.remove(now, 0, RunId(4), QUICK);
        assert_eq!(fill(&mut slots, now, 9, 100), 1);
        slots.remove(now, 0, RunId(5), QUICK);
        assert_eq!(fill(&mut slots, now, 10, 3), 0, "others may be free before");
        slots.remove(now, 0, RunId(6), Some(Duration::from_secs(1)));
        assert_eq!(fill(&mut slots, now, 10, 100), 0, "they are short no longer");
        for run in [7, 8] {
            slots.remove(now, 0, RunId(run), QUICK);
        }
        assert_eq!((slots.ahead, slots.free()), (0, None));
        slots.remove(now, 0, RunId(9), QUICK);
        assert_eq!((slots.ahead, slots.free()), (0, Some(0)));
    }

    #[test]
    fn nothing_goes_before_the_first_of_its_strand() {
        let now = Instant::now();
        let mut slots = quick(now);
        assert!(slots.started(now, 0, RunId(4)));
        // Nobody asks for room meanwhile; the slot is free, and is given a run that waits.
        slots.remove(now, 0, RunId(4), QUICK);
        assert_eq!(slots.free(), Some(0));
        slots.add(now, room(0), RunId(5));
        assert_eq!(slots.room_behind(100), None, "the runtime has not got it");
        assert!(slots.started(now, 0, RunId(5)));
        assert_eq!(fill(&mut slots, now, 6, 100), 4);
        // And nothing goes where others are wanted back from.
        assert_eq!(slots.stalled(now + STALL).len(), 4);
        slots.open.push(0);
        slots.remove(now, 0, RunId(9), None);
        assert_eq!(slots.room_behind(100), None);
    }

    #[test]
    fn those_behind_one_that_lasts_are_wanted_back_once() {
        let now = Instant::now();
        let mut slots = quick(now);
        assert!(slots.started(now, 0, RunId(4)));
        assert_eq!(fill(&mut slots, now, 5, 100), 4);
        assert_eq!(slots.look_at(), Some(now + STALL));
        assert_eq!(slots.stalled(now), []);
        let later = now + STALL;
        assert_eq!(slots.stalled(later), [8, 7, 6, 5].map(RunId));
        assert_eq!(slots.stalled(later + STALL), []);
        for run in [8, 7, 6, 5] {
            slots.remove(later, 0, RunId(run), None);
        }
        assert_eq!(fill(&mut slots, later, 9, 100), 0, "the one that lasts is still there");
        slots.remove(later, 0, RunId(4), Some(STALL));
        assert_eq!(slots.free(), Some(0));
        assert_eq!(slots.stalled(later + STALL * 2), []);
        assert_eq!(slots.look_at(), None);
    }
}
