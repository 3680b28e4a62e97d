//! Reconciliation: telling a scheduler what the master knows of its tasks.
//!
//! Every answer is made by the master, without uuid and data, and sent once.

use marmoset_proto::mesos::v1::{
    AgentId, FrameworkId, OperationState, OperationStatus, TaskId, TaskState, TaskStatus, TimeInfo,
    scheduler::call::{reconcile, reconcile_operations},
    task_status::Reason,
};

use super::{Core, Now, Task, events, state_for, statuses};

impl Core {
    /// Answers for the named tasks, or for all of a framework when none is named.
    pub(super) fn reconcile(&mut self, id: &FrameworkId, named: &[reconcile::Task], now: Now) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let answers = if named.is_empty() {
            framework.tasks.values().map(|task| latest(task, now)).collect::<Vec<_>>()
        } else {
            named
                .iter()
                .filter_map(|task| self.answer(id, &task.task_id, task.agent_id.as_ref(), now))
                .collect()
        };
        for status in answers {
            self.send(id, events::update(status));
        }
    }

    /// What is known of one task; nothing while its agent may still come back and tell.
    fn answer(
        &self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        agent_id: Option<&AgentId>,
        now: Now,
    ) -> Option<TaskStatus> {
        let framework = self.frameworks.get(framework_id)?;
        if let Some(task) = framework.tasks.get(task_id) {
            return Some(latest(task, now));
        }
        let answer = |state, message: &str| {
            let reason = Some(Reason::Reconciliation);
            let state = state_for(framework.capabilities, state);
            Some(statuses::master_made(task_id, state, reason, message, agent_id, now))
        };
        match agent_id {
            Some(agent_id) if self.agents.contains_key(agent_id) => {
                return answer(TaskState::TaskGone, "Reconciliation: Task is unknown to the agent");
            }
            Some(agent_id) if self.unreachable.contains_key(agent_id) => {
                let since = self.unreachable.get(agent_id)?.since_nanos;
                return answer(TaskState::TaskUnreachable, "Reconciliation: Task is unreachable")
                    .map(|status| TaskStatus {
                        unreachable_time: Some(TimeInfo { nanoseconds: since }),
                        ..status
                    });
            }
            Some(agent_id) if self.recovered.contains(agent_id) => return None,
            None if framework.unreachable.contains(task_id) => {
                return answer(TaskState::TaskUnreachable, "Reconciliation: Task is unreachable");
            }
            None if !self.recovered.is_empty() => return None,
            Some(_) | None => {}
        }
        answer(TaskState::TaskUnknown, "Reconciliation: Task is unknown")
    }

    /// Answers for operations: none is ever pending here, so each named one is unknown.
    pub(super) fn reconcile_operations(
        &mut self,
        id: &FrameworkId,
        named: Vec<reconcile_operations::Operation>,
    ) {
        for operation in named {
            let state = match &operation.agent_id {
                Some(agent) if self.unreachable.contains_key(agent) => {
                    OperationState::OperationUnreachable
                }
                Some(agent) if self.recovered.contains(agent) => {
                    OperationState::OperationRecovering
                }
                Some(_) | None => OperationState::OperationUnknown,
            };
            let status = OperationStatus {
                operation_id: Some(operation.operation_id),
                state: state.into(),
                message: Some("Reconciliation: Operation is unknown".to_owned()),
                agent_id: operation.agent_id,
                resource_provider_id: operation.resource_provider_id,
                ..OperationStatus::default()
            };
            self.send(id, events::operation(status));
        }
    }
}

/// The state a scheduler was told last, or the current one.
fn latest(task: &Task, now: Now) -> TaskStatus {
    let state = task.told.as_ref().map_or(task.state, |(_, state)| *state);
    let last = task.statuses.last();
    TaskStatus {
        executor_id: task.executor_id.clone(),
        healthy: last.and_then(|status| status.healthy),
        check_status: last.and_then(|status| status.check_status),
        container_status: last.and_then(|status| status.container_status.clone()),
        ..statuses::master_made(
            &task.id,
            state,
            Some(Reason::Reconciliation),
            "Reconciliation: Latest task state",
            Some(&task.agent_id),
            now,
        )
    }
}
