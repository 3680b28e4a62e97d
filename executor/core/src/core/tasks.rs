//! Tasks come, run, report and end.

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use marmoset_proto::{
    marmoset::v1::Report,
    mesos::v1::{TaskId, TaskInfo, TaskState, task_status::Reason},
};
use prost::Message as _;

use super::{Content, Core, Life};
use crate::{
    action::{Spawn, Template},
    batch::Batch,
    ids::{GroupId, RunId},
    input::{RunEvent, StartDetails},
    ledger::Weight,
    note::Note,
    results::item_result,
    runs::{Change, Outcome, Owner, Part},
    spec::{self, Work},
    task::{Body, KeptInfo, Progress, Stage, Task},
    time::Now,
};

/// A refusal may quote what was given; an update does not repeat all of it.
const MESSAGE_BYTES_MAX: usize = 4096;

impl Core {
    /// Takes in the tasks of a LAUNCH or a LAUNCH_GROUP.
    pub(super) fn launch(&mut self, now: Now, tasks: Vec<TaskInfo>, group: Option<GroupId>) {
        let mut fresh = Vec::new();
        for info in tasks {
            let reason = match self.life {
                Life::Serving if !self.tasks.contains_key(&info.task_id) => {
                    fresh.push(info);
                    continue;
                }
                Life::Serving => "it is here already",
                Life::Draining(_) | Life::Over => "the executor is about to end",
            };
            self.note(Note::LaunchIgnored { task: info.task_id, reason });
        }
        let full = self.queue_full(fresh.len());
        let ids = fresh.iter().map(|info| info.task_id.clone()).collect::<Vec<_>>();
        if let Some(group) = group {
            self.groups.insert(group, ids.iter().cloned().collect());
        }
        for info in fresh {
            self.take_in(now, info, group, full.clone());
        }
        // A member that was refused takes the others with it, once all are here.
        for id in ids {
            self.check_group(now, &id);
        }
    }

    fn queue_full(&self, more: usize) -> Option<String> {
        let bound = self.config.queue.tasks;
        (self.waiting + more > bound).then(|| {
            format!(
                "the executor's queue is full: {} tasks wait to be started and `--queue` allows {bound}",
                self.waiting
            )
        })
    }

    fn items_full(&self, more: u64) -> Option<String> {
        let bound = self.config.queue.items;
        let waiting = self
            .batches
            .iter()
            .filter_map(|id| match &self.tasks.get(id)?.stage {
                Stage::Active(_, Body::Batch(batch)) => Some(batch.waiting()),
                Stage::Active(_, Body::Single { .. }) | Stage::Ended => None,
            })
            .sum::<u64>();
        (more > bound.saturating_sub(waiting)).then(|| {
            format!(
                "the executor's queue is full: {waiting} items wait to be started, the batch has \
                 {more}, and `--queue-items` allows {bound}"
            )
        })
    }

    fn take_in(&mut self, now: Now, info: TaskInfo, group: Option<GroupId>, full: Option<String>) {
        let id = info.task_id.clone();
        let grace = info
            .kill_policy
            .and_then(|policy| policy.grace_period)
            .map_or(self.config.kill_grace, |grace| grace.to_duration());
        let (stage, refusal) = match self.prepare(now, &info, grace, full) {
            Ok(body) => (Stage::Active(Progress::Waiting, body), None),
            Err(refusal) => (Stage::Ended, Some(refusal)),
        };
        let info = Some(KeptInfo::new(info, &mut self.executor));
        let task = Box::new(Task { info, received: now.wall, group, grace, stage });
        self.tasks.insert(id.clone(), task);
        match refusal {
            None => {
                self.active += 1;
                self.waiting += 1;
                self.update(now, &id, Weight::Passing, TaskState::TaskStarting.into());
                self.settle(now, &id);
            }
            Some(Refusal { state, message }) => {
                let message = clipped(message);
                let reason = (state == TaskState::TaskError).then_some(Reason::TaskInvalid);
                self.note(Note::TaskRefused { task: id.clone(), message: message.clone() });
                let content = Content { message: Some(message), reason, ..state.into() };
                self.update(now, &id, Weight::Terminal, content);
                self.checks.remove(&id);
            }
        }
    }

