//! The agent's own restart, emulated: what survives, what is given up.
//!
//! What a real agent reads back from its `meta` directory simply stays in memory
//! here: frameworks that checkpoint, their executors, tasks and unacknowledged
//! updates. The rest is forgotten as a new process would have forgotten it.

use marmoset_proto::mesos::v1::{ExecutorId, FrameworkId, task_status::Reason};

use super::{
    Action, Container, Core, Inventory, Kind, Life, Now, Phase, Timer,
    update::{Verdict, gone_or_lost},
};
use crate::link::ToMaster;

/// What an agent says that asks for a container which nobody has.
const UNKNOWN_CONTAINER: &str = "Abnormal executor termination: unknown container";

impl Core {
    pub(super) fn handle_stop(&mut self) {
        if self.life == Life::Stopped {
            return;
        }
        self.life = Life::Stopped;
        self.timers.clear_all();
        self.updates.pause();
        for executor in self.frameworks.values_mut().flat_map(|f| f.executors.values_mut()) {
            executor.phase = match executor.phase {
                Phase::Registering | Phase::Running(_) => Phase::Registering,
                Phase::Terminating(_) => Phase::Terminating(None),
                Phase::Terminated => Phase::Terminated,
            };
        }
        if let Some(agent_id) = self.info.id.clone() {
            self.actions.push_back(Action::ToMaster(ToMaster::Disconnected { agent_id }));
        }
    }

    pub(super) fn handle_start(&mut self, now: Now) {
        if self.life != Life::Stopped {
            return;
        }
        self.life = Life::Booting;
        self.started = now.epoch;
        self.counters = super::Counters::default();
        self.forget_unsaved();
        for executor in self.frameworks.values_mut().flat_map(|f| f.executors.values_mut()) {
            // What was waiting counts as launched from now on: that is how it was saved.
            let queued: Vec<_> = executor.queued_tasks().map(|task| task.task_id.clone()).collect();
            for task in queued {
                executor.unqueue_into_launched(&task);
                executor.sent_task = true;
            }
        }
        for (container, status, message) in std::mem::take(&mut self.missed) {
            self.handle_exited(now, container, status, message);
        }
        self.give_up_unrecovered(now);
        self.timers.set(Timer::Life, now.instant + self.settings.boot_pause);
    }

    /// Forgets frameworks that do not checkpoint, and what belongs to no framework.
    fn forget_unsaved(&mut self) {
        let unsaved: Vec<FrameworkId> = self
            .frameworks
            .values()
            .filter(|framework| !framework.checkpoints() || framework.terminating)
            .map(|framework| framework.id.clone())
            .chain(
                self.updates
                    .frameworks()
                    .into_iter()
                    .filter(|id| !self.frameworks.contains_key(id)),
            )
            .collect();
        for id in unsaved {
            self.updates.remove_framework(&id);
            let Some(framework) = self.frameworks.remove(&id) else { continue };
            for executor in framework.executors.into_values() {
                self.actions.extend(match executor.phase {
                    Phase::Terminated => None,
                    Phase::Registering | Phase::Running(_) | Phase::Terminating(_) => {
                        Some(if executor.is_recovered() {
                            Action::Destroy(executor.container)
                        } else {
                            Action::Abandon(executor.container)
                        })
                    }
                });
            }
        }
    }

    /// Ends executors that their containerizer does not find again; the sweep of orphans was before.
    fn give_up_unrecovered(&mut self, now: Now) {
        let lost: Vec<(FrameworkId, ExecutorId, Container)> = self
            .frameworks
            .iter()
            .flat_map(|(id, framework)| framework.executors.values().map(move |e| (id, e)))
            .filter(|(_, executor)| executor.phase != Phase::Terminated && !executor.is_recovered())
            .map(|(id, executor)| (id.clone(), executor.id.clone(), executor.container.clone()))
            .collect();
        for (framework, executor_id, container) in lost {
            tracing::info!(executor = %executor_id, "executor in a Docker container not recovered");
            if let Some(executor) = self.executor(&framework, &executor_id) {
                // Why it was ending before is not remembered by an agent.
                executor.verdict = None;
            }
            self.containers.remove(&container);
            self.actions.push_back(Action::Abandon(container));
            self.handle_terminated(now, &framework, &executor_id, -1, UNKNOWN_CONTAINER);
        }
    }

    pub(super) fn handle_life_timer(&mut self, now: Now) {
        match self.life {
            Life::Booting => {
                self.life = Life::Recovering;
                for (container, phase) in self.live_containers() {
                    if matches!(phase, Phase::Terminating(_)) {
                        self.actions.push_back(Action::Destroy(container));
                    }
                }
                if self.live_containers().is_empty() {
                    self.register();
                } else {
                    let timeout = self.settings.reregistration_timeout;
                    self.timers.set(Timer::Life, now.instant + timeout);
                }
            }
            Life::Recovering => {
                self.give_up_silent_executors();
                self.register();
            }
            Life::Disconnected | Life::Registered | Life::Stopped => {}
        }
    }

    fn live_containers(&self) -> Vec<(Container, Phase)> {
        self.frameworks
            .values()
            .flat_map(|framework| framework.executors.values())
            .filter(|executor| executor.phase != Phase::Terminated)
            .map(|executor| (executor.container.clone(), executor.phase))
            .collect()
    }

    fn give_up_silent_executors(&mut self) {
        let timeout = marmoset_proto::duration::format(self.settings.reregistration_timeout);
        for framework in self.frameworks.values_mut() {
            let state = gone_or_lost(&framework.info);
            for executor in framework.executors.values_mut() {
                if executor.phase != Phase::Registering {
                    continue;
                }
                tracing::info!(executor = %executor.id, "executor did not come back");
                executor.phase = Phase::Terminating(None);
                executor.verdict = Some(Verdict {
                    state,
                    reason: Reason::ExecutorReregistrationTimeout,
                    message: format!("Executor did not reregister within {timeout}"),
                });
                self.actions.push_back(Action::Destroy(executor.container.clone()));
            }
        }
    }

    /// What the master is told when the agent comes back.
    pub(super) fn inventory(&self) -> Inventory {
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        let tasks = self.frameworks.values().flat_map(|framework| {
            framework.executors.values().flat_map(|executor| {
                let launched = executor.launched.values().chain(executor.terminated.values());
                let launched = launched.map(|task| (task.info.clone(), task.state));
                let queued = executor
                    .queued_tasks()
                    .map(|task| (task.clone(), marmoset_proto::mesos::v1::TaskState::TaskStaging));
                launched.chain(queued).map(|(info, state)| (framework.id.clone(), info, state))
            })
        });
        Inventory {
            info: self.info.clone(),
            frameworks: self.frameworks.values().map(|framework| framework.info.clone()).collect(),
            executors: executors
                .filter(|executor| {
                    executor.kind == Kind::Custom && executor.phase != Phase::Terminated
                })
                .map(|executor| executor.info.clone())
                .collect(),
            tasks: tasks.collect(),
        }
    }
}
