//! Updates: results out of them, what they mean for the rest, and their acknowledgement.
//!
//! Owns the rule that exactly those updates are acknowledged that carry a uuid, and that this
//! comes after everything else that follows from one.

mod results;

use std::time::Duration;

use marmoset_proto::mesos::v1::{
    AgentId, ExecutorId, TaskId, TaskState, TaskStatus,
    scheduler::event,
    task_status::{Reason, Source},
};

use super::Core;
use crate::{
    book::Outcome,
    clock::{Now, WallTime},
    event::Notice,
    flights::{Flight, Phase},
    work,
};

/// How many uuids of ended Mesos tasks are remembered.
const REMEMBERED: usize = 256;
/// After an executor was said to have ended, its tasks' updates are waited for so long.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What became of items that a Mesos task ended without a result for.
#[derive(Debug, Clone)]
pub(super) struct Leftover {
    pub(super) outcome: Outcome,
    pub(super) message: Option<String>,
    pub(super) reason: Option<Reason>,
    /// When it ended, by the executor's clock.
    pub(super) at: Option<WallTime>,
}

impl Leftover {
    pub(super) fn new(outcome: Outcome, message: &str) -> Self {
        let message = Some(message.to_owned()).filter(|message| !message.is_empty());
        Self { outcome, message, reason: None, at: None }
    }
}

impl Core {
    pub(super) fn update(&mut self, now: Now, status: TaskStatus) {
        self.counters.updates += 1;
        self.apply(now, &status);
        if let (Some(uuid), Some(agent_id)) = (status.uuid, status.agent_id) {
            self.acknowledge(agent_id, status.task_id, uuid);
        }
    }

    fn apply(&mut self, now: Now, status: &TaskStatus) {
        let task_id = &status.task_id;
        self.reconciler.heard(task_id);
        let Ok(state) = TaskState::try_from(status.state) else {
            let what = format!("update of task `{task_id}`: unknown state {}", status.state);
            return self.notice(Notice::Malformed { what });
        };
        let Some(flight) = self.flights.get_mut(task_id) else {
            return self.unknown(status, state);
        };
        if status.uuid.is_some() && flight.last_uuid == status.uuid {
            self.counters.duplicates += 1;
            return;
        }
        flight.heard = now.instant;
        if status.uuid.is_some() {
            flight.last_uuid.clone_from(&status.uuid);
        }
        self.notice(Notice::Updated {
            task_id: task_id.clone(),
            state,
            message: status.message.clone(),
        });
        self.apply_report(now, status);
        if is_hearsay(status, state) {
            return;
        }
        match state {
            TaskState::TaskStaging => {}
            TaskState::TaskStarting | TaskState::TaskKilling => self.alive(now, task_id),
            TaskState::TaskRunning => {
                self.alive(now, task_id);
                self.started(status);
            }
            TaskState::TaskFinished
            | TaskState::TaskFailed
            | TaskState::TaskKilled
            | TaskState::TaskError
            | TaskState::TaskLost
            | TaskState::TaskDropped
            | TaskState::TaskUnreachable
            | TaskState::TaskGone
            | TaskState::TaskGoneByOperator
            | TaskState::TaskUnknown => self.end(now, status, state),
        }
    }

    /// An update of a Mesos task that was given up, or was never ours.
    fn unknown(&mut self, status: &TaskStatus, state: TaskState) {
        if status.uuid.as_ref().is_some_and(|uuid| self.ended_lately.contains(uuid)) {
            self.counters.duplicates += 1;
            return;
        }
        self.counters.unknown += 1;
        self.count_late(status);
        let runs = match state {
            TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskRunning => true,
            TaskState::TaskKilling
            | TaskState::TaskFinished
            | TaskState::TaskFailed
            | TaskState::TaskKilled
            | TaskState::TaskError
            | TaskState::TaskLost
            | TaskState::TaskDropped
            | TaskState::TaskUnreachable
            | TaskState::TaskGone
            | TaskState::TaskGoneByOperator
            | TaskState::TaskUnknown => false,
        };
        if runs {
            self.kill(status.task_id.clone(), status.agent_id.clone());
        }
    }

    /// The executor has the Mesos task.
    fn alive(&mut self, now: Now, task_id: &TaskId) {
        let Some(flight) = self.flights.get_mut(task_id) else { return };
        if flight.phase == Phase::Launched {
            flight.phase = Phase::Running;
            flight.heard = now.instant;
            self.flights.set_timer(task_id, None);
        }
    }

    fn end(&mut self, now: Now, status: &TaskStatus, state: TaskState) {
        let Some(flight) = self.flights.get_mut(&status.task_id) else { return };
        let job_killed =
            self.jobs.get(&flight.job).is_some_and(|job| job.phase != work::Phase::Running);
        let leftover = leftover(flight, status, state, job_killed);
        let whole = state == TaskState::TaskFinished && flight.open.is_empty();
        let (job, items, width) = (flight.job, flight.items, flight.width);
        let location = flight.location.clone();
        if executor_is_gone(status, state) {
            let message = leftover.message.as_deref().unwrap_or("the executor ended");
            self.executor_ended(now, &location.agent_id, &location.executor_id, message);
        }
        let by_agent =
            state == TaskState::TaskDropped && leftover.reason != Some(Reason::InvalidOffers);
        if by_agent && let Some(agent) = self.agents.get_mut(&location.agent_id) {
            let message = leftover.message.as_deref().unwrap_or("the agent took no tasks");
            agent.dropped(now.instant, message, &self.config.timing);
        }
        if whole && let Some(job) = self.jobs.get_mut(&job) {
            job.sizer.ended(items, width);
        }
        if let Some(uuid) = &status.uuid {
            if self.ended_lately.len() == REMEMBERED {
                self.ended_lately.pop_front();
            }
            self.ended_lately.push_back(uuid.clone());
        }
        self.land(now, &status.task_id, &leftover);
    }

