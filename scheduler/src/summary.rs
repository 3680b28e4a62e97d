//! What a run amounts to: counts, times, and why tasks failed.
//!
//! Owns the tally that the dispatcher feeds task by task. Refuses to format
//! anything: the command does that.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// The result of [`run`](crate::run).
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Tasks by how they ended.
    pub tasks: Counts,
    /// From the beginning of the run, registration included, to the last task's end.
    pub elapsed: Duration,
    /// Mesos tasks that carried them.
    pub mesos_tasks: u64,
    /// Executors that ran them.
    pub executors: u64,
    /// From ACCEPT to the start of the task's process.
    pub launch: Percentiles,
    /// From ACCEPT to the task's end.
    pub end: Percentiles,
    /// Tasks that did not finish, by message, the most frequent first.
    pub failures: Vec<FailureGroup>,
    /// How the run ended.
    pub outcome: Outcome,
    /// What went wrong beside the tasks, e.g. outputs that could not be fetched.
    pub warnings: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every task has ended.
    Complete,
    /// It was stopped, and what ran was killed.
    Stopped,
}

/// Tasks by how they ended. Each task is counted once, by its last try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Exit status 0.
    pub finished: u64,
    /// Any other end of its own.
    pub failed: u64,
    /// Killed because the run was stopped, or never started because of it.
    pub killed: u64,
    /// Lost with executor or agent more often than the budget allows.
    pub lost: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.finished + self.failed + self.killed + self.lost
    }
}

/// Points of a distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    /// Half of the values are not above.
    pub p50: Duration,
    /// Nine of ten.
    pub p90: Duration,
    /// 99 of 100.
    pub p99: Duration,
}

/// Tasks that ended with the same message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// What they say.
    pub message: String,
    /// How many.
    pub count: u64,
    /// One of them: the lowest index seen.
    pub example: Example,
}

/// One task that did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its id.
    pub task_id: String,
    /// Its index in the job.
    pub index: u64,
    /// Where it ran; absent when it never got to an agent.
    pub sandbox: Option<Sandbox>,
}

/// Where a task's files lie on its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The agent's host name.
    pub hostname: String,
    /// The agent's id.
    pub agent_id: String,
    /// The task's folder as the agent's `/files` endpoints know it, which is also its path in
    /// `<work_dir>/slaves/<agent id>`: `/frameworks/…/tasks/<task id>`.
    pub folder: String,
}

/// Longer times count as this: 30 days.
const LONGEST_MICROS: u64 = 30 * 24 * 3600 * 1_000_000;

/// Values between 1 µs and 30 days, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("constants that are allowed"))
    }

    pub(crate) fn record(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| Duration::from_micros(self.0.value_at_quantile(quantile));
        if self.0.is_empty() {
            return Percentiles::default();
        }
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }
}

/// Groups of failures, bounded: a job of millions that print their index in the message stays small.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    groups: BTreeMap<String, (u64, Example)>,
}

/// Groups beyond this many are counted together.
const MOST_GROUPS: usize = 1000;

/// Message of the group that holds what no group of its own was left for.
const OTHERS: &str = "other messages";

impl Failures {
    pub(crate) fn record(&mut self, message: &str, example: impl FnOnce() -> Example) {
        if let Some((count, _)) = self.groups.get_mut(message) {
            *count += 1;
            return;
        }
        let message = if self.groups.len() < MOST_GROUPS { message } else { OTHERS };
        self.groups.entry(message.to_owned()).or_insert_with(|| (0, example())).0 += 1;
    }

    pub(crate) fn into_groups(self) -> Vec<FailureGroup> {
        let mut groups: Vec<_> = self
            .groups
            .into_iter()
            .map(|(message, (count, example))| FailureGroup { message, count, example })
            .collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.message.cmp(&b.message)));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(index: u64) -> Example {
        Example { task_id: format!("j.{index}"), index, sandbox: None }
    }

    #[test]
    fn percentiles_are_ordered() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.percentiles(), Percentiles::default());
        for millis in 1..=1000 {
            latencies.record(Duration::from_millis(millis));
        }
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        let seen = latencies.percentiles();
        let near = |value: Duration, millis: u64| {
            value.abs_diff(Duration::from_millis(millis)) <= Duration::from_millis(2)
        };
        assert!(near(seen.p50, 500) && near(seen.p90, 901) && near(seen.p99, 991), "{seen:?}");
    }

    #[test]
    fn failures_are_grouped_most_frequent_first() {
        let mut failures = Failures::default();
        for (index, message) in ["b", "a", "b", "c"].iter().enumerate() {
            failures.record(message, || example(index as u64));
        }
        let groups: Vec<_> = failures
            .into_groups()
            .into_iter()
            .map(|group| (group.message, group.count, group.example.index))
            .collect();
        assert_eq!(groups, [("b".into(), 2, 0), ("a".into(), 1, 1), ("c".into(), 1, 3)]);
    }

    #[test]
    fn groups_are_bounded() {
        let mut failures = Failures::default();
        for index in 0..5000 {
            failures.record(&format!("m{index}"), || example(index));
        }
        let groups = failures.into_groups();
        assert_eq!(groups.len(), MOST_GROUPS + 1);
        assert_eq!((groups[0].message.as_str(), groups[0].count), (OTHERS, 4000));
    }
}
