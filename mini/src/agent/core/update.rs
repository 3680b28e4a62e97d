//! Status updates: checked, recorded, handed to the streams, acknowledged.

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    ExecutorId, FrameworkId, FrameworkInfo, NetworkInfo, TaskId, TaskState, TaskStatus,
    executor::{Event, event},
    network_info::{IpAddress, Protocol},
    task_status::{Reason, Source},
};

use super::{Action, Core, Executor, Kind, Life, Now, Phase, Refusal, Task, records};
use crate::{
    agent::updates::{Acknowledgement, Forward, Receipt, StreamKey},
    link::ToMaster,
};

/// How the tasks of an executor end, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(super) state: TaskState,
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// What happened on an agent since it started.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Executors whose process ended.
    pub(crate) executors_terminated: u64,
    /// Executors that could not be started.
    pub(crate) launch_errors: u64,
    /// Updates that were dropped.
    pub(crate) invalid_updates: u64,
    /// Updates that were taken over.
    pub(crate) valid_updates: u64,
    /// Messages that were dropped.
    pub(crate) invalid_messages: u64,
    /// Messages that were passed on.
    pub(crate) valid_messages: u64,
    /// Terminal updates, by state.
    pub(crate) finished: u64,
    /// See `finished`.
    pub(crate) failed: u64,
    /// See `finished`.
    pub(crate) killed: u64,
    /// See `finished`.
    pub(crate) lost: u64,
    /// See `finished`.
    pub(crate) gone: u64,
}

impl Counters {
    fn count(&mut self, state: TaskState) {
        match state {
            TaskState::TaskFinished => self.finished += 1,
            TaskState::TaskFailed | TaskState::TaskError => self.failed += 1,
            TaskState::TaskKilled => self.killed += 1,
            TaskState::TaskLost | TaskState::TaskDropped => self.lost += 1,
            TaskState::TaskGone | TaskState::TaskGoneByOperator => self.gone += 1,
            TaskState::TaskStaging
            | TaskState::TaskStarting
            | TaskState::TaskRunning
            | TaskState::TaskKilling
            | TaskState::TaskUnreachable
            | TaskState::TaskUnknown => {}
        }
    }
}

/// What is to be done with an update for a task that an executor record has.
enum Standing {
    /// Recorded; it goes to the streams.
    Accepted,
    /// The task is over already: dropped, but acknowledged.
    Over,
    /// The executor was not given the task yet.
    NotDelivered,
}

impl Core {
    /// Handles an UPDATE call that is well formed.
    ///
    /// # Errors
    /// The sender is not known, or not subscribed. An update that fails a later
    /// check is dropped without a word, and never acknowledged.
    pub(crate) fn update(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        executor: &ExecutorId,
        status: TaskStatus,
    ) -> Result<(), Refusal> {
        self.check_caller(framework, executor)?;
        self.handle_update(now, framework, executor, status);
        Ok(())
    }

    /// Handles a MESSAGE call.
    ///
    /// # Errors
    /// As for [`Core::update`].
    pub(crate) fn message(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        data: Bytes,
    ) -> Result<(), Refusal> {
        self.check_caller(framework, executor)?;
        if self.life != Life::Registered
            || self.frameworks.get(framework).is_none_or(records::Framework::is_terminating)
        {
            self.counters.invalid_messages += 1;
            return Ok(());
        }
        self.counters.valid_messages += 1;
        self.actions.push_back(Action::ToMaster(ToMaster::Message {
            agent_id: self.agent_id(),
            framework_id: framework.clone(),
            executor_id: executor.clone(),
            data,
        }));
        Ok(())
    }

    fn check_caller(&self, framework: &FrameworkId, executor: &ExecutorId) -> Result<(), Refusal> {
        match self.life {
            Life::Stopped | Life::Booting | Life::Recovering => return Err(Refusal::Recovering),
            Life::Disconnected | Life::Registered => {}
        }
        let framework = self.frameworks.get(framework).ok_or(Refusal::UnknownFramework)?;
        let executor = framework.executors.get(executor).ok_or(Refusal::UnknownExecutor)?;
        match executor.phase {
            Phase::Registering | Phase::Terminating(None) => Err(Refusal::NotSubscribed),
            Phase::Running(_) | Phase::Terminating(Some(_)) | Phase::Terminated => Ok(()),
        }
    }

