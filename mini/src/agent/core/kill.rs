//! KILL from the scheduler: forwarded, or answered by the agent.

use marmoset_proto::mesos::v1::{
    FrameworkId, KillPolicy, TaskId, TaskState,
    executor::{Event, event},
    task_status::Reason,
};

use super::{
    Core, Now, Phase,
    records::QueuedWith,
    update::{Verdict, dropped_or_lost},
};

impl Core {
    pub(super) fn kill_task(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        kill_policy: Option<KillPolicy>,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else {
            tracing::warn!(framework = %framework_id, task = %task_id, "kill of an unknown framework's task ignored");
            return;
        };
        if framework.terminating {
            return;
        }
        let state = dropped_or_lost(&framework.info);
        let Some(executor) = framework.owner(task_id) else {
            let verdict = Verdict {
                state,
                reason: Reason::ExecutorTerminated,
                message: "Cannot find executor".to_owned(),
            };
            self.agent_update(now, framework_id, task_id, &verdict, None);
            return;
        };
        let executor_id = executor.id.clone();
        match executor.phase {
            Phase::Terminating(_) | Phase::Terminated => {}
            Phase::Registering | Phase::Running(_) => match executor.queued_with(task_id) {
                Some(together) => {
                    let (message, tasks) = match together {
                        QueuedWith::Alone => {
                            ("Killed before delivery to the executor", vec![task_id.clone()])
                        }
                        QueuedWith::Group(tasks) => (
                            "A task within the task group was killed before delivery to the executor",
                            tasks,
                        ),
                    };
                    let verdict = Verdict {
                        state: TaskState::TaskKilled,
                        reason: Reason::TaskKilledDuringLaunch,
                        message: message.to_owned(),
                    };
                    for task in tasks {
                        let executor = Some(executor_id.clone());
                        self.agent_update(now, framework_id, &task, &verdict, executor);
                    }
                    // An executor that never had a task is shut down when it subscribes.
                }
                None => {
                    let event = Event {
                        r#type: Some(event::Type::Kill.into()),
                        kill: Some(event::Kill { task_id: task_id.clone(), kill_policy }),
                        ..Event::default()
                    };
                    self.send(framework_id, &executor_id, event);
                }
            },
        }
    }
}
