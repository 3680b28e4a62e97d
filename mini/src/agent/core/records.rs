//! What the agent remembers: frameworks, their executors, their tasks.
//!
//! Plain records with the queries that need no more than one of them. Decisions
//! are made by the other files of the core.
//!
//! ```text
//!                 SUBSCRIBE             SHUTDOWN sent, or destroy begun
//!   Registering ─────────────▶ Running ──────────────────────────────▶ Terminating
//!        │  └──────────────────────────────────────────────────────────────▲  │
//!        │                        │ process ended                             │
//!        └────────────────────────┴───────────────▶ Terminated ◀──────────────┘
//! ```
//!
//! * *Registering*: tasks are queued; so is every executor a restarted agent finds.
//! * *Running*: events flow (perhaps into a dead connection: the agent does not notice).
//! * *Terminating*: nothing is delivered any more, new tasks are refused.
//! * *Terminated*: the record stays until the updates of its tasks are acknowledged.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use marmoset_proto::mesos::v1::{
    ContainerId, ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo, Resource, TaskGroupInfo,
    TaskId, TaskInfo, TaskState, TaskStatus, framework_info,
};

use super::{StreamId, update::Verdict};
use crate::config::Containerizer;

/// Finished tasks of an executor that stay visible.
const COMPLETED_TASKS: usize = 200;
/// Finished executors of a framework that stay visible.
const COMPLETED_EXECUTORS: usize = 150;

/// Id of one run of one executor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Container(pub(crate) String);

impl Container {
    /// As messages carry it.
    pub(crate) fn to_proto(&self) -> ContainerId {
        ContainerId { value: self.0.clone(), ..ContainerId::default() }
    }
}

/// One framework on this agent.
#[derive(Debug)]
pub(crate) struct Framework {
    /// Its id.
    pub(crate) id: FrameworkId,
    /// As the master gave it.
    pub(crate) info: FrameworkInfo,
    /// Removed by the master: updates are dropped, executors end.
    pub(crate) terminating: bool,
    /// By id.
    pub(crate) executors: BTreeMap<ExecutorId, Executor>,
    /// Which executor has a task that is queued, launched or not acknowledged.
    pub(crate) owners: BTreeMap<TaskId, ExecutorId>,
    /// Finished ones, oldest first.
    pub(crate) completed: VecDeque<Executor>,
}

impl Framework {
    pub(super) fn new(id: FrameworkId, info: FrameworkInfo) -> Self {
        Self {
            id,
            info,
            terminating: false,
            executors: BTreeMap::new(),
            owners: BTreeMap::new(),
            completed: VecDeque::new(),
        }
    }

    /// Whether the master removed it.
    pub(crate) fn is_terminating(&self) -> bool {
        self.terminating
    }

    pub(super) fn checkpoints(&self) -> bool {
        self.info.checkpoint()
    }

    pub(super) fn owner(&mut self, task: &TaskId) -> Option<&mut Executor> {
        self.executors.get_mut(self.owners.get(task)?)
    }

    pub(super) fn retire(&mut self, executor: Executor) {
        if self.completed.len() == COMPLETED_EXECUTORS {
            self.completed.pop_front();
        }
        self.completed.push_back(executor);
    }
}

/// Whether the framework can be told apart from one that only knows TASK_LOST.
pub(super) fn is_partition_aware(info: &FrameworkInfo) -> bool {
    info.capabilities
        .iter()
        .any(|capability| capability.r#type() == framework_info::capability::Type::PartitionAware)
}

/// Who wrote the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The agent made it up for a task with a command; the master does not know it.
    Command,
    /// The framework.
    Custom,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for SUBSCRIBE.
    Registering,
    /// Subscribed on this stream.
    Running(StreamId),
    /// On its way out; the stream it had.
    Terminating(Option<StreamId>),
    /// Its process is gone.
    Terminated,
}

/// One run of one executor.
#[derive(Debug)]
pub(crate) struct Executor {
    /// Its id.
    pub(crate) id: ExecutorId,
    /// As given, or as made up for a command task.
    pub(crate) info: ExecutorInfo,
    /// Custom or built in.
    pub(crate) kind: Kind,
    /// This run.
    pub(crate) container: Container,
    /// The sandbox.
    pub(crate) directory: PathBuf,
    /// See the module.
    pub(crate) phase: Phase,
    /// Single tasks not delivered yet.
    pub(crate) queued: VecDeque<TaskInfo>,
    /// Groups not delivered yet.
    pub(crate) queued_groups: VecDeque<TaskGroupInfo>,
    /// Delivered and not terminal.
    pub(crate) launched: BTreeMap<TaskId, Task>,
    /// Terminal, the update not acknowledged by the scheduler.
    pub(crate) terminated: BTreeMap<TaskId, Task>,
    /// Done with, oldest first.
    pub(crate) completed: VecDeque<Task>,
    /// Whether a task was ever delivered.
    pub(crate) sent_task: bool,
    /// First process of the container.
    pub(crate) pid: Option<u32>,
    /// Who has the container; nobody if none of the agent's would.
    pub(crate) containerizer: Option<Containerizer>,
    /// Why its tasks fail when it ends, if not for the end itself.
    pub(crate) verdict: Option<Verdict>,
}

