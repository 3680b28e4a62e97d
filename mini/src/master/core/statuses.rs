//! Status updates: those that agents send on, and those the master makes itself.
//!
//! | made by | uuid | sent |
//! | --- | --- | --- |
//! | executor, agent | yes | again and again by the agent, until acknowledged |
//! | master | no | once |

use marmoset_proto::mesos::v1::{
    AgentId, ExecutorId, FrameworkId, TaskId, TaskState, TaskStatus,
    scheduler::call::Acknowledge,
    task_status::{Reason, Source},
};

use super::{Core, Now, events};
use crate::link::ToAgent;

/// A status without uuid: sent once, never acknowledged.
pub(super) fn master_made(
    task_id: &TaskId,
    state: TaskState,
    reason: Option<Reason>,
    message: impl Into<String>,
    agent_id: Option<&AgentId>,
    now: Now,
) -> TaskStatus {
    TaskStatus {
        task_id: task_id.clone(),
        state: state.into(),
        source: Some(Source::Master.into()),
        reason: reason.map(Into::into),
        message: Some(message.into()),
        agent_id: agent_id.cloned(),
        timestamp: Some(now.time),
        ..TaskStatus::default()
    }
}

impl Core {
    /// An agent sends a status update, for the first time or again.
    pub(crate) fn handle_status_update(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        status: TaskStatus,
        latest_state: TaskState,
        now: Now,
    ) {
        if !self.agents.contains_key(agent_id) || !self.frameworks.contains_key(framework_id) {
            // Of an agent that was given up, or of a removed framework.
            self.counters.invalid_status_updates += 1;
            return;
        }
        self.counters.valid_status_updates += 1;
        self.note_update(framework_id, &status, latest_state, now);
        self.send(framework_id, events::update(status));
    }

    /// Brings the record of a task up to date; frees its resources when it has ended.
    fn note_update(
        &mut self,
        framework_id: &FrameworkId,
        status: &TaskStatus,
        latest_state: TaskState,
        now: Now,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let connected = framework.stream().is_some();
        let Some(task) = framework.tasks.get_mut(&status.task_id) else { return };
        if let (Some(uuid), true) = (&status.uuid, connected) {
            let state = TaskState::try_from(status.state).unwrap_or(TaskState::TaskStaging);
            task.told = Some((uuid.clone(), state));
        }
        let repeated = task.statuses.last().is_some_and(|last| last.uuid == status.uuid);
        if !repeated {
            task.record(status);
        }
        if task.state.is_terminal() {
            return;
        }
        task.state = latest_state;
        if !latest_state.is_terminal() {
            return;
        }
        let (agent_id, resources) = (task.agent_id.clone(), task.resources.clone());
        self.counters.count_end(latest_state, status);
        if let Some(agent) = self.agents.get_mut(&agent_id) {
            agent.release(framework_id, &resources);
            self.allocator.recover(framework_id, &agent_id, &resources, None, now.instant);
        }
    }

    /// The scheduler has taken note of an update.
    pub(super) fn acknowledge(&mut self, framework_id: &FrameworkId, acknowledge: Acknowledge) {
        let Acknowledge { agent_id, task_id, uuid } = acknowledge;
        let Some(link) = self.agents.get(&agent_id).and_then(super::Agent::connected) else {
            // The agent sends the update again once it is back.
            self.counters.invalid_acknowledgements += 1;
            return;
        };
        self.counters.valid_acknowledgements += 1;
        let over = self
            .frameworks
            .get(framework_id)
            .and_then(|framework| framework.tasks.get(&task_id))
            .filter(|task| task.agent_id == agent_id)
            .and_then(|task| task.told.as_ref())
            .is_some_and(|(told, state)| state.is_terminal() && *told == uuid);
        if over {
            self.complete_task(framework_id, &task_id);
        }
        let framework_id = framework_id.clone();
        let message = ToAgent::Acknowledge { framework_id, task_id, uuid };
        self.actions.push_back(super::Action::SendAgent { link, message });
    }

    /// Moves a task that has ended to the completed ones.
    pub(super) fn complete_task(&mut self, framework_id: &FrameworkId, task_id: &TaskId) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(task) = framework.tasks.remove(task_id) else { return };
        if let Some(agent) = self.agents.get_mut(&task.agent_id) {
            agent.forget_task(framework_id, task_id);
        }
        framework.complete(task);
    }

    /// An executor sends a message to its scheduler.
    pub(crate) fn handle_message(
        &mut self,
        agent_id: AgentId,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        data: bytes::Bytes,
    ) {
        if self.agents.contains_key(&agent_id) {
            self.send(framework_id, events::message(agent_id, executor_id, data));
        }
    }

    /// An executor has ended.
    pub(crate) fn handle_exited_executor(
        &mut self,
        agent_id: AgentId,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        status: i32,
        now: Now,
    ) {
        let Some(agent) = self.agents.get_mut(&agent_id) else { return };
        let Some(executor) = agent.executors.remove(&(framework_id.clone(), executor_id.clone()))
        else {
            return;
        };
        agent.release(framework_id, &executor.resources);
        let resources = &executor.resources;
        self.allocator.recover(framework_id, &agent_id, resources, None, now.instant);
        self.send(framework_id, events::executor_failure(agent_id, executor_id, status));
    }

    /// Tells a framework something about a task that it need not acknowledge.
    pub(super) fn tell(&mut self, framework_id: &FrameworkId, status: TaskStatus) {
        self.counters.count_update(&status);
        self.send(framework_id, events::update(status));
    }
}
