//! Cuts what a task needs out of what there is.
//!
//! The entries keep their terms: what comes out can be put into an operation
//! as it is. Reserved entries go first. Volumes, revocable and shared resources
//! are left alone: who wants them names them.

use super::{
    Need, Resources,
    entry::{Amount, Entry},
    scalar::Millis,
};

impl Resources {
    /// Takes a need out; `None` and no change when it does not fit.
    pub fn take(&mut self, need: &Need) -> Option<Self> {
        if !self.fits(need) {
            return None;
        }
        let mut taken = Self::default();
        for (name, amount) in need.scalars() {
            self.take_scalar(name, amount, &mut taken);
        }
        self.take_ports(need.ports, &mut taken);
        Some(taken)
    }

    /// Whether a need can be taken out.
    pub fn fits(&self, need: &Need) -> bool {
        let scalars = need.scalars();
        scalars.into_iter().all(|(name, amount)| self.plain_scalar(name) >= amount)
            && (need.ports == 0 || self.plain_ports() >= need.ports)
    }

    /// How many times a need can be taken out; without bound for a need of nothing.
    pub fn count_of(&self, need: &Need) -> u64 {
        let scalars = need.scalars();
        let by_scalars = scalars
            .into_iter()
            .filter(|(_, amount)| *amount > Millis::ZERO)
            .map(|(name, amount)| self.plain_scalar(name).0 / amount.0)
            .min()
            .unwrap_or(u64::MAX);
        let by_ports = self.plain_ports().checked_div(need.ports).unwrap_or(u64::MAX);
        by_scalars.min(by_ports)
    }

    /// Takes these very amounts out, whatever the entries are reserved for or
    /// allocated to; `None` and no change when they are not all there.
    ///
    /// The terms of `amounts` are not looked at, only its names and amounts.
    pub fn take_amounts(&mut self, amounts: &Self) -> Option<Self> {
        let mut rest = self.clone();
        let mut taken = Self::default();
        for wanted in &amounts.entries {
            let mut missing = wanted.amount.clone();
            for index in rest.order() {
                let entry = &mut rest.entries[index];
                if missing.is_empty() {
                    break;
                }
                if entry.name != wanted.name || !entry.amount.is_of_type(&missing) {
                    continue;
                }
                let part = entry.amount.common(&missing);
                missing.subtract(&part);
                entry.amount.subtract(&part);
                taken.add(Entry { amount: part, ..entry.clone() });
            }
            if !missing.is_empty() {
                return None;
            }
        }
        rest.entries.retain(|entry| !entry.is_empty());
        *self = rest;
        Some(taken)
    }

    fn take_scalar(&mut self, name: &str, amount: Millis, taken: &mut Self) {
        let mut missing = amount;
        for index in self.order() {
            if missing == Millis::ZERO {
                break;
            }
            let entry = &mut self.entries[index];
            if entry.name() != name {
                continue;
            }
            let Amount::Scalar(here) = &mut entry.amount else { continue };
            let part = missing.min(*here);
            *here = Millis(here.0 - part.0);
            missing = Millis(missing.0 - part.0);
            taken.add(Entry { amount: Amount::Scalar(part), ..entry.clone() });
        }
        self.entries.retain(|entry| !entry.is_empty());
    }

    fn take_ports(&mut self, count: u64, taken: &mut Self) {
        let mut missing = count;
        for index in self.order() {
            if missing == 0 {
                break;
            }
            let entry = &mut self.entries[index];
            if entry.name() != "ports" {
                continue;
            }
            let Amount::Ranges(here) = &mut entry.amount else { continue };
            let part = here.count().min(missing);
            let Some(ports) = here.take(part) else { continue };
            missing -= part;
            let part = Entry {
                name: entry.name.clone(),
                amount: Amount::Ranges(ports),
                terms: entry.terms.clone(),
                shares: entry.shares,
            };
            taken.add(part);
        }
        self.entries.retain(|entry| !entry.is_empty());
    }

    /// Indices of the plain entries, reserved ones first.
    fn order(&self) -> Vec<usize> {
        let of = |is_reserved: bool| {
            self.entries.iter().enumerate().filter_map(move |(index, entry)| {
                (entry.is_plain() && entry.reserved_for().is_some() == is_reserved).then_some(index)
            })
        };
        of(true).chain(of(false)).collect()
    }

    fn plain_scalar(&self, name: &str) -> Millis {
        let plain = self.named(name).filter(|entry| entry.is_plain());
        plain.fold(Millis::ZERO, |sum, entry| match entry.amount() {
            Amount::Scalar(value) => sum.saturating_add(*value),
            Amount::Ranges(_) | Amount::Set(_) => sum,
        })
    }

    fn plain_ports(&self) -> u64 {
        let plain = self.named("ports").filter(|entry| entry.is_plain());
        plain.fold(0, |sum, entry| match entry.amount() {
            Amount::Ranges(ranges) => sum.saturating_add(ranges.count()),
            Amount::Scalar(_) | Amount::Set(_) => sum,
        })
    }
}
