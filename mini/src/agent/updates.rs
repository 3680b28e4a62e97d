//! The status updates the agent has taken over and not yet seen acknowledged.
//!
//! Owns one stream for each (framework, task): which uuids were received, what
//! is pending, when the head is sent again. It refuses to know tasks and
//! executors; whether an update is acceptable is decided before it gets here.
//! Called by the agent's core. Behaviour: Mesos 1.11,
//! `src/slave/task_status_update_manager.cpp`.
//!
//! ```text
//!             receive                    acknowledge(head), more pending
//!   (none) ───────────▶ head in flight ─────────────────────┐
//!                        │  ▲   ▲ └── timer: send again,     │
//!                        │  │   │     interval doubles       │
//!                        │  │   └────────────────────────────┘
//!     acknowledge(head), │  │ receive
//!     none pending       ▼  │
//!                        drained          acknowledge(terminal head) ──▶ (none)
//! ```
//!
//! * *head in flight*: the first pending update was given to the master; no
//!   other of the task is, until the scheduler acknowledges it.
//! * *drained*: nothing is pending, the uuids are remembered so that a
//!   repetition is recognised.
//! * A terminal acknowledgement ends the stream, with whatever is behind it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::mesos::v1::{ExecutorId, FrameworkId, TaskId, TaskState, TaskStatus};

use super::timers::Timers;

/// First and longest interval between two sendings of one update.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// After the first sending; doubles from there.
    pub(crate) first: Duration,
    /// Never longer than this.
    pub(crate) longest: Duration,
}

/// Whose updates a stream holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    /// Owner of the task.
    pub(crate) framework: FrameworkId,
    /// The task.
    pub(crate) task: TaskId,
}

/// An update on its way to the master.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forward {
    /// Whose update it is.
    pub(crate) key: StreamKey,
    /// Custom executor of the task.
    pub(crate) executor: Option<ExecutorId>,
    /// The update.
    pub(crate) status: TaskStatus,
    /// State of the newest update received for the task.
    pub(crate) latest: TaskState,
}

/// What became of an update that was handed in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Receipt {
    /// Its uuid was received before; nothing is sent.
    Duplicate,
    /// It waits behind another one, or for the master.
    Queued,
    /// It is to be sent now.
    Forward(Box<Forward>),
}

/// What an acknowledgement of the scheduler meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Acknowledgement {
    /// No such stream, or not the uuid of the update in flight.
    Ignored,
    /// The update in flight is done; perhaps the next one is to be sent.
    Next(Option<Box<Forward>>),
    /// The terminal update is done, the stream is gone.
    Terminal,
}

#[derive(Debug)]
struct Stream {
    executor: Option<ExecutorId>,
    received: BTreeSet<Bytes>,
    pending: VecDeque<TaskStatus>,
    latest: TaskState,
    interval: Duration,
}

/// All streams of one agent.
#[derive(Debug)]
pub(crate) struct UpdateStreams {
    retry: Retry,
    paused: bool,
    streams: BTreeMap<StreamKey, Stream>,
    timers: Timers<StreamKey>,
}

