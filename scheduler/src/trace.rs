//! When each task of a run was sent, started and ended.
//!
//! Owns the list that measurements read afterwards, some forty bytes for each
//! task. Refuses to draw conclusions. Fed by `run`, which keeps none unless it
//! is asked for: see [`run_traced`](crate::run_traced).

use std::{collections::HashMap, time::Duration};

use marmoset_proto::mesos::v1::TaskId;
use marmoset_scheduler_core::{Counters, TaskEnd};
use tokio::time::Instant;

/// What a run did, task by task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// In the order in which their ends became known.
    pub tasks: Vec<TaskTimes>,
    /// What went over the wire.
    pub counters: Counters,
}

/// The life of one task, by its last try, since the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskTimes {
    /// When the ACCEPT with its Mesos task was sent.
    pub accepted: Duration,
    /// When its process was started, if it was. By the agent's clock.
    pub started: Option<Duration>,
    /// When it ended. By the agent's clock.
    pub ended: Duration,
}

/// Collects a [`Trace`].
#[derive(Debug)]
pub(crate) struct Recorder {
    begun: Instant,
    accepted: HashMap<TaskId, Duration>,
    tasks: Vec<TaskTimes>,
}

impl Recorder {
    pub(crate) fn new(begun: Instant) -> Self {
        Self { begun, accepted: HashMap::new(), tasks: Vec::new() }
    }

    /// A Mesos task was sent.
    pub(crate) fn launched(&mut self, task: &TaskId, now: Instant) {
        self.accepted.insert(task.clone(), now - self.begun);
    }

    /// A task ended for good; one that was never sent has no times.
    pub(crate) fn ended(&mut self, end: &TaskEnd) {
        let Some(location) = &end.location else { return };
        let Some(accepted) = self.accepted.get(&location.task_id).copied() else { return };
        self.tasks.push(TaskTimes {
            accepted,
            started: end.launch.map(|launch| accepted + launch),
            ended: accepted + end.total,
        });
    }

    pub(crate) fn into_trace(self, counters: Counters) -> Trace {
        Trace { tasks: self.tasks, counters }
    }
}