    fn prepare(
        &mut self,
        now: Now,
        info: &TaskInfo,
        grace: Duration,
        full: Option<String>,
    ) -> Result<Body, Refusal> {
        let id = &info.task_id;
        let work = spec::read(info)
            .map_err(|error| Refusal { state: TaskState::TaskError, message: error.to_string() })?;
        match &work {
            Work::Single(single) => self.checks.add(id, &single.checks),
            Work::Batch(_) => {}
        }
        let full = full.or_else(|| match &work {
            Work::Single(_) => None,
            Work::Batch(batch) => self.items_full(batch.pending.len()),
        });
        if let Some(message) = full {
            return Err(Refusal { state: TaskState::TaskFailed, message });
        }
        let items = match &work {
            Work::Single(_) => 1,
            Work::Batch(batch) => batch.pending.len(),
        };
        self.note(Note::TaskReceived { task: id.clone(), items });
        Ok(match work {
            Work::Single(single) => {
                let (index, attempt) =
                    single.item.as_ref().map_or((0, 0), |item| (item.index, item.attempt()));
                let owner = Owner { task: id.clone(), part: Part::Whole };
                let template = self.shared(single.template);
                let checks = &mut self.checks;
                let run = self.runs.add(owner, single.limit, grace, |run| {
                    let spawn = Spawn {
                        run,
                        template,
                        item: single.item,
                        task: id.value.clone(),
                        ports: single.ports,
                        strand: None,
                    };
                    checks.prepare(id, &spawn);
                    spawn
                });
                Body::Single { run, index, attempt }
            }
            Work::Batch(spec) => {
                self.batches.insert(id.clone());
                Body::Batch(Box::new(Batch::new(spec, now.wall)))
            }
        })
    }

    /// The template of the task before, if this one equals it.
    fn shared(&mut self, template: Arc<Template>) -> Arc<Template> {
        match &self.template {
            Some(last) if *last == template => Arc::clone(last),
            Some(_) | None => Arc::clone(self.template.insert(template)),
        }
    }

    /// Handles what a runtime says about a run.
    pub(super) fn handle_run(&mut self, now: Now, run: RunId, event: RunEvent) {
        let event = match event {
            RunEvent::Refused { message, reason, at } => {
                RunEvent::Refused { message: clipped(message), reason, at }
            }
            RunEvent::Lost { message, at } => RunEvent::Lost { message: clipped(message), at },
            RunEvent::Waiting { message } => RunEvent::Waiting { message: clipped(message) },
            other @ (RunEvent::Started { .. } | RunEvent::Returned | RunEvent::Exited { .. }) => {
                other
            }
        };
        match self.runs.handle(now, run, event, &mut self.actions) {
            None => {}
            Some((owner, Change::Waiting(message))) => {
                self.handle_waiting(now, &owner.task, message);
            }
            Some((owner, Change::Started(details))) => {
                self.handle_started(now, &owner, details.map(|details| *details));
            }
            Some((owner, Change::Returned)) => self.handle_returned(now, &owner),
            Some((owner, Change::Ended(outcome))) => self.handle_ended(now, &owner, outcome),
        }
    }

    pub(super) fn handle_launcher_died(&mut self, now: Now, reason: String) {
        let runs = self.runs.at_launcher();
        self.note(Note::LauncherDied { reason: reason.clone(), runs });
        for (owner, outcome) in self.runs.lose_all(now, &clipped(reason)) {
            self.handle_ended(now, &owner, outcome);
        }
    }

    fn handle_waiting(&mut self, now: Now, id: &TaskId, message: String) {
        let Some(task) = self.tasks.get(id) else { return };
        let Stage::Active(Progress::Waiting, _) = &task.stage else { return };
        let content = Content { message: Some(message), ..TaskState::TaskStarting.into() };
        self.update(now, id, Weight::Light, content);
    }

    fn handle_started(&mut self, now: Now, owner: &Owner, details: Option<StartDetails>) {
        let id = &owner.task;
        let Some(task) = self.tasks.get_mut(id) else { return };
        if let (Stage::Active(_, Body::Batch(batch)), Part::Item { index, slot, .. }) =
            (&mut task.stage, owner.part)
            && batch.handle_started(now.instant, index, slot)
        {
            batch.fill(now.instant, id, task.grace, &mut self.runs, &mut self.actions);
        }
        let Stage::Active(progress @ Progress::Waiting, body) = &mut task.stage else { return };
        *progress = Progress::Running;
        let details = match body {
            Body::Batch(batch) => {
                batch.start_interval(now.instant);
                StartDetails::default()
            }
            Body::Single { .. } => details.unwrap_or_default(),
        };
        self.waiting -= 1;
        let StartDetails { container_status, data } = details;
        self.checks.start(now.instant, id, container_status.as_ref());
        let content = Content { container_status, data, ..TaskState::TaskRunning.into() };
        self.update(now, id, Weight::Light, content);
    }