impl UpdateStreams {
    /// Makes a set without streams, paused until there is a master.
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, paused: true, streams: BTreeMap::new(), timers: Timers::new() }
    }

    /// Takes an update over.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        key: StreamKey,
        executor: Option<ExecutorId>,
        status: TaskStatus,
    ) -> Receipt {
        let first = self.retry.first;
        let stream = self.streams.entry(key.clone()).or_insert_with(|| Stream {
            executor,
            received: BTreeSet::new(),
            pending: VecDeque::new(),
            latest: status.state(),
            interval: first,
        });
        if !stream.received.insert(uuid_of(&status)) {
            return Receipt::Duplicate;
        }
        stream.latest = status.state();
        stream.pending.push_back(status);
        if stream.pending.len() > 1 || self.paused {
            return Receipt::Queued;
        }
        match self.start(now, key) {
            Some(forward) => Receipt::Forward(forward),
            None => Receipt::Queued,
        }
    }

    /// Handles the scheduler's acknowledgement.
    pub(crate) fn acknowledge(
        &mut self,
        now: Instant,
        key: &StreamKey,
        uuid: &Bytes,
    ) -> Acknowledgement {
        let Some(stream) = self.streams.get_mut(key) else { return Acknowledgement::Ignored };
        match stream.pending.front() {
            Some(head) if head.uuid.as_ref() == Some(uuid) => {}
            Some(_) | None => return Acknowledgement::Ignored,
        }
        let terminal = stream.pending.pop_front().is_some_and(|head| head.state().is_terminal());
        self.timers.clear(key);
        if terminal {
            self.streams.remove(key);
            return Acknowledgement::Terminal;
        }
        if self.paused {
            return Acknowledgement::Next(None);
        }
        Acknowledgement::Next(self.start(now, key.clone()))
    }

    /// Tells when [`UpdateStreams::handle_wake`] has something to send.
    pub(crate) fn poll_wake(&self) -> Option<Instant> {
        if self.paused { None } else { self.timers.next() }
    }

    /// Yields the updates whose acknowledgement is overdue.
    pub(crate) fn handle_wake(&mut self, now: Instant) -> Vec<Forward> {
        let mut due = Vec::new();
        if self.paused {
            return due;
        }
        while let Some(key) = self.timers.pop_due(now) {
            let Some(stream) = self.streams.get_mut(&key) else { continue };
            stream.interval = (stream.interval * 2).min(self.retry.longest);
            let Some(forward) = head_of(&key, stream) else { continue };
            self.timers.set(key, now + stream.interval);
            due.push(forward);
        }
        due
    }

    /// Stops sending while there is no master.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
        self.timers.clear_all();
    }

    /// Starts sending again: yields the heads of all streams.
    pub(crate) fn resume(&mut self, now: Instant) -> Vec<Forward> {
        self.paused = false;
        let keys = self.streams.keys().cloned().collect();
        self.restart(now, keys)
    }

    /// Yields the heads of one framework, whose scheduler is back.
    pub(crate) fn resend(&mut self, now: Instant, framework: &FrameworkId) -> Vec<Forward> {
        if self.paused {
            return Vec::new();
        }
        let keys = self.keys_of(framework);
        self.restart(now, keys)
    }

    /// Drops all streams of a framework.
    pub(crate) fn remove_framework(&mut self, framework: &FrameworkId) {
        for key in self.keys_of(framework) {
            self.timers.clear(&key);
            self.streams.remove(&key);
        }
    }

    /// Yields the frameworks that have updates pending.
    pub(crate) fn frameworks(&self) -> BTreeSet<FrameworkId> {
        self.streams
            .iter()
            .filter(|(_, stream)| !stream.pending.is_empty())
            .map(|(key, _)| key.framework.clone())
            .collect()
    }

    fn keys_of(&self, framework: &FrameworkId) -> Vec<StreamKey> {
        let from = StreamKey { framework: framework.clone(), task: TaskId::default() };
        self.streams
            .range(from..)
            .take_while(|(key, _)| key.framework == *framework)
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn restart(&mut self, now: Instant, keys: Vec<StreamKey>) -> Vec<Forward> {
        keys.into_iter().filter_map(|key| self.start(now, key)).map(|forward| *forward).collect()
    }

    /// Sends the head with a fresh interval.
    fn start(&mut self, now: Instant, key: StreamKey) -> Option<Box<Forward>> {
        let stream = self.streams.get_mut(&key)?;
        let forward = head_of(&key, stream)?;
        stream.interval = self.retry.first;
        self.timers.set(key, now + self.retry.first);
        Some(Box::new(forward))
    }
}

fn head_of(key: &StreamKey, stream: &Stream) -> Option<Forward> {
    let status = stream.pending.front()?.clone();
    Some(Forward {
        key: key.clone(),
        executor: stream.executor.clone(),
        status,
        latest: stream.latest,
    })
}

fn uuid_of(status: &TaskStatus) -> Bytes {
    status.uuid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests;
