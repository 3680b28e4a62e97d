//! Which container a run goes to.
//!
//! Owns the containers that tasks share: what each of them is for, who is in it, when it goes.
//! Sans-IO: takes what happened, says what to do. Refuses to know how a container is made, and
//! what makes two tasks of one kind. Called by the warm runtime.
//!
//! ```text
//!            raise            ready                nobody for as long as `idle`
//!   (none) ────────▶ Raising ───────▶ Ready ──────────────────────────────────▶ (gone)
//!                       │               │ died
//!                       │ failed        ▼           buried
//!                       ▼             Dying ─────────────────▶ (gone), its runs are lost
//!              (gone), its runs are refused
//! ```
//!
//! * **Raising**: asked for; runs wait for it.
//! * **Ready**: runs go in as they come, as many at a time as there are slots.
//! * **Dying**: its first process is gone, and what became of it is being found out.
//!
//! A run goes to the fullest container of its kind that has a slot, so that others become idle. If
//! none has one, another is raised. Runs of one strand, of which one runs at a time, have one slot
//! together. A container that dies after it has served is replaced at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use marmoset_executor_core::{RunId, StrandId};

/// A container, in the order in which they were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RoomId(pub(super) u64);

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KindId(pub(super) u64);

/// Where a run is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// To a container that is ready.
    Go(RoomId),
    /// To one that is not ready yet.
    Wait(RoomId),
    /// To one that is to be raised now.
    Raise(RoomId),
}

/// All containers that tasks share.
#[derive(Debug)]
pub(super) struct Pool {
    slots: usize,
    idle: Duration,
    last: u64,
    rooms: BTreeMap<RoomId, Room>,
    places: HashMap<RunId, (RoomId, Option<StrandId>)>,
    /// Where the runs of a strand are.
    strands: HashMap<StrandId, RoomId>,
}

#[derive(Debug)]
struct Room {
    kind: KindId,
    phase: Phase,
    runs: BTreeSet<RunId>,
    /// How many of them each strand has.
    strands: HashMap<StrandId, usize>,
    /// A run has ended in it: it is good for something.
    has_served: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Raising,
    Ready {
        /// Since when nobody is in it.
        idle_since: Option<Instant>,
    },
    Dying,
}

impl Pool {
    /// Containers of so many slots each, which go when nobody was in them for as long as `idle`.
    pub(super) fn new(slots: usize, idle: Duration) -> Self {
        Self {
            slots: slots.max(1),
            idle,
            last: 0,
            rooms: BTreeMap::new(),
            places: HashMap::new(),
            strands: HashMap::new(),
        }
    }

    /// Gives a run a slot.
    pub(super) fn place(
        &mut self,
        run: RunId,
        strand: Option<StrandId>,
        kind: KindId,
    ) -> Placement {
        let together = strand.and_then(|strand| self.strands.get(&strand).copied());
        let together = together.filter(|id| self.rooms[id].phase != Phase::Dying);
        let placement = match together.or_else(|| self.fullest(kind)) {
            Some(room) if self.rooms[&room].phase == Phase::Raising => Placement::Wait(room),
            Some(room) => Placement::Go(room),
            None => Placement::Raise(self.raise(kind)),
        };
        let (Placement::Go(id) | Placement::Wait(id) | Placement::Raise(id)) = placement;
        if let Some(room) = self.rooms.get_mut(&id) {
            room.runs.insert(run);
            if let Some(strand) = strand {
                *room.strands.entry(strand).or_default() += 1;
                self.strands.insert(strand, id);
            }
            if let Phase::Ready { idle_since } = &mut room.phase {
                *idle_since = None;
            }
        }
        self.places.insert(run, (id, strand));
        placement
    }

    /// A run of this kind is about to come. Says which container is to be raised for it, if there
    /// is none with a free slot.
    pub(super) fn foresee(&mut self, kind: KindId) -> Option<RoomId> {
        self.fullest(kind).is_none().then(|| self.raise(kind))
    }

    /// A container is ready. Yields the runs that have waited for it.
    pub(super) fn ready(&mut self, now: Instant, id: RoomId) -> Vec<RunId> {
        let Some(room) = self.rooms.get_mut(&id) else { return Vec::new() };
        room.phase = Phase::Ready { idle_since: room.runs.is_empty().then_some(now) };
        room.runs.iter().copied().collect()
    }

    /// A container is over: it could not be raised, or what became of it is known. Yields its
    /// runs, which have no slot any more.
    pub(super) fn over(&mut self, id: RoomId) -> Vec<RunId> {
        let Some(room) = self.rooms.remove(&id) else { return Vec::new() };
        for run in &room.runs {
            self.places.remove(run);
        }
        self.strands.retain(|_, at| *at != id);
        room.runs.into_iter().collect()
    }