    /// Handles the end of a run.
    pub(super) fn handle_ended(&mut self, now: Now, owner: &Owner, outcome: Outcome) {
        let Some(task) = self.tasks.get_mut(&owner.task) else { return };
        let received = task.received;
        match (&mut task.stage, owner.part) {
            (Stage::Active(_, Body::Batch(batch)), Part::Item { index, attempt, slot }) => {
                batch.handle_ended(now.instant, (index, attempt, slot), &outcome);
                self.settle(now, &owner.task);
            }
            (&mut Stage::Active(_, Body::Single { index, attempt, .. }), Part::Whole) => {
                let report = Report {
                    received_us: Some(received.0),
                    results: vec![item_result(index, attempt, &outcome, received)],
                    returned: Vec::new(),
                };
                let content = Content {
                    message: Some(outcome.message()),
                    reason: outcome.reason,
                    data: Some(Bytes::from(report.encode_to_vec())),
                    limitation: outcome.limitation,
                    ..outcome.state.into()
                };
                self.end_task(now, &owner.task, content);
            }
            (Stage::Active(_, Body::Single { .. }), Part::Item { .. })
            | (Stage::Active(_, Body::Batch(_)), Part::Whole)
            | (Stage::Ended, Part::Whole | Part::Item { .. }) => {}
        }
    }

    /// Handles that a run is back that was not started: it waits again.
    fn handle_returned(&mut self, now: Now, owner: &Owner) {
        let Some(task) = self.tasks.get_mut(&owner.task) else { return };
        match (&mut task.stage, owner.part) {
            (Stage::Active(_, Body::Batch(batch)), Part::Item { index, slot, .. }) => {
                batch.handle_returned(now.instant, index, slot);
                self.settle(now, &owner.task);
            }
            // Only runs of batches are asked for back unless they are killed.
            (Stage::Active(_, Body::Single { .. }), Part::Whole) => {
                let message = "its runtime gave it back without being asked".to_owned();
                let outcome = Outcome::without_process(TaskState::TaskFailed, message, now.wall);
                self.handle_ended(now, owner, outcome);
            }
            (Stage::Active(_, Body::Single { .. }), Part::Item { .. })
            | (Stage::Active(_, Body::Batch(_)), Part::Whole)
            | (Stage::Ended, Part::Whole | Part::Item { .. }) => {}
        }
    }

    /// Starts, reports and ends whatever a batch is ready for.
    pub(super) fn settle(&mut self, now: Now, id: &TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let Stage::Active(_, Body::Batch(batch)) = &mut task.stage else { return };
        let look_at = batch.recall(now.instant, &self.runs, &mut self.actions);
        self.timers.extend(look_at.map(|at| (at, id.clone())));
        batch.fill(now.instant, id, task.grace, &mut self.runs, &mut self.actions);
        if batch.can_end() {
            let (state, message) = batch.ending();
            let data = Some(batch.take_report());
            let content = Content { message: Some(message), data, ..state.into() };
            return self.end_task(now, id, content);
        }
        // The next report waits for the acknowledgement of the last one.
        let Some(at) = batch.report_at(now.instant, self.config.report_interval) else { return };
        if self.ledger.has_report(id) {
            return;
        }
        if at > now.instant {
            self.timers.insert((at, id.clone()));
            return;
        }
        batch.start_interval(now.instant);
        let data = Some(batch.take_report());
        // Room for results may have been what held the batch back.
        batch.fill(now.instant, id, task.grace, &mut self.runs, &mut self.actions);
        let content = Content { data, ..TaskState::TaskRunning.into() };
        self.update(now, id, Weight::Results, content);
    }

    /// Writes the terminal update.
    fn end_task(&mut self, now: Now, id: &TaskId, content: Content) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        if let Stage::Active(Progress::Waiting, _) = mem::replace(&mut task.stage, Stage::Ended) {
            self.waiting -= 1;
        }
        self.active -= 1;
        self.batches.remove(id);
        self.checks.stop(id, &mut self.actions);
        let message = content.message.clone().unwrap_or_default();
        let state = content.state.as_str_name();
        self.note(Note::TaskEnded { task: id.clone(), state, message });
        let finished = content.state == TaskState::TaskFinished;
        self.update(now, id, Weight::Terminal, content);
        self.checks.remove(id);
        if finished {
            self.leave_group(id);
        } else {
            self.check_group(now, id);
        }
    }
}

/// Why a task does not run, and the state that says so.
struct Refusal {
    state: TaskState,
    message: String,
}

pub(super) fn clipped(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
        message.push_str("...");
    }
    message
}
