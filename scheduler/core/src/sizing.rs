//! How many items go into each Mesos task, and how many of them run at a time.
//!
//! Owns the estimate of an item's duration and the arithmetic. Refuses to know offers:
//! it is told how many slots an agent has for the job.
//!
//! An automatic batch takes about [`Limits::batch_target`](crate::Limits): many short items,
//! few longer ones, and one alone when it takes that long by itself. Batches start small and
//! grow as results come in. Towards the end of a job each takes a share of what is left, so
//! that no agent waits for another.

use std::time::Duration;

use crate::{config::Limits, job::BatchSize};

/// Items that a slot is given while nothing is known.
const FIRST: u64 = 2;
/// How much larger a batch may be than one that has ended.
const GROWTH: u64 = 8;
/// The part of a whole batch that is the least towards the end: one in that many.
const LEAST: u64 = 8;

/// What is known about an agent and a job when batches are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Slots to fill now.
    pub(crate) slots: u64,
    /// Slots of the job that work on that agent already.
    pub(crate) working: u64,
    /// Mesos tasks its executor may still be given.
    pub(crate) mesos_tasks: u64,
    /// Items that wait.
    pub(crate) waiting: u64,
    /// Slots that the job has now, everywhere.
    pub(crate) all_slots: u64,
    /// Slots that are being filled now, everywhere.
    pub(crate) new_slots: u64,
    /// Agents that work.
    pub(crate) agents: u64,
}

/// Mesos tasks of about the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// How many of them.
    pub(crate) mesos_tasks: u64,
    /// Slots to divide among them.
    pub(crate) slots: u64,
    /// Items each of their slots is given.
    pub(crate) per_slot: u64,
    /// Items in each, at most.
    pub(crate) items: u64,
}

