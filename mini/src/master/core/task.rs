//! What the master remembers of one task.
//!
//! ```text
//!  LAUNCH ─▶ STAGING ─▶ … states told by the agent … ─▶ terminal ─▶ acknowledged: completed
//!               resources charged ───────────────────────▶│ freed here, before the acknowledgement
//! ```
//!
//! `state` is the *latest* state the agent knows, which can be ahead of what the
//! scheduler has been told; `told` is what it was told last.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use marmoset_proto::{
    mesos::v1::{
        AgentId, ContainerInfo, DiscoveryInfo, ExecutorId, FrameworkId, HealthCheck, Labels,
        TaskId, TaskInfo, TaskState, TaskStatus, value::Scalar,
    },
    resources::Resources,
};

/// One task of a framework.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) name: String,
    pub(crate) framework_id: FrameworkId,
    pub(crate) agent_id: AgentId,
    /// None for a task of the built-in command executor.
    pub(crate) executor_id: Option<ExecutorId>,
    /// Charged to the agent while the latest state is not terminal; allocated to one role.
    pub(crate) resources: Resources,
    pub(crate) role: String,
    pub(crate) limits: BTreeMap<String, Scalar>,
    pub(crate) labels: Option<Labels>,
    pub(crate) discovery: Option<DiscoveryInfo>,
    pub(crate) container: Option<ContainerInfo>,
    pub(crate) health_check: Option<HealthCheck>,
    pub(crate) user: Option<String>,
    /// Latest state the agent knows.
    pub(crate) state: TaskState,
    /// Uuid and state of the update the scheduler was sent last.
    pub(crate) told: Option<(Bytes, TaskState)>,
    /// Updates so far, without data; a run of equal states keeps its newest.
    pub(crate) statuses: Vec<TaskStatus>,
}

impl Task {
    /// A task that passed validation and is on its way to the agent.
    pub(crate) fn launched(
        framework_id: &FrameworkId,
        info: &TaskInfo,
        executor_id: Option<ExecutorId>,
        resources: Resources,
        role: String,
    ) -> Self {
        let command = info
            .command
            .as_ref()
            .or_else(|| info.executor.as_ref().and_then(|executor| executor.command.as_ref()));
        Self {
            id: info.task_id.clone(),
            name: info.name.clone(),
            framework_id: framework_id.clone(),
            agent_id: info.agent_id.clone(),
            executor_id,
            resources,
            role,
            limits: info.limits.clone(),
            labels: info.labels.clone(),
            discovery: info.discovery.clone(),
            container: info.container.clone(),
            health_check: info.health_check.clone(),
            user: command.and_then(|command| command.user.clone()),
            state: TaskState::TaskStaging,
            told: None,
            statuses: Vec::new(),
        }
    }

    /// Notes an update in the history.
    pub(crate) fn record(&mut self, status: &TaskStatus) {
        let mut status = status.clone();
        status.data = None;
        match self.statuses.last_mut() {
            Some(last) if last.state == status.state => *last = status,
            Some(_) | None => self.statuses.push(status),
        }
    }
}

/// The newest tasks up to a bound, by id.
#[derive(Debug)]
pub(crate) struct TaskRing {
    bound: usize,
    order: VecDeque<TaskId>,
    tasks: BTreeMap<TaskId, Task>,
}

impl TaskRing {
    /// An empty ring.
    pub(crate) fn new(bound: usize) -> Self {
        Self { bound, order: VecDeque::new(), tasks: BTreeMap::new() }
    }

    /// Adds a task and forgets the oldest past the bound.
    pub(crate) fn insert(&mut self, task: Task) {
        if self.tasks.insert(task.id.clone(), task.clone()).is_none() {
            self.order.push_back(task.id);
        }
        while self.order.len() > self.bound {
            if let Some(oldest) = self.order.pop_front() {
                self.tasks.remove(&oldest);
            }
        }
    }

    /// Takes a task out.
    pub(crate) fn remove(&mut self, id: &TaskId) -> Option<Task> {
        let task = self.tasks.remove(id)?;
        self.order.retain(|known| known != id);
        Some(task)
    }

    /// Whether a task is in it.
    pub(crate) fn contains(&self, id: &TaskId) -> bool {
        self.tasks.contains_key(id)
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }
}