impl Executor {
    pub(super) fn new(
        info: ExecutorInfo,
        kind: Kind,
        container: Container,
        directory: PathBuf,
        containerizer: Option<Containerizer>,
    ) -> Self {
        Self {
            id: info.executor_id.clone(),
            info,
            kind,
            container,
            directory,
            phase: Phase::Registering,
            queued: VecDeque::new(),
            queued_groups: VecDeque::new(),
            launched: BTreeMap::new(),
            terminated: BTreeMap::new(),
            completed: VecDeque::new(),
            sent_task: false,
            pid: None,
            containerizer,
            verdict: None,
        }
    }

    pub(super) fn custom_id(&self) -> Option<ExecutorId> {
        match self.kind {
            Kind::Custom => Some(self.id.clone()),
            Kind::Command => None,
        }
    }

    /// Whether an agent that starts again finds it.
    ///
    /// The Docker containerizer looks for a pid that only executors of the old protocol leave
    /// behind, and the built-in one.
    pub(super) fn is_recovered(&self) -> bool {
        match (self.containerizer, self.kind) {
            (Some(Containerizer::Docker), Kind::Custom) => false,
            (Some(Containerizer::Docker), Kind::Command)
            | (Some(Containerizer::Mesos) | None, Kind::Custom | Kind::Command) => {
                self.phase != Phase::Terminated
            }
        }
    }

    /// Tasks not delivered yet, in the order of their delivery.
    pub(crate) fn queued_tasks(&self) -> impl Iterator<Item = &TaskInfo> {
        self.queued.iter().chain(self.queued_groups.iter().flat_map(|group| &group.tasks))
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queued.is_empty() || !self.queued_groups.is_empty()
    }

    /// Ids of the group that a queued task is in, or of the task alone.
    pub(super) fn queued_with(&self, id: &TaskId) -> Option<QueuedWith> {
        if self.queued.iter().any(|task| task.task_id == *id) {
            return Some(QueuedWith::Alone);
        }
        let group =
            self.queued_groups.iter().find(|group| group.tasks.iter().any(|t| t.task_id == *id))?;
        Some(QueuedWith::Group(group.tasks.iter().map(|task| task.task_id.clone()).collect()))
    }

    /// Takes a task out of the queue; the rest of its group stays.
    pub(super) fn unqueue(&mut self, id: &TaskId) -> Option<TaskInfo> {
        if let Some(at) = self.queued.iter().position(|task| task.task_id == *id) {
            return self.queued.remove(at);
        }
        let group = self
            .queued_groups
            .iter_mut()
            .find(|group| group.tasks.iter().any(|task| task.task_id == *id))?;
        let at = group.tasks.iter().position(|task| task.task_id == *id)?;
        let task = group.tasks.remove(at);
        self.queued_groups.retain(|group| !group.tasks.is_empty());
        Some(task)
    }

    pub(super) fn complete(&mut self, id: &TaskId) {
        let Some(task) = self.terminated.remove(id) else { return };
        if self.completed.len() == COMPLETED_TASKS {
            self.completed.pop_front();
        }
        self.completed.push_back(task);
    }

    /// Whether a task of it is not done with.
    pub(super) fn is_busy(&self) -> bool {
        self.has_queued() || !self.launched.is_empty() || !self.terminated.is_empty()
    }

    /// What its container holds now: itself, queued and live tasks.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Resource> {
        let over = self.phase == Phase::Terminated;
        let tasks = self
            .queued_tasks()
            .flat_map(|task| &task.resources)
            .chain(self.launched.values().flat_map(|task| &task.info.resources));
        self.info.resources.iter().chain(tasks.filter(move |_| !over))
    }
}

/// With what a queued task would be delivered.
#[derive(Debug)]
pub(super) enum QueuedWith {
    Alone,
    Group(Vec<TaskId>),
}

/// One task of an executor.
#[derive(Debug)]
pub(crate) struct Task {
    /// Without its payload.
    pub(crate) info: TaskInfo,
    /// Newest state.
    pub(crate) state: TaskState,
    /// Updates without their payloads; equal states in a row replace each other.
    pub(crate) statuses: Vec<TaskStatus>,
}

impl Task {
    pub(super) fn new(info: &TaskInfo) -> Self {
        let info = TaskInfo { data: None, ..info.clone() };
        Self { info, state: TaskState::TaskStaging, statuses: Vec::new() }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.state.is_terminal()
    }

    pub(super) fn record(&mut self, status: &TaskStatus) {
        self.state = status.state();
        let status = TaskStatus { data: None, ..status.clone() };
        match self.statuses.last_mut() {
            Some(last) if last.state == status.state => *last = status,
            Some(_) | None => self.statuses.push(status),
        }
    }
}
