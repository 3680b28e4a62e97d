//! Deadlines ordered by time, one for each key.
//!
//! Owns nothing but instants: a caller sets and clears a key's deadline, asks
//! when the next one is due and takes what is. Used by the agent's core and by
//! its update streams, so that no decision walks all records to find the time
//! of the next one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// At most one deadline for each key.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Timers<K> {
    /// Makes a set without deadlines.
    pub(crate) fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets the key's deadline, in place of an earlier one.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        self.clear(&key);
        self.by_key.insert(key.clone(), at);
        self.by_time.insert((at, key));
    }

    /// Forgets the key's deadline.
    pub(crate) fn clear(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    /// Forgets all deadlines.
    pub(crate) fn clear_all(&mut self) {
        self.by_time.clear();
        self.by_key.clear();
    }

    /// Tells when the next deadline is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one key whose deadline has passed.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_has_one_deadline_and_the_earliest_is_due_first() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut timers = Timers::new();
        timers.set("a", at(5));
        timers.set("b", at(3));
        timers.set("a", at(1));
        timers.set("c", at(2));
        timers.clear(&"c");
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(0)), None);
        assert_eq!(timers.pop_due(at(4)), Some("a"));
        assert_eq!(timers.pop_due(at(4)), Some("b"));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.next(), None);
    }
}