    /// A container that was ready has died. Says which is to be raised in its place.
    pub(super) fn died(&mut self, id: RoomId) -> Option<RoomId> {
        let room = self.rooms.get_mut(&id)?;
        room.phase = Phase::Dying;
        let (kind, has_served) = (room.kind, room.has_served);
        if has_served { self.foresee(kind) } else { None }
    }

    /// A run has ended.
    pub(super) fn ended(&mut self, now: Instant, run: RunId) {
        let Some(room) = self.leave(run) else { return };
        room.has_served = true;
        if let Phase::Ready { idle_since } = &mut room.phase
            && room.runs.is_empty()
        {
            *idle_since = Some(now);
        }
    }

    /// Gives a run up that waits for its container. False if it does not wait.
    pub(super) fn cancel(&mut self, run: RunId) -> bool {
        let Some(id) = self.room(run) else { return false };
        if self.rooms.get(&id).is_none_or(|room| room.phase != Phase::Raising) {
            return false;
        }
        self.leave(run);
        true
    }

    /// Takes a run out of its container.
    fn leave(&mut self, run: RunId) -> Option<&mut Room> {
        let (id, strand) = self.places.remove(&run)?;
        let room = self.rooms.get_mut(&id)?;
        room.runs.remove(&run);
        if let Some(strand) = strand
            && let Some(count) = room.strands.get_mut(&strand)
        {
            *count -= 1;
            if *count == 0 {
                room.strands.remove(&strand);
                if self.strands.get(&strand) == Some(&id) {
                    self.strands.remove(&strand);
                }
            }
        }
        Some(room)
    }

    /// Where a run is.
    pub(super) fn room(&self, run: RunId) -> Option<RoomId> {
        self.places.get(&run).map(|(room, _)| *room)
    }

    /// Who is in a container, or waits for it.
    pub(super) fn runs(&self, id: RoomId) -> impl Iterator<Item = RunId> {
        self.rooms.get(&id).into_iter().flat_map(|room| room.runs.iter().copied())
    }

    /// Whether there is a container of this kind, or will be.
    pub(super) fn has(&self, kind: KindId) -> bool {
        self.rooms.values().any(|room| room.kind == kind)
    }

    /// Forgets the containers that nobody has needed for long, and names them.
    pub(super) fn retire(&mut self, now: Instant) -> Vec<RoomId> {
        let idle = self.idle;
        let is_due = |room: &Room| idle_since(room).is_some_and(|since| since + idle <= now);
        let due = self.rooms.iter().filter(|(_, room)| is_due(room));
        let due = due.map(|(id, _)| *id).collect::<Vec<_>>();
        for id in &due {
            self.rooms.remove(id);
        }
        due
    }

    /// When [`Self::retire`] has something to do.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.rooms.values().filter_map(idle_since).min().map(|since| since + self.idle)
    }

    fn fullest(&self, kind: KindId) -> Option<RoomId> {
        let usable = self.rooms.iter().filter(|(_, room)| {
            room.kind == kind && room.phase != Phase::Dying && room.taken() < self.slots
        });
        let ready_first = |room: &Room| room.phase != Phase::Raising;
        usable
            .max_by_key(|(id, room)| (ready_first(room), room.taken(), std::cmp::Reverse(**id)))
            .map(|(id, _)| *id)
    }

    fn raise(&mut self, kind: KindId) -> RoomId {
        self.last += 1;
        let id = RoomId(self.last);
        let (phase, runs, strands) = (Phase::Raising, BTreeSet::new(), HashMap::new());
        self.rooms.insert(id, Room { kind, phase, runs, strands, has_served: false });
        id
    }
}

impl Room {
    /// Slots that are taken: those behind the first of a strand take none.
    fn taken(&self) -> usize {
        let behind = self.strands.values().sum::<usize>() - self.strands.len();
        self.runs.len() - behind
    }
}

