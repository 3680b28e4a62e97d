//! Mesos tasks that were sent and have not ended.
//!
//! Owns each one's open items and its one timer. Refuses to interpret updates.
//!
//! ```text
//!            STARTING, RUNNING
//!  Launched ───────────────────▶ Running ──┐
//!     │  │                                 │ terminal update, loss
//!     │  └── kill ──▶ Killing ◀── kill ────┤
//!     │                 │                  ▼
//!     └─────────────────┴──────────────▶ removed
//! ```
//!
//! *Launched*: the timer asks the master about it. *Running*: no timer. *Killing*: the timer
//! repeats KILL.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::mesos::v1::TaskId;

use crate::{clock::Now, event::Location, indices::Indices, job::JobId};

/// A Mesos task.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) job: JobId,
    pub(crate) location: Arc<Location>,
    /// Whether it carries one item by itself, without a batch around it.
    pub(crate) single: bool,
    pub(crate) width: u64,
    /// Items it was sent with.
    pub(crate) items: u64,
    /// Items without a result.
    pub(crate) open: Indices,
    pub(crate) accepted: Now,
    pub(crate) phase: Phase,
    /// When its timer is due.
    due: Option<Instant>,
    pub(crate) last_uuid: Option<Bytes>,
    /// When the process of a single item was started, measured from ACCEPT.
    pub(crate) launch: Option<Duration>,
    /// When something was last heard of it.
    pub(crate) heard: Instant,
    /// When items were last asked back.
    pub(crate) asked_back: Option<Instant>,
    pub(crate) pace: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Launched,
    Running,
    Killing {
        /// KILLs sent.
        times: u32,
    },
}

/// What results told about durations.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    pub(crate) results: u64,
    pub(crate) ran: Duration,
    pub(crate) first_start: Option<u64>,
    pub(crate) last_end: u64,
}

/// What a Mesos task is sent with.
#[derive(Debug, Clone)]
pub(crate) struct Departure {
    pub(crate) job: JobId,
    pub(crate) location: Arc<Location>,
    pub(crate) single: bool,
    pub(crate) width: u64,
    pub(crate) items: Indices,
}

/// All of them, with their timers.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_id: BTreeMap<TaskId, Flight>,
    timers: BTreeSet<(Instant, TaskId)>,
}

impl Flights {
    pub(crate) fn depart(&mut self, now: Now, due: Instant, departure: Departure) {
        let Departure { job, location, single, width, items } = departure;
        let task_id = location.task_id.clone();
        let flight = Flight {
            job,
            location,
            single,
            width,
            items: items.len(),
            open: items,
            accepted: now,
            phase: Phase::Launched,
            due: None,
            last_uuid: None,
            launch: None,
            heard: now.instant,
            asked_back: None,
            pace: Pace::default(),
        };
        self.by_id.insert(task_id.clone(), flight);
        self.set_timer(&task_id, Some(due));
    }

    pub(crate) fn get_mut(&mut self, task_id: &TaskId) -> Option<&mut Flight> {
        self.by_id.get_mut(task_id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TaskId, &Flight)> {
        self.by_id.iter()
    }

    pub(crate) fn ids(&self, which: impl Fn(&Flight) -> bool) -> Vec<TaskId> {
        let chosen = self.by_id.iter().filter(|(_, flight)| which(flight));
        chosen.map(|(task_id, _)| task_id.clone()).collect()
    }

    pub(crate) fn remove(&mut self, task_id: &TaskId) -> Option<Flight> {
        self.set_timer(task_id, None);
        self.by_id.remove(task_id)
    }

    pub(crate) fn set_timer(&mut self, task_id: &TaskId, due: Option<Instant>) {
        let Some(flight) = self.by_id.get_mut(task_id) else { return };
        if flight.due == due {
            return;
        }
        if let Some(old) = flight.due.take() {
            self.timers.remove(&(old, task_id.clone()));
        }
        if let Some(due) = due {
            flight.due = Some(due);
            self.timers.insert((due, task_id.clone()));
        }
    }

    pub(crate) fn poll_wake(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Takes a timer that is due; it is not set any more.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<TaskId> {
        let (due, _) = self.timers.first()?;
        if *due > now {
            return None;
        }
        let (_, task_id) = self.timers.pop_first()?;
        if let Some(flight) = self.by_id.get_mut(&task_id) {
            flight.due = None;
        }
        Some(task_id)
    }
}

impl Pace {
    /// How much of a slot each of the results took.
    pub(crate) fn each(&self, width: u64) -> Option<Duration> {
        let results = u32::try_from(self.results).ok().filter(|results| *results > 0)?;
        let mean = self.ran / results;
        let first = self.first_start?;
        // With several rounds the time between items counts, too.
        if self.results < 2 * width {
            return Some(mean);
        }
        let span = Duration::from_micros(self.last_end.saturating_sub(first));
        let busy = span.saturating_mul(u32::try_from(width).unwrap_or(u32::MAX)) / results;
        Some(busy.max(mean.min(span)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_counts_the_time_between_items() {
        let pace = Pace {
            results: 100,
            ran: Duration::from_millis(100),
            first_start: Some(0),
            last_end: 100_000,
        };
        assert_eq!(pace.each(2), Some(Duration::from_millis(2)));
        assert_eq!(pace.each(100), Some(Duration::from_millis(1)));
        assert_eq!(Pace::default().each(1), None);
    }
}
