//! Runs that wait for others of their strand.
//!
//! Owns who stands behind whom. Refuses to start anything. Called by the worker: a run
//! that it may start comes back from [`Strands::enter`] at once, or from [`Strands::leave`]
//! when the one before it has ended.

use std::collections::{HashMap, VecDeque};

use super::StrandId;

/// Every strand that has a run.
#[derive(Debug)]
pub(super) struct Strands<R> {
    /// Those behind the first one, which is elsewhere.
    waiting: HashMap<StrandId, VecDeque<R>>,
}

impl<R> Default for Strands<R> {
    fn default() -> Self {
        Self { waiting: HashMap::new() }
    }
}

impl<R> Strands<R> {
    /// Gives a run back that has nobody before it.
    pub(super) fn enter(&mut self, strand: Option<StrandId>, run: R) -> Option<R> {
        let Some(strand) = strand else { return Some(run) };
        if let Some(waiting) = self.waiting.get_mut(&strand) {
            waiting.push_back(run);
            return None;
        }
        self.waiting.insert(strand, VecDeque::new());
        Some(run)
    }

    /// The first run of a strand has ended: gives the next one.
    pub(super) fn leave(&mut self, strand: Option<StrandId>) -> Option<R> {
        let strand = strand?;
        let next = self.waiting.get_mut(&strand)?.pop_front();
        if next.is_none() {
            self.waiting.remove(&strand);
        }
        next
    }

    /// Whether somebody stands behind the first run of a strand.
    pub(super) fn has_more(&self, strand: Option<StrandId>) -> bool {
        let waiting = strand.and_then(|strand| self.waiting.get(&strand));
        waiting.is_some_and(|waiting| !waiting.is_empty())
    }

    /// Finds one of those that wait.
    pub(super) fn find(&mut self, is: impl Fn(&R) -> bool) -> Option<&mut R> {
        self.waiting.values_mut().flatten().find(|run| is(run))
    }

    /// Takes one of those that wait out.
    pub(super) fn take(&mut self, is: impl Fn(&R) -> bool) -> Option<R> {
        self.waiting.values_mut().find_map(|waiting| {
            let at = waiting.iter().position(&is)?;
            waiting.remove(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<StrandId> = Some(StrandId(1));
    const TWO: Option<StrandId> = Some(StrandId(2));

    #[test]
    fn one_runs_at_a_time() {
        let mut strands = Strands::default();
        assert_eq!(strands.enter(None, 'x'), Some('x'));
        assert_eq!(strands.enter(None, 'y'), Some('y'));
        assert_eq!(strands.enter(ONE, 'a'), Some('a'));
        assert_eq!(strands.enter(TWO, 'k'), Some('k'));
        for run in ['b', 'c', 'd'] {
            assert_eq!(strands.enter(ONE, run), None);
        }
        assert!(strands.has_more(ONE) && !strands.has_more(TWO) && !strands.has_more(None));
        assert_eq!(strands.find(|run| *run == 'c'), Some(&mut 'c'));
        assert_eq!(strands.take(|run| *run == 'c'), Some('c'));
        assert_eq!(strands.take(|run| *run == 'a'), None, "it does not wait");
        assert_eq!((strands.leave(ONE), strands.leave(ONE)), (Some('b'), Some('d')));
        assert_eq!((strands.leave(ONE), strands.leave(None)), (None, None));
        assert_eq!(strands.enter(ONE, 'e'), Some('e'), "nobody is left");
    }
}
