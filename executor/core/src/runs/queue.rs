//! Whose run starts next.
//!
//! Owns the order of the runs that wait: Mesos tasks take turns, the runs of each in their order.
//! So a batch that has ten thousand places filled at once does not keep others waiting, whenever
//! they come. Refuses to know what a run is.

use std::collections::{BTreeMap, VecDeque};

use marmoset_proto::mesos::v1::TaskId;

use crate::ids::RunId;

/// Runs that wait.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many runs of one task may be on their way.
    each: Option<usize>,
    tasks: BTreeMap<TaskId, Waiting>,
    /// Those of `tasks` that have a run to give away, each once.
    turns: VecDeque<TaskId>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// May name runs that were killed.
    runs: VecDeque<RunId>,
    /// How many were given away and are not there yet; counted only if that is bounded.
    on_their_way: usize,
    has_turn: bool,
}

impl Queue {
    /// A queue without a bound.
    pub(super) fn new() -> Self {
        Self { each: None, tasks: BTreeMap::new(), turns: VecDeque::new() }
    }

    /// A queue that gives at most so many runs of one task away until [`Self::arrived`] is told.
    pub(super) fn with_places(each: usize) -> Self {
        Self { each: Some(each.max(1)), ..Self::new() }
    }

    /// Adds a run behind the others of its task.
    pub(super) fn push(&mut self, task: &TaskId, run: RunId) {
        if !self.tasks.contains_key(task) {
            self.tasks.insert(task.clone(), Waiting::default());
        }
        let waiting = self.tasks.get_mut(task).expect("it was inserted");
        waiting.runs.push_back(run);
        if !waiting.has_turn && self.each.is_none_or(|each| waiting.on_their_way < each) {
            waiting.has_turn = true;
            self.turns.push_back(task.clone());
        }
    }

    /// Takes the next run of the task whose turn it is; forgets those that no longer wait.
    pub(super) fn pop(&mut self, waits: impl Fn(RunId) -> bool) -> Option<RunId> {
        loop {
            let task = self.turns.pop_front()?;
            let waiting = self.tasks.get_mut(&task).expect("who has a turn is there");
            let found = loop {
                match waiting.runs.pop_front() {
                    Some(run) if waits(run) => break Some(run),
                    Some(_) => {}
                    None => break None,
                }
            };
            if found.is_some() && self.each.is_some() {
                waiting.on_their_way += 1;
            }
            waiting.has_turn = !waiting.runs.is_empty()
                && self.each.is_none_or(|each| waiting.on_their_way < each);
            if waiting.has_turn {
                self.turns.push_back(task);
            } else if waiting.runs.is_empty() && waiting.on_their_way == 0 {
                self.tasks.remove(&task);
            }
            if found.is_some() {
                return found;
            }
        }
    }

    /// Gives the place of a run back that was given away.
    pub(super) fn arrived(&mut self, task: &TaskId) {
        let Some(waiting) = self.tasks.get_mut(task) else { return };
        waiting.on_their_way -= 1;
        if !waiting.runs.is_empty() {
            if !waiting.has_turn {
                waiting.has_turn = true;
                self.turns.push_back(task.clone());
            }
        } else if waiting.on_their_way == 0 {
            self.tasks.remove(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop(|_| true)).map(|run| run.0).collect()
    }

    #[test]
    fn tasks_take_turns() {
        let mut queue = Queue::new();
        for run in 0..4 {
            queue.push(&"large".into(), RunId(run));
        }
        assert_eq!(queue.pop(|_| true), Some(RunId(0)));
        queue.push(&"late".into(), RunId(4));
        queue.push(&"later".into(), RunId(5));
        queue.push(&"later".into(), RunId(6));
        assert_eq!(taken(&mut queue), [1, 4, 5, 2, 6, 3]);
        assert!(queue.tasks.is_empty());
    }

    #[test]
    fn those_that_no_longer_wait_cost_no_turn() {
        let mut queue = Queue::new();
        for run in 0..3 {
            queue.push(&"a".into(), RunId(run));
        }
        queue.push(&"b".into(), RunId(3));
        assert_eq!(queue.pop(|run| run.0 >= 2), Some(RunId(2)));
        assert_eq!(queue.pop(|_| false), None);
        assert!(queue.tasks.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn places_are_those_of_each_task() {
        let mut queue = Queue::with_places(2);
        let (slow, other) = ("slow".into(), "other".into());
        for run in 0..5 {
            queue.push(&slow, RunId(run));
        }
        assert_eq!(taken(&mut queue), [0, 1]);
        queue.push(&other, RunId(5));
        queue.push(&slow, RunId(6));
        assert_eq!(taken(&mut queue), [5]);
        queue.arrived(&slow);
        assert_eq!(taken(&mut queue), [2]);
        queue.arrived(&slow);
        queue.arrived(&slow);
        assert_eq!(taken(&mut queue), [3, 4]);
        queue.arrived(&other);
        queue.arrived(&slow);
        queue.arrived(&slow);
        assert_eq!(taken(&mut queue), [6]);
        queue.arrived(&slow);
        assert!(queue.tasks.is_empty() && queue.turns.is_empty());
    }
}