    /// An update of an executor, from a call or repeated in a subscription.
    pub(super) fn handle_update(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        sender: &ExecutorId,
        mut status: TaskStatus,
    ) {
        let agent_id = self.agent_id();
        let foreign = status.agent_id.as_ref().is_some_and(|id| *id != agent_id);
        let uuid = status.uuid.clone().filter(|uuid| uuid.len() == 16);
        let (Some(uuid), false) = (uuid, foreign) else {
            tracing::warn!(task = %status.task_id, "update for another agent dropped");
            self.counters.invalid_updates += 1;
            return;
        };
        let addr = self.settings.addr;
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        if framework.terminating {
            self.counters.invalid_updates += 1;
            return;
        }
        status.agent_id = Some(agent_id);
        status.timestamp.get_or_insert(now.epoch);
        let task_id = status.task_id.clone();
        let mut custom = None;
        let mut acknowledged = false;
        let mut shrinks = None;
        if let Some(owner) = framework.owner(&task_id) {
            add_container_status(&mut status, owner, addr);
            custom = owner.custom_id();
            match owner.stand(&status) {
                Standing::Accepted => {
                    acknowledged = true;
                    shrinks = status.state().is_terminal().then(|| owner.id.clone());
                }
                Standing::Over => {
                    self.counters.valid_updates += 1;
                    self.acknowledge_to(framework_id, sender, task_id, uuid);
                    return;
                }
                Standing::NotDelivered => {
                    // A real agent aborts here; we keep the task, which is still going to be delivered.
                    tracing::warn!(task = %task_id, "update for a task that was not delivered dropped");
                    self.counters.invalid_updates += 1;
                    return;
                }
            }
        }
        if let Some(executor) = shrinks {
            self.resize(framework_id, &executor);
        }
        self.counters.valid_updates += 1;
        self.receive(now, framework_id, custom, status);
        // Nobody owns the task: it is passed on, but its executor never hears of it.
        if acknowledged {
            self.acknowledge_to(framework_id, sender, task_id, uuid);
        }
    }

    fn acknowledge_to(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        task_id: TaskId,
        uuid: Bytes,
    ) {
        let event = Event {
            r#type: Some(event::Type::Acknowledged.into()),
            acknowledged: Some(event::Acknowledged { task_id, uuid }),
            ..Event::default()
        };
        self.send(framework, executor, event);
    }

    /// Writes an event to an executor that is running.
    pub(super) fn send(&mut self, framework: &FrameworkId, executor: &ExecutorId, event: Event) {
        let Some(executor) = self.executor(framework, executor) else { return };
        let stream = match executor.phase {
            Phase::Running(stream) | Phase::Terminating(Some(stream)) => stream,
            Phase::Registering | Phase::Terminating(None) | Phase::Terminated => return,
        };
        self.actions.push_back(Action::Send(stream, Box::new(event)));
    }

    /// An update the agent makes about a task.
    pub(super) fn agent_update(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        verdict: &Verdict,
        executor: Option<ExecutorId>,
    ) {
        let status = TaskStatus {
            task_id: task_id.clone(),
            state: verdict.state.into(),
            source: Some(Source::Agent.into()),
            reason: Some(verdict.reason.into()),
            message: Some(verdict.message.clone()),
            agent_id: Some(self.agent_id()),
            executor_id: executor,
            timestamp: Some(now.epoch),
            uuid: Some(self.seed.update_uuid()),
            ..TaskStatus::default()
        };
        let mut custom = None;
        if let Some(framework) = self.frameworks.get_mut(framework_id) {
            if framework.terminating {
                return;
            }
            if let Some(owner) = framework.owner(task_id) {
                custom = owner.custom_id();
                owner.unqueue_into_launched(task_id);
                match owner.stand(&status) {
                    Standing::Accepted => {}
                    Standing::Over | Standing::NotDelivered => return,
                }
            }
        }
        self.receive(now, framework_id, custom, status);
    }

    fn receive(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        executor: Option<ExecutorId>,
        status: TaskStatus,
    ) {
        let state = status.state();
        let key = StreamKey { framework: framework.clone(), task: status.task_id.clone() };
        match self.updates.receive(now.instant, key, executor, status) {
            Receipt::Duplicate => {}
            Receipt::Queued => self.counters.count(state),
            Receipt::Forward(update) => {
                self.counters.count(state);
                self.forward(*update);
            }
        }
    }

    pub(super) fn forward(&mut self, update: Forward) {
        self.actions.push_back(Action::ToMaster(ToMaster::StatusUpdate {
            agent_id: self.agent_id(),
            framework_id: update.key.framework,
            executor_id: update.executor,
            status: Box::new(update.status),
            latest_state: update.latest,
        }));
    }

