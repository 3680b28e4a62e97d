//! Containers that have to go: in the background, a few at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use marmoset_executor_core::Now;

use super::{Act, Core, Log};
use crate::runtime::docker::engine::EngineError;

/// Refusals of the engine after which a container is left to the next executor.
const TRIES: u32 = 5;

#[derive(Debug)]
pub(super) struct Removals {
    at_a_time: usize,
    queue: VecDeque<String>,
    asked: BTreeSet<String>,
    refusals: BTreeMap<String, u32>,
    /// The engine does not want to remove them.
    given_up: BTreeSet<String>,
}

impl Removals {
    pub(super) fn new(at_a_time: usize) -> Self {
        Self {
            at_a_time,
            queue: VecDeque::new(),
            asked: BTreeSet::new(),
            refusals: BTreeMap::new(),
            given_up: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, name: String) {
        self.queue.push_back(name);
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.asked.contains(name) || self.queue.iter().any(|queued| queued == name)
    }

    pub(super) fn into_names(self) -> impl Iterator<Item = String> {
        self.queue.into_iter().chain(self.asked).chain(self.given_up)
    }

    fn next(&mut self) -> Option<String> {
        if self.asked.len() >= self.at_a_time {
            return None;
        }
        let name = self.queue.pop_front()?;
        self.asked.insert(name.clone());
        Some(name)
    }
}

impl Core {
    pub(super) fn remove_some(&mut self) {
        while let Some(name) = self.removals.next() {
            self.acts.push_back(Act::Remove(name));
        }
    }

    pub(super) fn handle_removed(
        &mut self,
        now: Now,
        name: String,
        result: Result<(), EngineError>,
    ) {
        self.removals.asked.remove(&name);
        match result {
            Ok(()) => {
                self.removals.refusals.remove(&name);
                self.removals.given_up.remove(&name);
            }
            // Somebody removes it already, or it is busy: the engine's own words say which.
            Err(error) if error.is_answer() => {
                let refusals = self.removals.refusals.entry(name.clone()).or_default();
                *refusals += 1;
                if *refusals < TRIES {
                    self.removals.add(name);
                } else {
                    self.removals.refusals.remove(&name);
                    self.removals.given_up.insert(name.clone());
                    let reason = error.to_string();
                    self.acts.push_back(Act::Log(Log::NotRemoved { name, reason }));
                }
            }
            Err(error) => {
                self.removals.add(name);
                self.away(now, &error);
            }
        }
    }
}
