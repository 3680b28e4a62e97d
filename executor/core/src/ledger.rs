//! The update ledger: every status update from its creation to its acknowledgement.
//!
//! Owns the updates, their order, and who is sent next over which connection.
//! Refuses to know what a task is: it sees ids, and whether an update is the last
//! one. Called by the core, which turns what is polled here into UPDATE calls and
//! SUBSCRIBEs.
//!
//! ```text
//!         no room          hold is over          polled               call done
//!   add ─────────▶ Held ─────────────────▶ Ready ─────────▶ Calling ───────────────▶ Sent
//!    │              │                      ▲ │                 │    call failed       │
//!    │ a later one  │      room, or not    │ │ a later one     │   or disconnected    │
//!    │ of the task: ▼        light         │ ▼                 └──────────────────────┤
//!    │           dropped                   │ dropped                                  │ acknowledged
//!    └─────────────────────────────────────┘                                          ▼
//!   every place ── a SUBSCRIBE is made ──▶ Sent                                    removed
//! ```
//!
//! * **Held**: may be dropped, and waits a moment for that to happen.
//! * **Ready**: goes out with the next call of its lane. May still be dropped.
//! * **Calling**: given to the edge. From here on the agent may know it: it stays.
//! * **Sent**: the agent may have it, and has not said so.
//!
//! Only an update without results is ever dropped, and only under
//! [`UpdatePolicy::Coalesce`]. What a check has found is dropped under every policy,
//! but for nothing less than the next finding of the same check: so that an agent
//! that does not listen finds two of them for each task, not thousands. Updates of one
//! task leave in the order they came: they are bound to one lane as long as one of
//! them is here. When the last of them is acknowledged, the agent has them all, and
//! the next may take any.

mod lanes;
mod pace;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::mesos::v1::{TaskId, TaskStatus, executor::call};
use prost::Message as _;

use self::{lanes::Lanes, pace::Pace};
use crate::{
    config::{Config, UpdatePolicy},
    ids::{CallId, LaneId, UpdateId},
};

/// Position in the order of creation.
type Seq = u64;

/// What may be dropped, and what comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Says a state that another is about to follow. Always held.
    Passing,
    /// Says a state and nothing else. Held where there are many.
    Light,
    /// Says what a check of the task has found.
    Finding,
    /// Carries results.
    Results,
    /// The last update of its task.
    Terminal,
}

/// An acknowledgement, as the ledger sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// No such update of that task waits.
    Unknown,
    /// An update that others follow.
    Earlier,
    /// The last one: the task may be forgotten.
    Last,
}

/// All updates that are not acknowledged.
#[derive(Debug)]
pub(crate) struct Ledger {
    policy: UpdatePolicy,
    hold: Duration,
    pace: Pace,
    last: Seq,
    last_call: CallId,
    /// Boxed: a map of large values is mostly room for more.
    entries: BTreeMap<Seq, Box<Entry>>,
    by_id: BTreeMap<UpdateId, Seq>,
    by_task: BTreeMap<TaskId, Line>,
    held: BTreeSet<(Instant, Seq)>,
    lanes: Lanes,
    /// Entries in `Sent` that are still trusted to be acknowledged.
    trusted: BTreeSet<(Instant, Seq)>,
}

/// One task's updates.
#[derive(Debug, Default)]
struct Line {
    /// Where all of them go, once one is ready.
    lane: Option<LaneId>,
    /// In their order.
    seqs: VecDeque<Seq>,
}

#[derive(Debug)]
struct Entry {
    id: UpdateId,
    task: TaskId,
    reason: Option<i32>,
    /// As bytes: a fifth of the memory while thousands wait.
    status: Bytes,
    weight: Weight,
    place: Place,
}

