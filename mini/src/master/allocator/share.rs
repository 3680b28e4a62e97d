//! Dominant resource fairness between roles, and between the frameworks of a role.

use std::collections::BTreeMap;

use marmoset_proto::{
    mesos::v1::FrameworkId,
    resources::{Millis, Resources},
};

/// Amounts of the scalars that shares are computed of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Quantities([u64; 4]);

impl Quantities {
    /// Sums up resources whatever they are reserved or allocated to.
    pub(super) fn of(resources: &Resources) -> Self {
        let amount = |amount: Option<Millis>| amount.unwrap_or(Millis::ZERO).0;
        Self([
            amount(resources.cpus()),
            amount(resources.mem()),
            amount(resources.disk()),
            amount(resources.gpus()),
        ])
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    fn remove(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_sub(theirs);
        }
    }

    /// The largest part of any scalar of the whole, in billionths.
    fn dominant_share(&self, total: &Self) -> u64 {
        self.0
            .iter()
            .zip(total.0)
            .filter(|(_, total)| *total > 0)
            .map(|(mine, total)| {
                let share = u128::from(*mine) * 1_000_000_000 / u128::from(total);
                u64::try_from(share).unwrap_or(u64::MAX)
            })
            .max()
            .unwrap_or(0)
    }
}

#[derive(Debug, Default)]
struct Share {
    quantities: Quantities,
    /// How often something was allocated: who had less turns goes first among equals.
    turns: u64,
}

/// Who holds how much.
#[derive(Debug, Default)]
pub(super) struct Shares {
    total: Quantities,
    roles: BTreeMap<String, Share>,
    frameworks: BTreeMap<(String, FrameworkId), Share>,
}

impl Shares {
    pub(super) fn add_total(&mut self, quantities: &Quantities) {
        self.total.add(quantities);
    }

    pub(super) fn remove_total(&mut self, quantities: &Quantities) {
        self.total.remove(quantities);
    }

    pub(super) fn add(&mut self, role: &str, framework: &FrameworkId, quantities: &Quantities) {
        for share in [
            self.roles.entry(role.to_owned()).or_default(),
            self.frameworks.entry((role.to_owned(), framework.clone())).or_default(),
        ] {
            share.quantities.add(quantities);
            share.turns += 1;
        }
    }

    pub(super) fn remove(&mut self, role: &str, framework: &FrameworkId, quantities: &Quantities) {
        if let Some(share) = self.roles.get_mut(role) {
            share.quantities.remove(quantities);
        }
        if let Some(share) = self.frameworks.get_mut(&(role.to_owned(), framework.clone())) {
            share.quantities.remove(quantities);
        }
    }

    /// Puts who is furthest below its fair share first: roles, then frameworks within a role.
    pub(super) fn order(
        &self,
        candidates: BTreeMap<String, Vec<FrameworkId>>,
    ) -> Vec<(String, FrameworkId)> {
        let rank = |share: Option<&Share>| {
            share
                .map_or((0, 0), |share| (share.quantities.dominant_share(&self.total), share.turns))
        };
        let mut roles = candidates.into_iter().collect::<Vec<_>>();
        roles.sort_by_cached_key(|(role, _)| (rank(self.roles.get(role)), role.clone()));
        let mut ordered = Vec::new();
        for (role, mut frameworks) in roles {
            frameworks.sort_by_cached_key(|id| {
                (rank(self.frameworks.get(&(role.clone(), id.clone()))), id.clone())
            });
            ordered.extend(frameworks.into_iter().map(|id| (role.clone(), id)));
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_dominant_share_goes_first() {
        let mut shares = Shares::default();
        shares.add_total(&Quantities([8000, 8000, 0, 0]));
        // `cpu` holds half of the cpus, `mem` a quarter of the memory.
        shares.add("cpu", &"f1".into(), &Quantities([4000, 0, 0, 0]));
        shares.add("mem", &"f2".into(), &Quantities([0, 2000, 0, 0]));
        shares.add("mem", &"f3".into(), &Quantities([0, 0, 0, 0]));
        let all = BTreeMap::from([
            ("cpu".to_owned(), vec!["f1".into()]),
            ("mem".to_owned(), vec!["f2".into(), "f3".into()]),
            ("new".to_owned(), vec!["f4".into()]),
        ]);
        let order = shares.order(all);
        let expected: Vec<(String, FrameworkId)> =
            [("new", "f4"), ("mem", "f3"), ("mem", "f2"), ("cpu", "f1")]
                .map(|(role, id)| (role.to_owned(), id.into()))
                .to_vec();
        assert_eq!(order, expected);
    }
}
