//! One batch: which items wait, run, and have ended, and when to report.
//!
//! Owns the items, the slots with their ports, and the results that were not
//! sent. Refuses to know about updates and processes: the core asks it what to
//! start and whether to report, and tells it how runs ended.
//!
//! ```text
//!   item:   waiting ── a slot is free ──▶ running ── ended ──▶ result ──▶ in a report
//!              │ taken back                                       ▲
//!              ├─────────────▶ returned ──▶ in a report           │
//!              └── killed ────────────────────────────────────────┘
//! ```
//!
//! A batch is over when nothing waits and nothing runs; its terminal update
//! goes out when the rest of the results fits it.

mod slots;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::{
    item,
    marmoset::v1::{IndexRange, Item},
    mesos::v1::{TaskId, TaskState},
};

use self::slots::{Room, Slots};
use crate::{
    action::{Action, Spawn},
    config::REPORT_INTERVAL_MIN,
    ids::RunId,
    items::Selection,
    results::{REPORT_BYTES_MAX, Results, item_result},
    runs::{KILLED_BEFORE_START, Outcome, Owner, Part, Runs},
    spec::BatchSpec,
    time::WallTime,
};

/// No new item starts while this much waits to be reported: the agent is away.
const UNREPORTED_BYTES_MAX: usize = 8 * REPORT_BYTES_MAX;

/// A batch that is not over.
#[derive(Debug)]
pub(crate) struct Batch {
    spec: BatchSpec,
    received: WallTime,
    slots: Slots,
    running: BTreeMap<u64, RunId>,
    /// Items that were given away ahead of time, as long as they may come back.
    ahead: BTreeMap<u64, Item>,
    /// Those of them that go back to the scheduler if they do.
    taken_back: BTreeSet<u64>,
    results: Results,
    counts: Counts,
    /// Whether the whole Mesos task was killed.
    killed: bool,
    reported: Option<Instant>,
    /// Whether somebody waits for the next report.
    urgent: bool,
}

/// How the items ended so far.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    finished: u64,
    failed: u64,
    killed: u64,
    returned: u64,
}

impl Batch {
    pub(crate) fn new(spec: BatchSpec, received: WallTime) -> Self {
        let slots = Slots::new(spec.width);
        Self {
            spec,
            received,
            slots,
            running: BTreeMap::new(),
            ahead: BTreeMap::new(),
            taken_back: BTreeSet::new(),
            results: Results::default(),
            counts: Counts::default(),
            killed: false,
            reported: None,
            urgent: false,
        }
    }

    /// How many items have not been started.
    pub(crate) fn waiting(&self) -> u64 {
        self.spec.pending.len()
    }

    /// Queues runs for free slots, and gives short ones away ahead of time.
    pub(crate) fn fill(
        &mut self,
        now: Instant,
        task: &TaskId,
        grace: Duration,
        runs: &mut Runs,
        actions: &mut VecDeque<Action>,
    ) {
        let limit = self.spec.limit;
        while self.has_room()
            && !self.spec.pending.is_empty()
            && let Some(slot) = self.slots.free()
        {
            let room = Room { slot, strand: runs.new_strand() };
            let item = self.spec.pending.next().expect("not empty");
            let owner = owner(task, &item, slot);
            let index = item.index;
            let run = runs.add(owner, limit, grace, |run| self.spawn(run, item, room));
            self.running.insert(index, run);
            self.slots.add(now, room, run);
        }
        if !self.spec.template.goes_behind() {
            self.slots.close();
            return;
        }
        while self.has_room()
            && let Some(room) = self.slots.room_behind(self.spec.pending.len())
        {
            let item = self.spec.pending.next().expect("there is room for what waits");
            let owner = owner(task, &item, room.slot);
            let index = item.index;
            self.ahead.insert(index, item.clone());
            let spawn = |run| self.spawn(run, item, room);
            let run = runs.add_behind(owner, limit, grace, spawn, actions);
            self.running.insert(index, run);
            self.slots.add(now, room, run);
        }
    }

    fn has_room(&self) -> bool {
        self.results.bytes() < UNREPORTED_BYTES_MAX
    }

    /// Asks for the runs back that have waited for too long for the one before them. To be called
    /// again at the time that is given.
    pub(crate) fn recall(
        &mut self,
        now: Instant,
        runs: &Runs,
        actions: &mut VecDeque<Action>,
    ) -> Option<Instant> {
        self.slots.stalled(now).into_iter().for_each(|run| runs.recall(run, actions));
        self.slots.look_at()
    }

    fn spawn(&self, run: RunId, item: Item, room: Room) -> Spawn {
        let each = self.spec.ports_each;
        let first = room.slot as usize * each;
        Spawn {
            run,
            template: self.spec.template.clone(),
            task: item::task_id(&self.spec.job, item.index, item.attempt()),
            item: Some(item),
            ports: self.spec.ports[first..first + each].to_vec(),
            strand: Some(room.strand),
        }
    }

    /// Handles the start of a run: it cannot come back. Tells whether others may go behind it.
    pub(crate) fn handle_started(&mut self, now: Instant, index: u64, slot: u32) -> bool {
        self.ahead.remove(&index);
        self.running.get(&index).is_some_and(|run| self.slots.started(now, slot, *run))
    }

