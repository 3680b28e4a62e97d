//! SUBSCRIBE: who may, what is told first, what was lost on the way.

use std::collections::BTreeSet;

use marmoset_proto::mesos::v1::{
    ExecutorId, FrameworkId, TaskId, TaskInfo, TaskState, TaskStatus,
    executor::{Event, event},
    task_status::Reason,
};

use super::{
    Action, Container, Core, Life, Now, Phase, Refusal, StreamId, Timer,
    update::{Verdict, dropped_or_lost},
};

/// A SUBSCRIBE call.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Who.
    pub(crate) framework: FrameworkId,
    /// Who.
    pub(crate) executor: ExecutorId,
    /// Tasks it has of which no update was acknowledged.
    pub(crate) tasks: Vec<TaskInfo>,
    /// Updates it has that were not acknowledged.
    pub(crate) updates: Vec<TaskStatus>,
}

impl Core {
    /// Handles a SUBSCRIBE; what the executor is told goes to `stream`.
    ///
    /// # Errors
    /// The executor is not known here, or the agent is not ready.
    pub(crate) fn subscribe(
        &mut self,
        now: Now,
        stream: StreamId,
        subscription: Subscription,
    ) -> Result<(), Refusal> {
        match self.life {
            Life::Stopped | Life::Booting => return Err(Refusal::Recovering),
            Life::Recovering | Life::Disconnected | Life::Registered => {}
        }
        let Subscription { framework: framework_id, executor: executor_id, tasks, updates } =
            subscription;
        let framework = self.frameworks.get_mut(&framework_id).ok_or(Refusal::UnknownFramework)?;
        let terminating = framework.terminating;
        let lost = dropped_or_lost(&framework.info);
        let executor = framework.executors.get_mut(&executor_id).ok_or(Refusal::UnknownExecutor)?;
        let old = match executor.phase {
            Phase::Registering if !terminating => None,
            Phase::Running(old) if !terminating => Some(old),
            Phase::Registering | Phase::Running(_) | Phase::Terminating(_) | Phase::Terminated => {
                let event = Event::of(event::Type::Shutdown);
                self.actions.push_back(Action::Send(stream, Box::new(event)));
                self.actions.push_back(Action::Close(stream));
                return Ok(());
            }
        };
        executor.phase = Phase::Running(stream);
        let container = executor.container.clone();
        if let Some(old) = old {
            self.actions.push_back(Action::Close(old));
        }
        self.timers.clear(&Timer::Registration(container.clone()));
        self.set_heartbeat(now, container);

        for status in updates {
            self.handle_update(now, &framework_id, &executor_id, status);
        }
        let verdict = Verdict {
            state: lost,
            reason: Reason::AgentRestarted,
            message: "Task launched during agent restart".to_owned(),
        };
        for task in self.undelivered(&framework_id, &executor_id, &tasks) {
            let executor = Some(executor_id.clone());
            self.agent_update(now, &framework_id, &task, &verdict, executor);
        }
        let Some(executor) = self.executor(&framework_id, &executor_id) else { return Ok(()) };
        if !executor.sent_task && !executor.has_queued() {
            self.shut_down_executor(now, &framework_id, &executor_id);
            return Ok(());
        }
        self.send_subscribed(&framework_id, &executor_id);
        self.deliver_queued(&framework_id, &executor_id);
        Ok(())
    }

    /// Tasks that were sent into a dead connection.
    fn undelivered(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        has: &[TaskInfo],
    ) -> Vec<TaskId> {
        let has: BTreeSet<&TaskId> = has.iter().map(|task| &task.task_id).collect();
        let Some(executor) = self.executor(framework, executor) else { return Vec::new() };
        executor
            .launched
            .iter()
            .filter(|(id, task)| task.state == TaskState::TaskStaging && !has.contains(id))
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn send_subscribed(&mut self, framework_id: &FrameworkId, executor_id: &ExecutorId) {
        let agent_info = self.info.clone();
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let Some(executor) = framework.executors.get(executor_id) else { return };
        let event = Event {
            subscribed: Some(event::Subscribed {
                executor_info: executor.info.clone(),
                framework_info: framework.info.clone(),
                agent_info,
                container_id: Some(executor.container.to_proto()),
            }),
            ..Event::of(event::Type::Subscribed)
        };
        self.send(framework_id, executor_id, event);
    }

    fn deliver_queued(&mut self, framework: &FrameworkId, executor_id: &ExecutorId) {
        let Some(executor) = self.executor(framework, executor_id) else { return };
        let tasks = std::mem::take(&mut executor.queued);
        let groups = std::mem::take(&mut executor.queued_groups);
        for task in tasks {
            self.deliver(framework, executor_id, task);
        }
        for group in groups {
            self.deliver_group(framework, executor_id, group);
        }
    }

    fn set_heartbeat(&mut self, now: Now, container: Container) {
        self.timers.set(Timer::Heartbeat(container), now.instant + self.settings.heartbeat);
    }

    pub(super) fn send_heartbeat(&mut self, now: Now, container: Container) {
        let Some(executor) = self.executor_in(&container) else { return };
        if let Phase::Running(stream) = executor.phase {
            let event = Event::of(event::Type::Heartbeat);
            self.actions.push_back(Action::Send(stream, Box::new(event)));
            self.set_heartbeat(now, container);
        }
    }
}

/// Events without content.
pub(super) trait OfType {
    /// Makes one of a type.
    fn of(r#type: event::Type) -> Self;
}

impl OfType for Event {
    fn of(r#type: event::Type) -> Self {
        Self { r#type: Some(r#type.into()), ..Self::default() }
    }
}
