//! Kills: of tasks, of groups, of single items.

use std::{mem, time::Duration};

use marmoset_proto::{
    codec::{self, Encoding},
    marmoset::v1::{Control, Select},
    mesos::v1::{KillPolicy, TaskId, TaskState, executor::event},
};

use super::Core;
use crate::{
    items::Selection,
    ledger::Weight,
    note::Note,
    runs::Cause,
    task::{Body, Progress, Stage},
    time::Now,
};

impl Core {
    pub(super) fn handle_kill(&mut self, now: Now, kill: event::Kill) {
        let id = kill.task_id;
        match self.tasks.get(&id) {
            Some(task) if matches!(task.stage, Stage::Active(..)) => {
                let grace = grace_of(kill.kill_policy).unwrap_or(task.grace);
                self.kill_task(now, &id, grace);
            }
            // Duplicates, and kills that cross the end of their task, are usual.
            Some(_) | None => self.note(Note::KillIgnored { task: id }),
        }
    }

    /// Ends a task and all its items. A second time it can only shorten the grace.
    pub(super) fn kill_task(&mut self, now: Now, id: &TaskId, grace: Duration) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let Stage::Active(progress, body) = &mut task.stage else { return };
        let before = mem::replace(progress, Progress::Killing);
        let first = before != Progress::Killing;
        let runs = match body {
            Body::Single { run, .. } => vec![*run],
            Body::Batch(batch) => {
                batch.mark_killed();
                batch.kill(now.wall, &Selection::All)
            }
        };
        if before == Progress::Waiting {
            self.waiting -= 1;
        }
        self.checks.stop(id, &mut self.actions);
        if first && self.killing_state {
            self.update(now, id, Weight::Passing, TaskState::TaskKilling.into());
        }
        for run in runs {
            if let Some((owner, outcome)) =
                self.runs.kill(now, run, Cause::Killed, grace, &mut self.actions)
            {
                self.handle_ended(now, &owner, outcome);
            }
        }
        self.settle(now, id);
    }

    /// Kills the rest of a group when `id` has ended other than well.
    pub(super) fn check_group(&mut self, now: Now, id: &TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        let (Some(group), Stage::Ended) = (task.group, &task.stage) else { return };
        for member in self.groups.remove(&group).unwrap_or_default() {
            let Some(task) = self.tasks.get(&member) else { continue };
            let grace = task.grace;
            self.kill_task(now, &member, grace);
        }
    }

    /// Forgets a member that ended well, and the group with its last.
    pub(super) fn leave_group(&mut self, id: &TaskId) {
        let Some(group) = self.tasks.get(id).and_then(|task| task.group) else { return };
        let Some(members) = self.groups.get_mut(&group) else { return };
        members.remove(id);
        if members.is_empty() {
            self.groups.remove(&group);
        }
    }

    /// Handles a MESSAGE of the scheduler.
    pub(super) fn handle_message(&mut self, now: Now, data: &[u8]) {
        let encoding = match data.first() {
            Some(b'{') => Encoding::Json,
            _ => Encoding::Protobuf,
        };
        match codec::decode::<Control>(data, encoding) {
            Err(error) => {
                let reason = format!("it is not a `marmoset.v1.Control`: {error}");
                self.note(Note::MessageIgnored { reason });
            }
            Ok(Control { take_back: None, kill: None }) => {
                let reason = "it has neither `take_back` nor `kill`".to_string();
                self.note(Note::MessageIgnored { reason });
            }
            Ok(Control { take_back, kill }) => {
                if let Some(select) = take_back {
                    self.take_back(now, &select);
                }
                if let Some(select) = kill {
                    self.kill_items(now, &select);
                }
            }
        }
    }

    fn take_back(&mut self, now: Now, select: &Select) {
        let id = &select.task_id;
        match self.tasks.get_mut(id).map(|task| &mut task.stage) {
            Some(Stage::Active(_, Body::Batch(batch))) => {
                for run in batch.take_back(&Selection::new(&select.indices)) {
                    self.runs.recall(run, &mut self.actions);
                }
                self.settle(now, id);
            }
            Some(Stage::Active(_, Body::Single { .. }) | Stage::Ended) | None => {
                self.ignore_select(id);
            }
        }
    }

    fn kill_items(&mut self, now: Now, select: &Select) {
        let id = &select.task_id;
        let Some(task) = self.tasks.get_mut(id) else { return self.ignore_select(id) };
        let grace = grace_of(select.kill_policy).unwrap_or(task.grace);
        let runs = match &mut task.stage {
            Stage::Active(_, Body::Batch(batch)) => {
                batch.kill(now.wall, &Selection::new(&select.indices))
            }
            Stage::Active(_, Body::Single { .. }) | Stage::Ended => return self.ignore_select(id),
        };
        for run in runs {
            if let Some((owner, outcome)) =
                self.runs.kill(now, run, Cause::Killed, grace, &mut self.actions)
            {
                self.handle_ended(now, &owner, outcome);
            }
        }
        self.settle(now, id);
    }

    fn ignore_select(&mut self, id: &TaskId) {
        let reason = format!("it names the task `{id}`, which is not a running batch here");
        self.note(Note::MessageIgnored { reason });
    }
}

fn grace_of(policy: Option<KillPolicy>) -> Option<Duration> {
    Some(policy?.grace_period?.to_duration())
}
