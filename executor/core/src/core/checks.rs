//! What probes have shown, and what that means for a task.

use marmoset_proto::mesos::v1::{TaskId, TaskState, task_status::Reason};

use super::{Content, Core};
use crate::{
    checks::Finding,
    ids::ProbeId,
    input::Answer,
    ledger::Weight,
    runs::{Owner, Part},
    task::{Progress, Stage},
    time::Now,
};

impl Core {
    pub(super) fn handle_probed(&mut self, now: Now, probe: ProbeId, answer: Answer) {
        if let Some((task, finding)) =
            self.checks.handle(now.instant, probe, &clipped(answer), &mut self.actions)
        {
            self.tell(now, &task, finding);
        }
    }

    pub(super) fn wake_checks(&mut self, now: Now) {
        for (task, finding) in self.checks.wake(now.instant, &mut self.actions) {
            self.tell(now, &task, finding);
        }
    }

    /// Says TASK_RUNNING again, with what is known now; ends a task that failed too often.
    fn tell(&mut self, now: Now, id: &TaskId, finding: Finding) {
        let Some(task) = self.tasks.get(id) else { return };
        // Two findings of one moment: the first may have ended the task.
        let Stage::Active(Progress::Running, _) = task.stage else { return };
        let grace = task.grace;
        let reason = match finding {
            Finding::Healthy | Finding::Unhealthy { .. } => Reason::TaskHealthCheckStatusUpdated,
            Finding::Changed => Reason::TaskCheckStatusUpdated,
        };
        let content = Content {
            reason: Some(reason),
            container_status: self.checks.container_status(id),
            ..TaskState::TaskRunning.into()
        };
        self.update(now, id, Weight::Finding, content);
        match finding {
            Finding::Unhealthy { kill: true } => self.kill_task(now, id, grace),
            Finding::Healthy | Finding::Unhealthy { kill: false } | Finding::Changed => {}
        }
    }

    /// A run has had its time and is being ended: as after a KILL, nothing is probed any more.
    pub(super) fn handle_overtime(&mut self, owner: &Owner) {
        if let Part::Item { .. } = owner.part {
            return;
        }
        let Some(task) = self.tasks.get_mut(&owner.task) else { return };
        let Stage::Active(progress, _) = &mut task.stage else { return };
        // A KILL that comes now does not change what the task comes to: it is not told.
        *progress = Progress::Killing;
        self.checks.stop(&owner.task, &mut self.actions);
    }
}

fn clipped(answer: Answer) -> Answer {
    match answer {
        Answer::NotConnected { reason } => {
            Answer::NotConnected { reason: super::tasks::clipped(reason) }
        }
        Answer::Nothing { reason } => Answer::Nothing { reason: super::tasks::clipped(reason) },
        other @ (Answer::Exited { .. } | Answer::Responded { .. } | Answer::Connected) => other,
    }
}

#[cfg(test)]
mod tests;
