//! Results: from reports to ends of items.

use std::{sync::Arc, time::Duration};

use marmoset_proto::{
    marmoset::v1::{ItemResult, Report},
    mesos::v1::{TaskId, TaskState, TaskStatus, task_status::Reason},
    status,
};
use prost::Message;

use super::Leftover;
use crate::{
    book::{Outcome, Verdict},
    clock::{Now, WallTime},
    core::{Action, Core},
    event::{JobEvent, Location, Notice, RetryReason, TaskEnd, TaskRetry, TaskStart},
    flights::{Flight, Phase},
    job::JobId,
    work::{self, Job},
};

impl Core {
    /// Settles the items that an update tells the results of.
    pub(super) fn apply_report(&mut self, now: Now, status: &TaskStatus) {
        let Some(data) = status.data.as_ref().filter(|data| !data.is_empty()) else { return };
        // A container that has started is described there, as the Docker executor of Mesos does it,
        // in a JSON array. No report begins like one.
        if data.starts_with(b"[") {
            return;
        }
        let report = match Report::decode(data.as_ref()) {
            Ok(report) => report,
            Err(error) => {
                let what = format!("`data` in an update of task `{}`: {error}", status.task_id);
                return self.notice(Notice::Malformed { what });
            }
        };
        let Some(flight) = self.flights.get_mut(&status.task_id) else { return };
        let Some(job) = self.jobs.get_mut(&flight.job) else { return };
        let asked =
            job.phase != work::Phase::Running || matches!(flight.phase, Phase::Killing { .. });
        let unhealthy = super::is_unhealthy(status);
        let received = report.received_us.map(WallTime);
        let mut ran = false;
        for result in &report.results {
            let current = flight.open.contains(result.index)
                && job.book.attempt(result.index) == result.attempt();
            let Some(outcome) = outcome(result, asked, unhealthy).filter(|_| current) else {
                job.late += 1;
                continue;
            };
            ran |= matches!(outcome, Outcome::Finished | Outcome::Failed);
            flight.open.remove(result.index);
            flight.measure(result);
            let stamp = |offset: Option<u64>| {
                let received = received?;
                Some(WallTime(received.0.saturating_add(offset?)).since(flight.accepted.wall))
            };
            let launch = stamp(result.started_us);
            let total =
                stamp(result.ended_us).unwrap_or_else(|| now.wall.since(flight.accepted.wall));
            let end = ItemEnd {
                index: result.index,
                outcome,
                wait_status: result
                    .started_us
                    .is_some()
                    .then(|| result.wait_status())
                    .or(result.wait_status),
                message: result.message.clone(),
                reason: result.reason.and_then(|reason| Reason::try_from(reason).ok()),
                launch,
                total: total.max(launch.unwrap_or_default()),
                output_bytes: (result.stdout_bytes(), result.stderr_bytes()),
            };
            let event = settle(job, &flight.location, end);
            self.actions.push_back(Action::Job(flight.job, event));
        }
        for range in &report.returned {
            let returned = flight.open.extract(range.begin, range.end);
            for index in returned.iter() {
                job.under_way -= 1;
                job.returned += 1;
                if let Verdict::Ended(_) =
                    job.book.settle(index, Outcome::NotStarted { new_attempt: false })
                {
                    let event = JobEvent::NeverStarted { begin: index, end: index };
                    self.actions.push_back(Action::Job(flight.job, event));
                }
            }
            flight.asked_back = None;
        }
        if let Some(each) = flight.pace.each(flight.width) {
            job.sizer.learn(report.results.len() as u64, each);
        }
        if ran && let Some(agent) = self.agents.get_mut(&flight.location.agent_id) {
            agent.executor_useful(&flight.location.executor_id);
        }
    }

    /// The process of a single item runs.
    pub(super) fn started(&mut self, status: &TaskStatus) {
        let Some(flight) = self.flights.get_mut(&status.task_id) else { return };
        let Some(job) = self.jobs.get(&flight.job) else { return };
        let Some(index) = flight.open.iter().next().filter(|_| flight.single) else { return };
        if flight.launch.is_some() {
            return;
        }
        let at = status.timestamp.and_then(WallTime::from_seconds);
        let launch = at.map(|at| at.since(flight.accepted.wall)).unwrap_or_default();
        flight.launch = Some(launch);
        let event = JobEvent::TaskStarted(TaskStart {
            index,
            attempt: job.book.attempt(index),
            location: Arc::clone(&flight.location),
            launch,
        });
        self.actions.push_back(Action::Job(flight.job, event));
    }

