//! How executors end: asked to, in time or not, or on their own.

use marmoset_proto::mesos::v1::{
    DurationInfo, ExecutorId, FrameworkId, TaskState,
    executor::{Event, event},
    task_status::Reason,
};

use super::{
    Action, COMPLETED_FRAMEWORKS, Container, Core, Life, Now, Phase, Timer,
    subscribe::OfType as _,
    update::{Verdict, gone_or_lost},
};
use crate::{agent::launch::EXECUTOR_TERMINATED, link::ToMaster};

impl Core {
    pub(super) fn handle_shutdown_executor(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) {
        self.shut_down_executor(now, framework, executor);
    }

    pub(super) fn handle_shutdown_framework(&mut self, now: Now, id: &FrameworkId) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if framework.terminating {
            return;
        }
        tracing::info!(framework = %id, "shutting down framework");
        framework.terminating = true;
        self.updates.remove_framework(id);
        let executors: Vec<(ExecutorId, Phase)> =
            framework.executors.values().map(|e| (e.id.clone(), e.phase)).collect();
        for (executor, phase) in executors {
            match phase {
                Phase::Registering | Phase::Running(_) => {
                    self.shut_down_executor(now, id, &executor);
                }
                Phase::Terminating(_) => {}
                Phase::Terminated => self.remove_executor(id, &executor),
            }
        }
        self.remove_framework_if_idle(id);
    }

    pub(super) fn shut_down_all(&mut self, now: Now) {
        let all: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for framework in all {
            self.handle_shutdown_framework(now, &framework);
        }
    }

    /// Sends SHUTDOWN and starts the grace period.
    pub(super) fn shut_down_executor(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        executor_id: &ExecutorId,
    ) {
        let default = self.settings.shutdown_grace;
        let Some(executor) = self.executor(framework, executor_id) else { return };
        let stream = match executor.phase {
            Phase::Registering => None,
            Phase::Running(stream) => Some(stream),
            Phase::Terminating(_) | Phase::Terminated => return,
        };
        executor.phase = Phase::Terminating(stream);
        let grace =
            executor.info.shutdown_grace_period.as_ref().map_or(default, DurationInfo::to_duration);
        let container = executor.container.clone();
        tracing::info!(executor = %executor_id, "shutting down executor");
        if stream.is_some() {
            self.send(framework, executor_id, Event::of(event::Type::Shutdown));
        }
        self.forget_timers(&container);
        self.timers.set(Timer::Shutdown(container), now.instant + grace);
    }

    pub(super) fn handle_no_registration(&mut self, container: &Container) {
        let timeout = marmoset_proto::duration::format(self.settings.registration_timeout);
        let Some(executor) = self.executor_in(container) else { return };
        if executor.phase != Phase::Registering {
            return;
        }
        executor.phase = Phase::Terminating(None);
        executor.verdict = Some(Verdict {
            state: TaskState::TaskFailed,
            reason: Reason::ExecutorRegistrationTimeout,
            message: format!("Executor did not register within {timeout}"),
        });
        self.actions.push_back(Action::Destroy(container.clone()));
    }

    /// Ends an executor whose container has not the room that its tasks were promised.
    pub(super) fn handle_resize_failed(&mut self, container: &Container, why: &str) {
        let Some((framework, _)) = self.containers.get(container) else { return };
        let Some(framework) = self.frameworks.get(framework) else { return };
        let state = gone_or_lost(&framework.info);
        let Some(executor) = self.executor_in(container) else { return };
        executor.phase = match executor.phase {
            Phase::Registering => Phase::Terminating(None),
            Phase::Running(stream) => Phase::Terminating(Some(stream)),
            Phase::Terminating(_) | Phase::Terminated => return,
        };
        executor.verdict = Some(Verdict {
            state,
            reason: Reason::ContainerUpdateFailed,
            message: format!("Failed to update resources for container: {why}"),
        });
        self.actions.push_back(Action::Destroy(container.clone()));
    }

    pub(super) fn handle_launch_failed(&mut self, now: Now, container: &Container, why: &str) {
        self.counters.launch_errors += 1;
        let verdict = Verdict {
            state: TaskState::TaskFailed,
            reason: Reason::ContainerLaunchFailed,
            message: format!("Failed to launch container: {why}"),
        };
        if let Some(executor) = self.executor_in(container) {
            executor.verdict.get_or_insert(verdict);
        }
        self.handle_exited(now, container.clone(), -1, EXECUTOR_TERMINATED);
    }

    pub(super) fn handle_exited(
        &mut self,
        now: Now,
        container: Container,
        status: i32,
        message: &'static str,
    ) {
        if self.life == Life::Stopped {
            self.missed.push((container, status, message));
            return;
        }
        self.forget_timers(&container);
        if let Some(executor) = self.executor_in(&container) {
            let id = executor.id.clone();
            let Some((framework, _)) = self.containers.remove(&container) else { return };
            self.handle_terminated(now, &framework, &id, status, message);
        }
        self.containers.remove(&container);
    }

    pub(super) fn handle_terminated(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        status: i32,
        message: &str,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let terminating = framework.terminating;
        let Some(executor) = framework.executors.get_mut(executor_id) else { return };
        tracing::info!(executor = %executor_id, status, "executor ended");
        self.counters.executors_terminated += 1;
        let stream = match executor.phase {
            Phase::Running(stream) | Phase::Terminating(Some(stream)) => Some(stream),
            Phase::Registering | Phase::Terminating(None) | Phase::Terminated => None,
        };
        executor.phase = Phase::Terminated;
        let custom = executor.kind.is_custom();
        let verdict = executor.verdict.clone().unwrap_or_else(|| Verdict {
            state: TaskState::TaskFailed,
            reason: Reason::ExecutorTerminated,
            message: message.to_owned(),
        });
        let tasks: Vec<_> = executor
            .launched
            .iter()
            .filter(|(_, task)| !task.is_terminal())
            .map(|(id, _)| id.clone())
            .chain(executor.queued_tasks().map(|task| task.task_id.clone()))
            .collect();
        if let Some(stream) = stream {
            self.actions.push_back(Action::Close(stream));
        }
        // Before the updates: a real agent's updates take one turn more.
        if custom && self.life == Life::Registered {
            let exited = ToMaster::ExitedExecutor {
                agent_id: self.agent_id(),
                framework_id: framework_id.clone(),
                executor_id: executor_id.clone(),
                status,
            };
            self.actions.push_back(Action::ToMaster(exited));
        }
        if !terminating {
            for task in tasks {
                let executor = Some(executor_id.clone());
                self.agent_update(now, framework_id, &task, &verdict, executor);
            }
        }
        self.remove_executor_if_done(framework_id, executor_id);
    }

    /// Drops the record of an executor that ended and whose updates are acknowledged.
    pub(super) fn remove_executor_if_done(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let Some(executor) = framework.executors.get(executor_id) else { return };
        if executor.phase == Phase::Terminated && (framework.terminating || !executor.is_busy()) {
            self.remove_executor(framework_id, executor_id);
            self.remove_framework_if_idle(framework_id);
        }
    }

    fn remove_executor(&mut self, framework_id: &FrameworkId, executor_id: &ExecutorId) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(mut executor) = framework.executors.remove(executor_id) else { return };
        if executor.is_busy() {
            framework.owners.retain(|_, owner| owner != executor_id);
        }
        let unacknowledged: Vec<_> = executor.terminated.keys().cloned().collect();
        for task in unacknowledged {
            executor.complete(&task);
        }
        framework.retire(executor);
    }

    /// Drops the record of a framework without executors.
    ///
    /// Updates that wait for an acknowledgement stay unless the master removed the framework.
    pub(super) fn remove_framework_if_idle(&mut self, id: &FrameworkId) {
        let idle = self.frameworks.get(id).is_some_and(|f| f.executors.is_empty());
        if !idle {
            return;
        }
        let Some(framework) = self.frameworks.remove(id) else { return };
        if self.completed.len() == COMPLETED_FRAMEWORKS {
            self.completed.pop_front();
        }
        self.completed.push_back(framework);
    }

    pub(super) fn forget_timers(&mut self, container: &Container) {
        self.timers.clear(&Timer::Registration(container.clone()));
        self.timers.clear(&Timer::Shutdown(container.clone()));
        self.timers.clear(&Timer::Heartbeat(container.clone()));
    }
}
