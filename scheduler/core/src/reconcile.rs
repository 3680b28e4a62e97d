//! Asking the master what became of Mesos tasks.
//!
//! Owns the rounds: after each subscription all open Mesos tasks are asked about, then those
//! without an answer again and again, with a growing delay; one round at a time. Now and then
//! an empty question finds what the core does not know.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use marmoset_proto::mesos::v1::{AgentId, TaskId};

use crate::config::Timing;

#[derive(Debug)]
pub(crate) struct Reconciler {
    round: Option<Round>,
    implicit_at: Option<Instant>,
}

#[derive(Debug)]
struct Round {
    unanswered: BTreeMap<TaskId, AgentId>,
    ask_at: Instant,
    delay: Duration,
}

/// What to ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// About these.
    Explicit(Vec<(TaskId, AgentId)>),
    /// About everything.
    Implicit,
}

impl Reconciler {
    pub(crate) fn new() -> Self {
        Self { round: None, implicit_at: None }
    }

    /// Starts over with a new subscription.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        open: impl Iterator<Item = (TaskId, AgentId)>,
        timing: &Timing,
    ) {
        let unanswered = open.collect::<BTreeMap<_, _>>();
        self.implicit_at = Some(now + timing.implicit_reconcile);
        self.round = (!unanswered.is_empty()).then_some(Round {
            unanswered,
            ask_at: now,
            delay: timing.reconcile_backoff,
        });
    }

    /// Stops asking until the next subscription.
    pub(crate) fn stop(&mut self) {
        *self = Self::new();
    }

    /// Asks about one more: with the running round, or in one of its own.
    pub(crate) fn ask(&mut self, now: Instant, task: TaskId, agent: AgentId, timing: &Timing) {
        let round = self.round.get_or_insert_with(|| Round {
            unanswered: BTreeMap::new(),
            ask_at: now,
            delay: timing.reconcile_backoff,
        });
        round.unanswered.insert(task, agent);
    }

    /// Learns that something was heard of a task.
    pub(crate) fn heard(&mut self, task: &TaskId) {
        if let Some(round) = &mut self.round {
            round.unanswered.remove(task);
            if round.unanswered.is_empty() {
                self.round = None;
            }
        }
    }

    pub(crate) fn poll_wake(&self) -> Option<Instant> {
        match &self.round {
            Some(round) => Some(round.ask_at),
            None => self.implicit_at,
        }
    }

    /// What is to be asked now.
    pub(crate) fn wake(&mut self, now: Instant, timing: &Timing) -> Option<Question> {
        if let Some(round) = &mut self.round {
            if round.ask_at > now {
                return None;
            }
            round.ask_at = now + round.delay;
            round.delay = (round.delay * 2).min(timing.reconcile_backoff_max);
            let tasks = round.unanswered.iter();
            let tasks = tasks.map(|(task, agent)| (task.clone(), agent.clone()));
            return Some(Question::Explicit(tasks.collect()));
        }
        if self.implicit_at.is_none_or(|at| at > now) {
            return None;
        }
        self.implicit_at = Some(now + timing.implicit_reconcile);
        Some(Question::Implicit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(task: &str) -> (TaskId, AgentId) {
        (task.into(), "S0".into())
    }

    #[test]
    fn one_round_at_a_time_with_growing_delays() {
        let timing = Timing::default();
        let mut now = Instant::now();
        let mut reconciler = Reconciler::new();
        reconciler.start(now, [pair("a"), pair("b")].into_iter(), &timing);
        assert_eq!(
            reconciler.wake(now, &timing),
            Some(Question::Explicit(vec![pair("a"), pair("b")]))
        );
        assert_eq!(reconciler.wake(now, &timing), None);
        reconciler.heard(&"a".into());
        reconciler.ask(now, "c".into(), "S0".into(), &timing);
        assert_eq!(reconciler.wake(now, &timing), None, "it joins the round");
        for delay in [5, 10, 20, 40, 80, 120, 120] {
            let due = reconciler.poll_wake().unwrap();
            assert_eq!(due - now, Duration::from_secs(delay));
            now = due;
            assert_eq!(
                reconciler.wake(now, &timing),
                Some(Question::Explicit(vec![pair("b"), pair("c")]))
            );
        }
        reconciler.heard(&"b".into());
        reconciler.heard(&"c".into());
        now = reconciler.poll_wake().unwrap();
        assert_eq!(reconciler.wake(now, &timing), Some(Question::Implicit));
        assert_eq!(reconciler.poll_wake(), Some(now + timing.implicit_reconcile));
    }

    #[test]
    fn a_late_question_opens_a_round() {
        let timing = Timing::default();
        let now = Instant::now();
        let mut reconciler = Reconciler::new();
        assert_eq!(reconciler.poll_wake(), None);
        reconciler.ask(now, "a".into(), "S0".into(), &timing);
        assert_eq!(reconciler.wake(now, &timing), Some(Question::Explicit(vec![pair("a")])));
    }
}
