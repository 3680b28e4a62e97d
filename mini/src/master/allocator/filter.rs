//! What frameworks refused, and for how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use marmoset_proto::{
    mesos::v1::{AgentId, Filters},
    resources::Resources,
};

const DEFAULT: Duration = Duration::from_secs(5);
const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads the refusal time of a call: 5 s when missing or not a time, a year at most.
pub(crate) fn refusal(filters: Option<&Filters>) -> Duration {
    filters
        .and_then(|filters| filters.refuse_seconds)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or(DEFAULT, |refuse| refuse.min(MAX))
}

/// Everything one framework has refused.
#[derive(Debug, Default)]
pub(super) struct RefusedOffers {
    by_place: BTreeMap<(String, AgentId), Vec<Refusal>>,
}

#[derive(Debug)]
struct Refusal {
    resources: Resources,
    until: Instant,
}

impl RefusedOffers {
    /// Notes a refusal.
    pub(super) fn add(
        &mut self,
        role: String,
        agent: AgentId,
        resources: Resources,
        until: Instant,
    ) {
        self.by_place.entry((role, agent)).or_default().push(Refusal { resources, until });
    }

    /// Whether an offer holds nothing that was not refused before.
    pub(super) fn covers(&self, role: &str, agent: &AgentId, offer: &Resources) -> bool {
        if self.by_place.is_empty() {
            return false;
        }
        self.by_place
            .get(&(role.to_owned(), agent.clone()))
            .is_some_and(|refusals| refusals.iter().any(|known| known.resources.contains(offer)))
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.by_place.retain(|_, refusals| {
            refusals.retain(|refusal| refusal.until > now);
            !refusals.is_empty()
        });
    }

    /// Forgets what was refused for these roles.
    pub(super) fn forget_roles(&mut self, roles: &BTreeSet<String>) {
        self.by_place.retain(|(role, _), _| !roles.contains(role));
    }

    /// Forgets what was refused of an agent.
    pub(super) fn forget_agent(&mut self, agent: &AgentId) {
        self.by_place.retain(|(_, known), _| known != agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_five_seconds_unless_it_is_a_time() {
        let cases = [
            (None, DEFAULT),
            (Some(-1.0), DEFAULT),
            (Some(f64::NAN), DEFAULT),
            (Some(f64::INFINITY), DEFAULT),
            (Some(1e300), DEFAULT),
            (Some(0.0), Duration::ZERO),
            (Some(1.5), Duration::from_millis(1500)),
            (Some(1e9), MAX),
        ];
        for (refuse_seconds, expected) in cases {
            assert_eq!(refusal(Some(&Filters { refuse_seconds })), expected, "{refuse_seconds:?}");
        }
        assert_eq!(refusal(None), DEFAULT);
    }
}
