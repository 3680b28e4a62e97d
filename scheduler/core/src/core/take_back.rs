//! Taking items back from slow batches while slots elsewhere have nothing to do.
//!
//! Best effort: what the executor gives back comes with a report, what it does not give back
//! runs where it is.

use std::time::Duration;

use marmoset_proto::{
    marmoset::v1::{Control, IndexRange, Select},
    mesos::v1::{TaskId, scheduler::call},
};
use prost::Message;

use super::Core;
use crate::{
    clock::Now,
    flights::{Flight, Phase},
    indices::Indices,
    work::{self, Job},
};

/// How often slow batches are looked for while slots are idle.
const INTERVAL: Duration = Duration::from_millis(500);

impl Core {
    pub(super) fn take_back(&mut self, now: Now) {
        let useful = self.jobs.values().any(is_useful);
        if !useful {
            self.take_back_at = None;
            return;
        }
        match self.take_back_at {
            Some(at) if at > now.instant => return,
            Some(_) | None => {}
        }
        self.take_back_at = Some(now.instant + INTERVAL);
        let ids = self.jobs.values().filter(|job| is_useful(job));
        let ids = ids.map(|job| (job.id, job.idle_slots)).collect::<Vec<_>>();
        for (job_id, idle) in ids {
            let Some(job) = self.jobs.get(&job_id) else { continue };
            let slowest = self
                .flights
                .iter()
                .filter(|(_, flight)| flight.job == job_id)
                .filter_map(|(task_id, flight)| Some((self.rest(now, job, flight)?, task_id)))
                .max();
            if let Some(((_, stands_still), task_id)) = slowest {
                let task_id = task_id.clone();
                self.ask_back(now, &task_id, idle, stands_still);
            }
        }
    }

    /// How long a batch will take for what it has not started, if that is worth the asking;
    /// and whether it stands still.
    fn rest(&self, now: Now, job: &Job, flight: &Flight) -> Option<(Duration, bool)> {
        let timing = &self.config.timing;
        let waits = flight.open.len().checked_sub(flight.width).filter(|waits| *waits > 0)?;
        if flight.phase != Phase::Running {
            return None;
        }
        let patience = flight.asked_back.map(|asked| asked + timing.take_back_timeout);
        if patience.is_some_and(|patience| patience > now.instant) {
            return None;
        }
        let rounds = u32::try_from(waits.div_ceil(flight.width)).unwrap_or(u32::MAX);
        let expected = job.sizer.estimate().unwrap_or_default().saturating_mul(rounds);
        // Silence means that its slots are busy with long items, whatever the others took.
        let silent = now.instant.saturating_duration_since(flight.heard);
        let rest = (expected.max(silent), silent > expected);
        Some(rest).filter(|(rest, _)| *rest >= timing.take_back_rest)
    }

    fn ask_back(&mut self, now: Now, task_id: &TaskId, idle: u64, stands_still: bool) {
        let Some(flight) = self.flights.get_mut(task_id) else { return };
        flight.asked_back = Some(now.instant);
        let waits = flight.open.len().saturating_sub(flight.width);
        // Both sides shall be busy for the same time, unless nothing is known about that.
        let keep = flight.open.len() * flight.width / (flight.width + idle).max(1);
        let count = match stands_still {
            true => waits,
            false => flight.open.len().saturating_sub(keep).min(waits),
        };
        let count = count.max(1);
        let mut wanted = Indices::default();
        for (begin, end) in flight.open.ranges().rev() {
            let missing = count - wanted.len();
            if missing == 0 {
                break;
            }
            wanted.insert(begin.max((end + 1).saturating_sub(missing)), end);
        }
        let indices = wanted.ranges().map(|(begin, end)| IndexRange { begin, end }).collect();
        let control = Control {
            take_back: Some(Select { task_id: task_id.clone(), indices, kill_policy: None }),
            kill: None,
        };
        let location = flight.location.clone();
        self.counters.take_backs += 1;
        let mut call = self.session.call(call::Type::Message);
        call.message = Some(call::Message {
            agent_id: location.agent_id.clone(),
            executor_id: location.executor_id.clone(),
            data: control.encode_to_vec().into(),
        });
        self.send(call);
    }
}

/// Whether a job has idle slots, and Mesos tasks that may have something for them.
fn is_useful(job: &Job) -> bool {
    job.phase == work::Phase::Running
        && job.idle_slots > 0
        && job.book.waiting() == 0
        && job.under_way > job.slots
}
