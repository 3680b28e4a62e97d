//! Killing jobs, and the timers of Mesos tasks.
//!
//! No answer to a KILL is certain: it is repeated until the Mesos task has ended.

use super::{Action, Core};
use crate::{clock::Now, event::JobEvent, flights::Phase, job::JobId, work};

impl Core {
    pub(super) fn kill_job(&mut self, now: Now, job_id: JobId) {
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if job.phase != work::Phase::Running {
            return;
        }
        job.phase = work::Phase::Killing;
        let (never_sent, tried) = job.book.close();
        for (begin, end) in never_sent {
            self.actions.push_back(Action::Job(job_id, JobEvent::NeverStarted { begin, end }));
        }
        self.end_unsent(job_id, tried);
        for task_id in self.flights.ids(|flight| flight.job == job_id) {
            if let Some(flight) = self.flights.get_mut(&task_id) {
                flight.phase = Phase::Killing { times: 0 };
                self.flights.set_timer(&task_id, Some(now.instant));
            }
        }
        self.wake_flights(now);
    }

    /// With a new subscription every KILL is worth repeating at once.
    pub(super) fn repeat_kills(&mut self, now: Now) {
        for task_id in self.flights.ids(|flight| matches!(flight.phase, Phase::Killing { .. })) {
            self.flights.set_timer(&task_id, Some(now.instant));
        }
        self.wake_flights(now);
    }

    pub(super) fn wake_flights(&mut self, now: Now) {
        while let Some(task_id) = self.flights.pop_due(now.instant) {
            let Some(flight) = self.flights.get_mut(&task_id) else { continue };
            let agent_id = flight.location.agent_id.clone();
            let timing = &self.config.timing;
            match flight.phase {
                // Nothing was heard of it for too long.
                Phase::Launched | Phase::Running => {
                    let due = now.instant + timing.launch_timeout;
                    self.reconciler.ask(now.instant, task_id.clone(), agent_id, timing);
                    self.flights.set_timer(&task_id, Some(due));
                }
                Phase::Killing { times } => {
                    let doubled = 2_u32.saturating_pow(times.min(16));
                    let delay =
                        timing.kill_backoff.saturating_mul(doubled).min(timing.kill_backoff_max);
                    flight.phase = Phase::Killing { times: times.saturating_add(1) };
                    self.flights.set_timer(&task_id, Some(now.instant + delay));
                    self.kill(task_id, Some(agent_id));
                }
            }
        }
    }
}