impl Cut {
    /// Width and items of each.
    pub(crate) fn parts(self) -> impl Iterator<Item = (u64, u64)> {
        let (width, wider) = match self.mesos_tasks {
            0 => (0, 0),
            count => (self.slots / count, self.slots % count),
        };
        (0..self.mesos_tasks).map(move |position| {
            let width = width + u64::from(position < wider);
            (width, width.saturating_mul(self.per_slot).clamp(1, self.items))
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Sizer {
    batch: BatchSize,
    /// Seconds of a slot that one item takes.
    estimate: Option<f64>,
    /// Items that a slot may be given.
    ramp: u64,
}

impl Sizer {
    pub(crate) fn new(batch: BatchSize) -> Self {
        Self { batch, estimate: None, ramp: FIRST }
    }

    /// Seconds of a slot that one item takes, as far as is known.
    pub(crate) fn estimate(&self) -> Option<Duration> {
        self.estimate.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Learns from some results: each took this much of a slot.
    pub(crate) fn learn(&mut self, items: u64, each: Duration) {
        let sample = each.as_secs_f64().max(1e-6);
        let weight = (items as f64 / 64.0).clamp(0.05, 0.5);
        self.estimate =
            Some(self.estimate.map_or(sample, |known| known + (sample - known) * weight));
    }

    /// Learns that a batch of this size ended: the next may be larger.
    pub(crate) fn ended(&mut self, items: u64, width: u64) {
        let per_slot = items / width.max(1);
        self.ramp = self.ramp.max(per_slot.saturating_mul(GROWTH));
    }

    /// Cuts an agent's slots into Mesos tasks.
    pub(crate) fn cut(&self, room: Room, limits: &Limits) -> Cut {
        let slots = room.slots.min(room.waiting);
        let most = room.mesos_tasks.min(slots);
        if most == 0 {
            return Cut { mesos_tasks: 0, slots: 0, per_slot: 0, items: 0 };
        }
        let part = (room.slots + room.working).div_ceil(limits.parts_per_agent.max(1)).max(1);
        match self.batch {
            BatchSize::Fixed(items) => {
                let items = items.get();
                // With fewer batches than would fill all agents each agent gets its share.
                let batches = room.waiting.div_ceil(items);
                let enough = batches.saturating_mul(slots).div_ceil(room.new_slots.max(slots));
                let wanted = slots.div_ceil(part).max(slots.div_ceil(items));
                let mesos_tasks = wanted.min(most).min(enough);
                // A batch has no use for more slots than items.
                let slots = slots.min(mesos_tasks.saturating_mul(items));
                Cut { mesos_tasks, slots, per_slot: items, items }
            }
            BatchSize::Auto => {
                let whole = self.whole(room, limits);
                let per_slot = self.per_slot(room, whole);
                let wanted = slots.div_ceil(part).max(slots.div_ceil(whole));
                let mesos_tasks = wanted.min(most);
                Cut { mesos_tasks, slots, per_slot, items: limits.items_per_batch.max(1) }
            }
        }
    }

    /// Items that a slot runs in the time that a batch should take.
    fn whole(&self, room: Room, limits: &Limits) -> u64 {
        let Some(estimate) = self.estimate else { return u64::MAX };
        // So many agents that the control plane is the limit: longer batches.
        let mesos_tasks = (room.agents * limits.parts_per_agent) as f64;
        let spread = mesos_tasks / limits.mesos_tasks_per_second.max(1) as f64;
        let target = limits.batch_target.as_secs_f64().max(spread);
        ((target / estimate) as u64).max(1)
    }

    fn per_slot(&self, room: Room, whole: u64) -> u64 {
        let even = room.waiting.div_ceil(room.new_slots.max(room.slots).max(1));
        if self.estimate.is_none() {
            return FIRST.min(even).max(1);
        }
        let share = room.waiting.div_ceil(2 * room.all_slots.max(1));
        whole.min(self.ramp).min(share.max(whole / LEAST)).min(even).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn room(slots: u64, waiting: u64) -> Room {
        Room {
            slots,
            working: 0,
            mesos_tasks: 100,
            waiting,
            all_slots: slots,
            new_slots: slots,
            agents: 1,
        }
    }

    fn parts(sizer: &Sizer, room: Room) -> Vec<(u64, u64)> {
        sizer.cut(room, &Limits::default()).parts().collect()
    }

    fn fixed(items: u64) -> Sizer {
        Sizer::new(BatchSize::Fixed(NonZeroU64::new(items).unwrap()))
    }

    fn auto(milliseconds: u64, ramp: u64) -> Sizer {
        let mut sizer = Sizer::new(BatchSize::Auto);
        sizer.learn(100, Duration::from_millis(milliseconds));
        sizer.ended(ramp, 1);
        sizer
    }

    #[test]
    fn one_item_each() {
        assert_eq!(parts(&fixed(1), room(3, 10)), [(1, 1); 3]);
        assert_eq!(parts(&fixed(1), room(3, 2)), [(1, 1); 2]);
        assert_eq!(parts(&fixed(1), Room { mesos_tasks: 2, ..room(30, 100) }), [(1, 1); 2]);
        assert_eq!(parts(&fixed(1), room(0, 2)), []);
        assert_eq!(parts(&fixed(1), room(3, 0)), []);
    }

    #[test]
    fn fixed_sizes_split_an_agent() {
        assert_eq!(parts(&fixed(10), room(8, 100)), [(2, 10); 4]);
        assert_eq!(parts(&fixed(10), room(9, 100)), [(3, 10); 3]);
        assert_eq!(parts(&fixed(10), room(8, 15)), [(4, 10); 2]);
        assert_eq!(parts(&fixed(10), room(8, 5)), [(5, 10)]);
        assert_eq!(parts(&fixed(2), room(80, 1000)).len(), 40);
    }

    #[test]
    fn automatic_sizes_start_small() {
        assert_eq!(parts(&Sizer::new(BatchSize::Auto), room(8, 1000)), [(2, 4); 4]);
    }

    #[test]
    fn automatic_sizes_follow_durations() {
        assert_eq!(parts(&auto(2, 1000), room(8, 1_000_000)), [(2, 1000); 4]);
        assert_eq!(parts(&auto(2, 4), room(8, 1_000_000)), [(2, 64); 4], "growth is bounded");
        assert_eq!(parts(&auto(250, 1000), room(8, 1_000_000)), [(2, 8); 4]);
        assert_eq!(parts(&auto(500, 1000), room(80, 1_000_000)).len(), 40);
        assert_eq!(parts(&auto(1500, 1000), room(80, 1_000_000)), [(1, 1); 80], "alone");
    }

    #[test]
    fn the_end_is_shared() {
        let near = parts(&auto(2, 1000), room(8, 2000));
        assert_eq!(near, [(2, 250); 4]);
        let last = parts(&auto(2, 1000), room(8, 16));
        assert_eq!(last, [(2, 4); 4]);
    }

    #[test]
    fn many_agents_get_longer_batches() {
        let many = Room { agents: 1000, ..room(8, 1_000_000_000) };
        assert_eq!(parts(&auto(2, 10_000), many), [(2, 16_384); 4]);
    }

    #[test]
    fn a_part_that_came_free_stays_whole() {
        let freed = Room { working: 6, ..room(2, 1_000_000) };
        assert_eq!(parts(&auto(2, 1000), freed), [(2, 1000)]);
    }
}
