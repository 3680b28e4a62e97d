//! Counting what a run did, task by task.

use std::time::Duration;

use marmoset_scheduler_core::{EndState, Location, TaskEnd};
use tokio::time::Instant;

use crate::summary::{Counts, Example, Failures, Latencies, Outcome, Sandbox, Summary};

/// The sums that become a [`Summary`].
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    last_end: Option<Instant>,
    counts: Counts,
    mesos_tasks: u64,
    started: u64,
    launch: Latencies,
    end: Latencies,
    failures: Failures,
}

impl Tally {
    pub(super) fn new(begun: Instant) -> Self {
        Self {
            begun,
            last_end: None,
            counts: Counts::default(),
            mesos_tasks: 0,
            started: 0,
            launch: Latencies::new(),
            end: Latencies::new(),
            failures: Failures::default(),
        }
    }

    /// A Mesos task was sent.
    pub(super) fn launched(&mut self) {
        self.mesos_tasks += 1;
    }

    /// A process was started.
    pub(super) fn started(&mut self) {
        self.started += 1;
    }

    /// A task ended for good. Kills that were asked for are not told as failures.
    pub(super) fn ended(&mut self, job: &str, end: &TaskEnd, kills_expected: bool, now: Instant) {
        self.last_end = Some(now);
        let (count, is_failure) = match end.state {
            EndState::Finished => (&mut self.counts.finished, false),
            EndState::Failed | EndState::Error => (&mut self.counts.failed, true),
            EndState::Killed => (&mut self.counts.killed, !kills_expected),
            EndState::Lost => (&mut self.counts.lost, true),
        };
        *count += 1;
        if let Some(launch) = end.launch {
            self.launch.record(launch);
            self.started += 1;
        }
        if end.location.is_some() {
            self.end.record(end.total);
        }
        if is_failure {
            self.failures.record(&end.text(), || example(job, end));
        }
    }

    /// These tasks were never sent.
    pub(super) fn never_started(&mut self, begin: u64, end: u64) {
        self.counts.killed += end.saturating_sub(begin).saturating_add(1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn has_seen_a_task_run(&self) -> bool {
        self.started > 0
    }

    pub(super) fn into_summary(
        self,
        executors: u64,
        outcome: Outcome,
        warnings: Vec<String>,
    ) -> Summary {
        Summary {
            tasks: self.counts,
            elapsed: self.last_end.map_or(Duration::ZERO, |end| end - self.begun),
            mesos_tasks: self.mesos_tasks,
            executors,
            launch: self.launch.percentiles(),
            end: self.end.percentiles(),
            failures: self.failures.into_groups(),
            outcome,
            warnings,
        }
    }
}

fn example(job: &str, end: &TaskEnd) -> Example {
    let task_id = end.task_id(job);
    let sandbox = end.location.as_ref().map(|location| Sandbox {
        hostname: location.hostname.clone(),
        agent_id: location.agent_id.to_string(),
        folder: folder(location, &task_id),
    });
    Example { task_id, index: end.index, sandbox }
}

/// Where an agent's `/files` endpoints show the files of a task.
pub(super) fn folder(location: &Location, task_id: &str) -> String {
    format!("{}/tasks/{task_id}", sandbox(location))
}

/// Where an agent's `/files` endpoints show the sandbox of an executor.
pub(super) fn sandbox(location: &Location) -> String {
    let Location { framework_id, executor_id, .. } = location;
    format!("/frameworks/{framework_id}/executors/{executor_id}/runs/latest")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn end(index: u64, state: EndState, wait_status: i32) -> TaskEnd {
        TaskEnd {
            index,
            attempt: 0,
            state,
            wait_status: Some(wait_status),
            message: None,
            reason: None,
            launch: Some(Duration::from_millis(3)),
            total: Duration::from_millis(9),
            output_bytes: (0, 0),
            location: Some(Arc::new(Location {
                framework_id: "f".into(),
                agent_id: "a".into(),
                hostname: "h".into(),
                address: "127.0.0.1".into(),
                port: 5051,
                executor_id: "e".into(),
                task_id: "j.b0".into(),
            })),
        }
    }

    #[test]
    fn each_end_is_counted_once_by_its_state() {
        let begun = Instant::now();
        let mut tally = Tally::new(begun);
        let later = begun + Duration::from_secs(2);
        tally.launched();
        for (index, state) in [
            EndState::Finished,
            EndState::Failed,
            EndState::Error,
            EndState::Lost,
            EndState::Killed,
        ]
        .into_iter()
        .enumerate()
        {
            tally.ended("j", &end(index as u64, state, 256), true, later);
        }
        tally.never_started(5, 9);
        let summary = tally.into_summary(1, Outcome::Stopped, Vec::new());
        assert_eq!(summary.tasks, Counts { finished: 1, failed: 2, killed: 6, lost: 1 });
        assert_eq!(summary.elapsed, Duration::from_secs(2));
        assert_eq!((summary.mesos_tasks, summary.executors), (1, 1));
        let groups: Vec<_> =
            summary.failures.iter().map(|group| (&*group.message, group.count)).collect();
        assert_eq!(groups, [("Command exited with status 1", 3)]);
        let sandbox = summary.failures[0].example.sandbox.as_ref().unwrap();
        assert_eq!(sandbox.folder, "/frameworks/f/executors/e/runs/latest/tasks/j.1");
        assert!(summary.launch.p50 >= Duration::from_millis(2), "{summary:?}");
    }

    #[test]
    fn a_kill_nobody_asked_for_is_a_failure() {
        let mut tally = Tally::new(Instant::now());
        tally.ended("j", &end(0, EndState::Killed, 15), false, Instant::now());
        let summary = tally.into_summary(1, Outcome::Complete, Vec::new());
        assert_eq!(summary.failures[0].message, "Command terminated with signal Terminated");
    }
}