    pub(super) fn handle_acknowledge(
        &mut self,
        now: Now,
        framework: FrameworkId,
        task: TaskId,
        uuid: &Bytes,
    ) {
        let key = StreamKey { framework, task };
        match self.updates.acknowledge(now.instant, &key, uuid) {
            Acknowledgement::Ignored => {
                tracing::debug!(task = %key.task, "acknowledgement ignored");
            }
            Acknowledgement::Next(None) => {}
            Acknowledgement::Next(Some(next)) => self.forward(*next),
            Acknowledgement::Terminal => self.complete_task(&key),
        }
    }

    fn complete_task(&mut self, key: &StreamKey) {
        let Some(framework) = self.frameworks.get_mut(&key.framework) else { return };
        let Some(owner) = framework.owner(&key.task) else { return };
        owner.complete(&key.task);
        let executor = owner.id.clone();
        framework.owners.remove(&key.task);
        self.remove_executor_if_done(&key.framework, &executor);
    }

    /// Tasks the master has and this agent perhaps not.
    pub(super) fn handle_reconcile(
        &mut self,
        now: Now,
        framework: &FrameworkInfo,
        tasks: Vec<TaskId>,
    ) {
        let Some(id) = framework.id.clone() else { return };
        let verdict = Verdict {
            state: dropped_or_lost(framework),
            reason: Reason::Reconciliation,
            message: "Reconciliation: task unknown to the agent".to_owned(),
        };
        for task in tasks {
            let known = self.frameworks.get(&id).is_some_and(|f| f.owners.contains_key(&task));
            if !known {
                self.agent_update(now, &id, &task, &verdict, None);
            }
        }
    }

    pub(super) fn handle_message(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        data: Bytes,
    ) {
        let running = self.frameworks.get(framework).is_some_and(|framework| {
            !framework.terminating
                && framework
                    .executors
                    .get(executor)
                    .is_some_and(|executor| matches!(executor.phase, Phase::Running(_)))
        });
        if !running {
            self.counters.invalid_messages += 1;
            return;
        }
        self.counters.valid_messages += 1;
        let event = Event {
            r#type: Some(event::Type::Message.into()),
            message: Some(event::Message { data }),
            ..Event::default()
        };
        self.send(framework, executor, event);
    }
}

impl Executor {
    /// Judges an update about one of its tasks and records it if it counts.
    fn stand(&mut self, status: &TaskStatus) -> Standing {
        let id = &status.task_id;
        if self.terminated.contains_key(id) {
            return Standing::Over;
        }
        let terminal = status.state().is_terminal();
        if !self.launched.contains_key(id) {
            if !terminal {
                return Standing::NotDelivered;
            }
            self.unqueue_into_launched(id);
        }
        let Some(task) = self.launched.get_mut(id) else { return Standing::NotDelivered };
        task.record(status);
        if terminal && let Some(task) = self.launched.remove(id) {
            self.terminated.insert(id.clone(), task);
        }
        Standing::Accepted
    }

    pub(super) fn unqueue_into_launched(&mut self, id: &TaskId) {
        if let Some(task) = self.unqueue(id) {
            self.launched.insert(id.clone(), Task::new(&task));
        }
    }
}

/// The state of a task that never ran here.
pub(super) fn dropped_or_lost(framework: &FrameworkInfo) -> TaskState {
    if records::is_partition_aware(framework) {
        TaskState::TaskDropped
    } else {
        TaskState::TaskLost
    }
}

/// The state of a task that ran here and was taken away.
pub(super) fn gone_or_lost(framework: &FrameworkInfo) -> TaskState {
    if records::is_partition_aware(framework) { TaskState::TaskGone } else { TaskState::TaskLost }
}

fn add_container_status(status: &mut TaskStatus, owner: &Executor, addr: std::net::SocketAddr) {
    let container = status.container_status.get_or_insert_default();
    container.container_id.get_or_insert_with(|| owner.container.to_proto());
    container.executor_pid = owner.pid.or(container.executor_pid);
    if container.network_infos.is_empty() {
        let protocol = if addr.is_ipv4() { Protocol::IPv4 } else { Protocol::IPv6 };
        container.network_infos.push(NetworkInfo {
            ip_addresses: vec![IpAddress {
                protocol: Some(protocol.into()),
                ip_address: Some(addr.ip().to_string()),
            }],
            ..NetworkInfo::default()
        });
    }
}

impl Kind {
    /// The executor id that the master knows.
    pub(super) fn is_custom(self) -> bool {
        self == Self::Custom
    }
}