impl Entry {
    fn status(&self) -> TaskStatus {
        TaskStatus::decode(self.status.clone()).expect("it was written by us")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Held { until: Instant },
    Ready { lane: LaneId },
    Calling,
    Sent { trusted: Option<Instant> },
}

impl Ledger {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            policy: config.updates,
            hold: config.update_hold,
            pace: Pace::new(config.update_pace),
            last: 0,
            last_call: CallId::default(),
            entries: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_task: BTreeMap::new(),
            held: BTreeSet::new(),
            lanes: Lanes::new(config.update_connections),
            trusted: BTreeSet::new(),
        }
    }

    /// Whether an update of this weight would be sent at all.
    pub(crate) fn wants(&self, weight: Weight) -> bool {
        match (self.policy, weight) {
            (UpdatePolicy::Terminal, Weight::Passing | Weight::Light) => false,
            (UpdatePolicy::Terminal, Weight::Finding | Weight::Results | Weight::Terminal)
            | (UpdatePolicy::All | UpdatePolicy::Coalesce, _) => true,
        }
    }

    /// Takes an update in, and drops those that it makes superfluous.
    pub(crate) fn add(&mut self, now: Instant, id: UpdateId, status: TaskStatus, weight: Weight) {
        let task = status.task_id.clone();
        if self.policy == UpdatePolicy::Coalesce || weight == Weight::Finding {
            self.drop_superseded(&task, weight, status.reason);
        }
        self.last += 1;
        let seq = self.last;
        let held = self.policy == UpdatePolicy::Coalesce
            && match weight {
                Weight::Passing => true,
                Weight::Light => !self.pace.has_room(now),
                Weight::Finding | Weight::Results | Weight::Terminal => false,
            };
        let until = now + self.hold;
        self.by_id.insert(id, seq);
        self.by_task.entry(task).or_default().seqs.push_back(seq);
        let (reason, place) = (status.reason, Place::Held { until });
        let (task, status) = (status.task_id.clone(), Bytes::from(status.encode_to_vec()));
        let entry = Entry { id, task, reason, status, weight, place };
        self.entries.insert(seq, Box::new(entry));
        if held {
            self.held.insert((until, seq));
        } else {
            self.make_ready(now, seq);
        }
    }

    /// Gives the next update to send, if its lane is free.
    pub(crate) fn poll_call(&mut self, now: Instant) -> Option<(CallId, LaneId, TaskStatus)> {
        self.release(now);
        let entries = &self.entries;
        let is_ready =
            |seq| entries.get(&seq).is_some_and(|entry| matches!(entry.place, Place::Ready { .. }));
        let (lane, seq) = self.lanes.take(is_ready)?;
        let call = self.last_call.next();
        self.lanes.begin(lane, call, seq);
        let entry = self.entries.get_mut(&seq).expect("what is ready exists");
        entry.place = Place::Calling;
        Some((call, lane, entry.status()))
    }

    /// The agent took the call. False if nobody waits for that any more.
    pub(crate) fn call_done(&mut self, now: Instant, call: CallId) -> bool {
        let Some(seq) = self.lanes.end(call) else { return false };
        self.mark_sent(now, seq);
        true
    }

    /// Nobody will hear of the calls that are on their way. Their updates stay.
    pub(crate) fn forget_calls(&mut self, now: Instant) {
        for seq in self.lanes.end_all() {
            self.mark_sent(now, seq);
        }
        // The stream is gone: no use in missing acknowledgements.
        self.trusted.clear();
        for entry in self.entries.values_mut() {
            if let Place::Sent { trusted } = &mut entry.place {
                *trusted = None;
            }
        }
    }

    /// Whether this call is on its way.
    pub(crate) fn is_calling(&self, call: CallId) -> bool {
        self.lanes.is_calling(call)
    }

    /// All updates in the order of their creation, for a SUBSCRIBE: they count as sent.
    pub(crate) fn for_subscription(&mut self, now: Instant) -> Vec<call::Update> {
        self.forget_calls(now);
        self.held.clear();
        self.lanes.clear_ready();
        // Other connections, to an agent that has them all in their order.
        self.by_task.values_mut().for_each(|line| line.lane = None);
        self.entries
            .values_mut()
            .map(|entry| {
                entry.place = Place::Sent { trusted: None };
                call::Update { status: entry.status() }
            })
            .collect()
    }

    /// The agent has taken an update over.
    pub(crate) fn acknowledge(&mut self, task: &TaskId, id: UpdateId) -> Acknowledged {
        let Some(&seq) = self.by_id.get(&id) else { return Acknowledged::Unknown };
        if self.entries[&seq].task != *task {
            return Acknowledged::Unknown;
        }
        match self.remove(seq) {
            Weight::Terminal => Acknowledged::Last,
            Weight::Passing | Weight::Light | Weight::Finding | Weight::Results => {
                Acknowledged::Earlier
            }
        }
    }

    /// Whether results of this task were handed out, or are about to be, and not acknowledged.
    pub(crate) fn has_report(&self, task: &TaskId) -> bool {
        self.by_task.get(task).is_some_and(|line| {
            line.seqs.iter().any(|seq| self.entries[seq].weight == Weight::Results)
        })
    }

    /// How many updates are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether every update was at least handed out and its call came back.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.held.is_empty() && self.lanes.is_idle()
    }

    /// When the first held update is released.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.held.first().map(|(at, _)| *at)
    }

    /// When the oldest update that is trusted to be acknowledged was sent.
    pub(crate) fn oldest_sent(&self) -> Option<Instant> {
        self.trusted.first().map(|(at, _)| *at)
    }

    /// Gives up trust in the oldest: each update raises an alarm once per subscription.
    pub(crate) fn doubt_oldest(&mut self) -> Option<(TaskId, UpdateId)> {
        let (_, seq) = self.trusted.pop_first()?;
        let entry = self.entries.get_mut(&seq)?;
        entry.place = Place::Sent { trusted: None };
        Some((entry.task.clone(), entry.id))
    }

    fn release(&mut self, now: Instant) {
        while let Some(&(until, seq)) = self.held.first()
            && until <= now
        {
            self.held.pop_first();
            self.make_ready(now, seq);
        }
    }

    /// Lets an update wait for the lane of its task.
    fn make_ready(&mut self, now: Instant, seq: Seq) {
        self.pace.spend(now);
        let entry = self.entries.get_mut(&seq).expect("only what is here becomes ready");
        let line = self.by_task.get_mut(&entry.task).expect("each update has a line");
        let lane = *line.lane.get_or_insert_with(|| self.lanes.freest());
        entry.place = Place::Ready { lane };
        self.lanes.push(lane, seq);
    }

    fn mark_sent(&mut self, now: Instant, seq: Seq) {
        // Acknowledged before the call came back: it is gone already.
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.place = Place::Sent { trusted: Some(now) };
            self.trusted.insert((now, seq));
        }
    }

    /// Drops what an update of this weight and reason makes superfluous.
    fn drop_superseded(&mut self, task: &TaskId, weight: Weight, reason: Option<i32>) {
        let Some(line) = self.by_task.get(task) else { return };
        let superseded = line
            .seqs
            .iter()
            .copied()
            .filter(|seq| {
                let entry = &self.entries[seq];
                let superfluous = match entry.weight {
                    Weight::Passing | Weight::Light => self.policy == UpdatePolicy::Coalesce,
                    Weight::Finding => weight == Weight::Finding && entry.reason == reason,
                    Weight::Results | Weight::Terminal => false,
                };
                superfluous && matches!(entry.place, Place::Held { .. } | Place::Ready { .. })
            })
            .collect::<Vec<_>>();
        for seq in superseded {
            self.remove(seq);
        }
    }

    fn remove(&mut self, seq: Seq) -> Weight {
        let entry = self.entries.remove(&seq).expect("removed once");
        self.by_id.remove(&entry.id);
        match entry.place {
            Place::Held { until } => _ = self.held.remove(&(until, seq)),
            Place::Sent { trusted: Some(at) } => _ = self.trusted.remove(&(at, seq)),
            Place::Ready { lane } => self.lanes.drop_one(lane),
            Place::Calling | Place::Sent { trusted: None } => {}
        }
        let task = &entry.task;
        if let Some(line) = self.by_task.get_mut(task) {
            line.seqs.retain(|other| *other != seq);
            if line.seqs.is_empty() {
                self.by_task.remove(task);
            }
        }
        entry.weight
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