    /// Handles the end of one item's run.
    pub(crate) fn handle_ended(
        &mut self,
        now: Instant,
        (index, attempt, slot): (u64, u32, u32),
        outcome: &Outcome,
    ) {
        let took = outcome
            .started
            .map(|started| Duration::from_micros(outcome.ended.micros_since(started)));
        self.leave(now, index, slot, took);
        self.taken_back.remove(&index);
        self.record(index, attempt, outcome);
    }

    /// Handles that an item is back that was given away ahead of time.
    pub(crate) fn handle_returned(&mut self, now: Instant, index: u64, slot: u32) {
        let taken_back = self.taken_back.remove(&index);
        match self.leave(now, index, slot, None) {
            Some(item) if taken_back => {
                self.counts.returned += 1;
                let index = item.index;
                self.results.push_returned(&IndexRange { begin: index, end: index });
            }
            Some(item) => self.spec.pending.put_back(item),
            None => {}
        }
    }

    fn leave(
        &mut self,
        now: Instant,
        index: u64,
        slot: u32,
        took: Option<Duration>,
    ) -> Option<Item> {
        if let Some(run) = self.running.remove(&index) {
            self.slots.remove(now, slot, run, took);
        }
        self.ahead.remove(&index)
    }

    /// Marks the whole Mesos task as killed. False if it was before.
    pub(crate) fn mark_killed(&mut self) -> bool {
        !std::mem::replace(&mut self.killed, true)
    }

    /// Ends the selected items that wait, with a result, and names the runs of those that run.
    pub(crate) fn kill(&mut self, now: WallTime, selection: &Selection) -> Vec<RunId> {
        self.urgent = true;
        let taken = self.spec.pending.take(selection);
        let message = KILLED_BEFORE_START.to_string();
        let outcome = Outcome::without_process(TaskState::TaskKilled, message, now);
        for (index, attempt) in taken.indices() {
            self.record(index, attempt, &outcome);
        }
        let running = self.running.iter().filter(|(index, _)| selection.contains(**index));
        running.map(|(_, run)| *run).collect()
    }

    /// Gives the selected items back that wait, and names the runs of those that the runtime has
    /// and may not have started.
    pub(crate) fn take_back(&mut self, selection: &Selection) -> Vec<RunId> {
        self.urgent = true;
        let taken = self.spec.pending.take(selection);
        self.counts.returned += taken.len();
        for range in taken.to_ranges() {
            self.results.push_returned(&range);
        }
        let ahead = self.ahead.keys().copied().filter(|index| selection.contains(*index));
        let ahead = ahead.collect::<Vec<_>>();
        self.taken_back.extend(&ahead);
        // The last ones first: none of them moves up meanwhile.
        ahead.iter().rev().filter_map(|index| self.running.get(index).copied()).collect()
    }

    /// Whether nothing waits and nothing runs.
    pub(crate) fn is_over(&self) -> bool {
        self.running.is_empty() && self.spec.pending.is_empty()
    }

    /// Whether the terminal update can go out: nothing is left, and the rest of the results fits.
    pub(crate) fn can_end(&self) -> bool {
        self.is_over() && self.results.is_one_report()
    }

    /// When a report may go out, if there is something to report.
    pub(crate) fn report_at(&self, now: Instant, interval: Duration) -> Option<Instant> {
        let hurry = self.urgent || self.is_over() || !self.results.is_one_report();
        let interval = if hurry { REPORT_INTERVAL_MIN } else { interval.max(REPORT_INTERVAL_MIN) };
        (!self.results.is_empty()).then(|| self.reported.map_or(now, |last| last + interval))
    }

    /// Starts the interval before the next report.
    pub(crate) fn start_interval(&mut self, now: Instant) {
        self.reported = Some(now);
    }

    /// Takes the next report's data.
    pub(crate) fn take_report(&mut self) -> Bytes {
        self.urgent = false;
        self.results.take_report(self.received)
    }

    /// The state and the message of the terminal update.
    pub(crate) fn ending(&self) -> (TaskState, String) {
        let Counts { finished, failed, killed, returned } = self.counts;
        let state = if self.killed { TaskState::TaskKilled } else { TaskState::TaskFinished };
        let total = finished + failed + killed + returned;
        let mut message = format!("{total} items: {finished} finished");
        for (count, word) in [(failed, "failed"), (killed, "killed"), (returned, "returned")] {
            if count > 0 {
                message.push_str(&format!(", {count} {word}"));
            }
        }
        (state, message)
    }

    fn record(&mut self, index: u64, attempt: u32, outcome: &Outcome) {
        *match outcome.state {
            TaskState::TaskFinished => &mut self.counts.finished,
            TaskState::TaskKilled => &mut self.counts.killed,
            _ => &mut self.counts.failed,
        } += 1;
        self.results.push(&item_result(index, attempt, outcome, self.received));
    }
}

fn owner(task: &TaskId, item: &Item, slot: u32) -> Owner {
    let part = Part::Item { index: item.index, attempt: item.attempt(), slot };
    Owner { task: task.clone(), part }
}