    /// Takes a Mesos task out of the books; items without a result share one fate.
    pub(in crate::core) fn land(&mut self, now: Now, task_id: &TaskId, leftover: &Leftover) {
        let Some(flight) = self.flights.remove(task_id) else { return };
        self.reconciler.heard(task_id);
        if let Some(agent) = self.agents.get_mut(&flight.location.agent_id) {
            agent.mesos_tasks = agent.mesos_tasks.saturating_sub(1);
            agent.slots = agent.slots.saturating_sub(flight.width);
        }
        self.appetite.freed(now.instant, flight.width);
        let Some(job) = self.jobs.get_mut(&flight.job) else { return };
        job.mesos_tasks_open -= 1;
        job.slots -= flight.width;
        if job.mesos_tasks_open == 0 {
            job.stall.moved(now.instant, &self.config.timing);
        }
        let outcome = match leftover.outcome {
            Outcome::NotStarted { .. } => Outcome::NotStarted { new_attempt: flight.single },
            Outcome::Finished
            | Outcome::Failed
            | Outcome::Killed
            | Outcome::Error
            | Outcome::Lost => leftover.outcome,
        };
        let total = leftover.at.unwrap_or(now.wall).since(flight.accepted.wall);
        for index in flight.open.iter() {
            let end = ItemEnd {
                index,
                outcome,
                wait_status: None,
                message: leftover.message.clone(),
                reason: leftover.reason,
                launch: flight.launch,
                total: total.max(flight.launch.unwrap_or_default()),
                output_bytes: (0, 0),
            };
            let event = settle(job, &flight.location, end);
            self.actions.push_back(Action::Job(flight.job, event));
        }
        if job.book.waiting() == 0 {
            job.idle_slots += flight.width;
        }
    }

    /// Settles items that waited for another try when their job was killed.
    pub(in crate::core) fn end_unsent(&mut self, job_id: JobId, tried: Vec<u64>) {
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        for index in tried {
            let attempt = job.book.attempt(index);
            if let Verdict::Ended(state) = job.book.settle(index, Outcome::Killed) {
                let end = TaskEnd {
                    index,
                    attempt,
                    state,
                    wait_status: None,
                    message: Some("killed before its next try".to_owned()),
                    reason: None,
                    launch: None,
                    total: Duration::ZERO,
                    output_bytes: (0, 0),
                    location: None,
                };
                self.actions.push_back(Action::Job(job_id, JobEvent::TaskEnded(end)));
            }
        }
    }

    /// Counts results of a Mesos task that was given up.
    pub(super) fn count_late(&mut self, status: &TaskStatus) {
        let Some(report) = status.data.as_ref().and_then(|data| Report::decode(data.as_ref()).ok())
        else {
            return;
        };
        let id = status.task_id.as_str();
        let owner = self
            .jobs
            .values_mut()
            .find(|job| id.strip_prefix(&job.spec.name).is_some_and(|rest| rest.starts_with('.')));
        if let Some(job) = owner {
            job.late += report.results.len() as u64;
        }
    }
}

/// How one try of an item ended.
struct ItemEnd {
    index: u64,
    outcome: Outcome,
    wait_status: Option<i32>,
    message: Option<String>,
    reason: Option<Reason>,
    launch: Option<Duration>,
    total: Duration,
    output_bytes: (u64, u64),
}

fn settle(job: &mut Job, location: &Arc<Location>, end: ItemEnd) -> JobEvent {
    let attempt = job.book.attempt(end.index);
    job.under_way -= 1;
    let location = Arc::clone(location);
    match job.book.settle(end.index, end.outcome) {
        Verdict::Ended(state) => JobEvent::TaskEnded(TaskEnd {
            index: end.index,
            attempt,
            state,
            wait_status: end.wait_status,
            message: end.message,
            reason: end.reason,
            launch: end.launch,
            total: end.total,
            output_bytes: end.output_bytes,
            location: Some(location),
        }),
        Verdict::Again(why) => {
            match why {
                RetryReason::Failed => job.failed_retried += 1,
                RetryReason::Lost => job.lost_retried += 1,
                RetryReason::NotStarted => job.returned += 1,
            }
            let text =
                end.message.or_else(|| end.wait_status.map(status::describe)).unwrap_or_default();
            JobEvent::TaskRetried(TaskRetry { index: end.index, attempt, why, text, location })
        }
    }
}

/// What a result means; nothing for a state that is no end.
fn outcome(result: &ItemResult, asked: bool, unhealthy: bool) -> Option<Outcome> {
    let state = match result.state {
        None => TaskState::TaskFinished,
        Some(state) => TaskState::try_from(state).ok()?,
    };
    match state {
        TaskState::TaskFinished => Some(Outcome::Finished),
        TaskState::TaskFailed => Some(Outcome::Failed),
        TaskState::TaskError => Some(Outcome::Error),
        TaskState::TaskKilled if asked => Some(Outcome::Killed),
        // By the executor, because its health check failed.
        TaskState::TaskKilled if unhealthy => Some(Outcome::Failed),
        // Killed by others, such as an agent that is drained.
        TaskState::TaskKilled => Some(Outcome::Lost),
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskLost
        | TaskState::TaskDropped
        | TaskState::TaskUnreachable
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator
        | TaskState::TaskUnknown => None,
    }
}

impl Flight {
    fn measure(&mut self, result: &ItemResult) {
        let (Some(started), Some(ended)) = (result.started_us, result.ended_us) else { return };
        let pace = &mut self.pace;
        pace.results += 1;
        pace.ran += Duration::from_micros(ended.saturating_sub(started));
        pace.first_start = Some(pace.first_start.map_or(started, |first| first.min(started)));
        pace.last_end = pace.last_end.max(ended);
    }
}