fn idle_since(room: &Room) -> Option<Instant> {
    match room.phase {
        Phase::Ready { idle_since } => idle_since,
        Phase::Raising | Phase::Dying => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: KindId = KindId(1);
    const B: KindId = KindId(2);
    const IDLE: Duration = Duration::from_secs(60);

    fn runs(numbers: impl IntoIterator<Item = u64>) -> Vec<RunId> {
        numbers.into_iter().map(RunId).collect()
    }

    #[test]
    fn runs_of_a_kind_share_a_container_up_to_its_slots() {
        let (mut pool, now) = (Pool::new(2, IDLE), Instant::now());
        assert_eq!(pool.place(RunId(1), None, A), Placement::Raise(RoomId(1)));
        assert_eq!(pool.place(RunId(2), None, A), Placement::Wait(RoomId(1)));
        assert_eq!(pool.place(RunId(3), None, A), Placement::Raise(RoomId(2)));
        assert_eq!(pool.place(RunId(4), None, B), Placement::Raise(RoomId(3)));
        assert_eq!(pool.ready(now, RoomId(1)), runs([1, 2]));
        pool.ended(now, RunId(2));
        // One that is ready comes before one that is not.
        assert_eq!(pool.place(RunId(5), None, A), Placement::Go(RoomId(1)));
        assert_eq!(pool.place(RunId(6), None, A), Placement::Wait(RoomId(2)));
        assert_eq!(pool.room(RunId(6)), Some(RoomId(2)));
        assert_eq!(pool.over(RoomId(2)), runs([3, 6]));
        assert_eq!(pool.room(RunId(6)), None);
        // The slots of what is over are gone as well.
        assert_eq!(pool.place(RunId(7), None, A), Placement::Raise(RoomId(4)));
    }

    #[test]
    fn a_strand_has_one_slot_and_stays_together() {
        let (mut pool, now) = (Pool::new(2, IDLE), Instant::now());
        let (one, two) = (Some(StrandId(1)), Some(StrandId(2)));
        pool.place(RunId(1), one, A);
        pool.ready(now, RoomId(1));
        for run in 2..5 {
            assert_eq!(pool.place(RunId(run), one, A), Placement::Go(RoomId(1)));
        }
        assert_eq!(pool.place(RunId(5), two, A), Placement::Go(RoomId(1)));
        assert_eq!(pool.place(RunId(6), None, A), Placement::Raise(RoomId(2)));
        // Full, but not for those behind others.
        assert_eq!(pool.place(RunId(7), two, A), Placement::Go(RoomId(1)));
        (1..5).for_each(|run| pool.ended(now, RunId(run)));
        assert_eq!(pool.place(RunId(8), None, A), Placement::Go(RoomId(1)));
        assert_eq!(pool.place(RunId(9), one, A), Placement::Wait(RoomId(2)));
        // Nobody stands behind the dead; there is a slot elsewhere, or nowhere.
        assert_eq!(pool.died(RoomId(1)), Some(RoomId(3)));
        assert_eq!(pool.place(RunId(10), two, A), Placement::Wait(RoomId(3)));
        assert_eq!(pool.over(RoomId(1)), runs([5, 7, 8]));
        assert_eq!(pool.place(RunId(11), two, A), Placement::Wait(RoomId(3)));
    }

    #[test]
    fn who_waits_may_be_given_up() {
        let (mut pool, now) = (Pool::new(2, IDLE), Instant::now());
        pool.place(RunId(1), None, A);
        pool.place(RunId(2), None, A);
        assert!(pool.cancel(RunId(1)));
        assert!(!pool.cancel(RunId(1)));
        assert_eq!(pool.ready(now, RoomId(1)), runs([2]));
        assert!(!pool.cancel(RunId(2)));
    }

    #[test]
    fn an_idle_container_goes_and_a_busy_one_stays() {
        let (mut pool, now) = (Pool::new(8, IDLE), Instant::now());
        pool.place(RunId(1), None, A);
        assert_eq!(pool.wake_at(), None);
        pool.ready(now, RoomId(1));
        assert_eq!(pool.wake_at(), None);
        pool.ended(now, RunId(1));
        assert_eq!(pool.wake_at(), Some(now + IDLE));
        assert_eq!(pool.retire(now + IDLE / 2), []);
        pool.place(RunId(2), None, A);
        assert_eq!(pool.retire(now + IDLE), []);
        pool.ended(now + IDLE, RunId(2));
        assert_eq!(pool.retire(now + IDLE * 2), [RoomId(1)]);
        assert!(!pool.has(A));
        // Raised for somebody who never came.
        assert_eq!(pool.foresee(A), Some(RoomId(2)));
        assert_eq!(pool.foresee(A), None);
        pool.ready(now, RoomId(2));
        assert_eq!(pool.retire(now + IDLE), [RoomId(2)]);
    }

    #[test]
    fn the_dead_are_replaced_once_they_have_served() {
        let (mut pool, now) = (Pool::new(8, IDLE), Instant::now());
        pool.place(RunId(1), None, A);
        pool.place(RunId(2), None, A);
        pool.ready(now, RoomId(1));
        pool.ended(now, RunId(1));
        assert_eq!(pool.died(RoomId(1)), Some(RoomId(2)));
        // Nobody goes to the dead.
        assert_eq!(pool.place(RunId(3), None, A), Placement::Wait(RoomId(2)));
        assert_eq!(pool.over(RoomId(1)), runs([2]));
        pool.ready(now, RoomId(2));
        // One that dies before it has served would die for ever.
        assert_eq!(pool.died(RoomId(2)), None);
        assert_eq!(pool.over(RoomId(2)), runs([3]));
        assert_eq!(pool.died(RoomId(2)), None);
    }
}