    /// Learns that an executor ended; what is launched next there is another one.
    fn executor_ended(
        &mut self,
        now: Now,
        agent_id: &AgentId,
        executor_id: &ExecutorId,
        message: &str,
    ) {
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        if agent.executor_ended(now.instant, executor_id, message, &self.config.timing) {
            self.notice(Notice::ExecutorEnded {
                agent_id: agent_id.clone(),
                executor_id: executor_id.clone(),
            });
        }
    }

    /// An agent or executor ended, as far as the master noticed. Updates tell the rest.
    pub(super) fn failure(&mut self, now: Now, failure: event::Failure) {
        let Some(agent_id) = failure.agent_id else { return };
        match &failure.executor_id {
            Some(executor_id) => {
                self.executor_ended(now, &agent_id, executor_id, "Executor terminated");
            }
            None => self.agents.remove(&agent_id),
        }
        let concerned = self.flights.ids(|flight| {
            flight.location.agent_id == agent_id
                && failure.executor_id.as_ref().is_none_or(|id| flight.location.executor_id == *id)
                && matches!(flight.phase, Phase::Launched | Phase::Running)
        });
        for task_id in concerned {
            self.flights.set_timer(&task_id, Some(now.instant + AFTER_FAILURE));
        }
    }

    /// The master removed the framework and everything that ran.
    pub(super) fn framework_removed(&mut self, now: Now) {
        self.agents.clear();
        let leftover = Leftover::new(Outcome::Lost, "the master removed the framework");
        for task_id in self.flights.ids(|_| true) {
            self.land(now, &task_id, &leftover);
        }
    }
}

/// Whether an update repeats what the master remembers of an ended Mesos task: the real one,
/// with its data, is still on its way.
fn is_hearsay(status: &TaskStatus, state: TaskState) -> bool {
    let repeats = status.reason.is_some()
        && matches!(status.reason(), Reason::Reconciliation | Reason::AgentReregistered);
    let by_executor = matches!(
        state,
        TaskState::TaskFinished
            | TaskState::TaskFailed
            | TaskState::TaskKilled
            | TaskState::TaskError
    );
    status.uuid.is_none() && repeats && by_executor
}

/// Whether the task's health check speaks against it.
fn is_unhealthy(status: &TaskStatus) -> bool {
    status.healthy == Some(false)
}

/// What became of the items without a result when a Mesos task ended.
fn leftover(flight: &Flight, status: &TaskStatus, state: TaskState, job_killed: bool) -> Leftover {
    let message = status.message.clone().unwrap_or_default();
    let own_end = match status.source {
        Some(_) => status.source() == Source::Executor,
        None => status.reason.is_none(),
    };
    let asked = job_killed || matches!(flight.phase, Phase::Killing { .. });
    let stale = is_stale_executor(&message);
    let outcome = match state {
        TaskState::TaskFinished if flight.single => Outcome::Finished,
        TaskState::TaskFailed if own_end && flight.single => Outcome::Failed,
        // A batch fails when it cannot be understood, not when an item fails.
        TaskState::TaskFailed if own_end => Outcome::Error,
        TaskState::TaskError if !stale => Outcome::Error,
        TaskState::TaskKilled if asked => Outcome::Killed,
        TaskState::TaskKilled if is_unhealthy(status) => Outcome::Failed,
        TaskState::TaskDropped => Outcome::NotStarted { new_attempt: flight.single },
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskError
        | TaskState::TaskKilled
        | TaskState::TaskLost
        | TaskState::TaskUnreachable
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator
        | TaskState::TaskUnknown
        | TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling => Outcome::Lost,
    };
    let message = match (message.is_empty(), outcome) {
        (false, _) => Some(message),
        (true, Outcome::Lost) => Some(format!("no result: {}", state.as_str_name())),
        (true, _) => None,
    };
    let reason = status.reason.and_then(|reason| Reason::try_from(reason).ok());
    Leftover { outcome, message, reason, at: status.timestamp.and_then(WallTime::from_seconds) }
}

/// Whether the executor of a Mesos task is not there any more, or must not be used again.
fn executor_is_gone(status: &TaskStatus, state: TaskState) -> bool {
    let stale =
        state == TaskState::TaskError && status.message.as_deref().is_some_and(is_stale_executor);
    let by_executor = status.source.is_some() && status.source() == Source::Executor;
    let reason = status.reason.and_then(|reason| Reason::try_from(reason).ok());
    let named = matches!(
        reason,
        Some(
            Reason::ExecutorTerminated
                | Reason::ExecutorUnregistered
                | Reason::ContainerLimitation
                | Reason::ContainerLimitationMemory
                | Reason::ContainerLimitationDisk
                | Reason::ContainerLaunchFailed
                | Reason::ContainerUpdateFailed
                | Reason::ContainerPreempted
                | Reason::ExecutorRegistrationTimeout
                | Reason::ExecutorReregistrationTimeout
                | Reason::IoSwitchboardExited
        )
    );
    stale || (named && !by_executor)
}

/// Whether the master refused a Mesos task because it knows another executor, or none any more,
/// under the id: what is asked for then does not fit what was offered.
fn is_stale_executor(message: &str) -> bool {
    message.contains("ExecutorInfo is not compatible")
        || message.contains("required by task and its executor is more than available")
}
