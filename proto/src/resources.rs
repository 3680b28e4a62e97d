//! Resource arithmetic as Mesos does it.
//!
//! Owns what may be added, taken away and found contained: same name and type,
//! and the same reservations, allocation, disk, provider and so on. Knows
//! nothing of offers or tasks. Called by whoever keeps accounts of an agent or
//! cuts a task out of an offer.
//!
//! Scalars are fixed-point thousandths, ranges are kept merged, nothing is ever
//! negative. Inside, reservations are a stack (the newer of the two formats).

mod arithmetic;
mod entry;
mod need;
mod parse;
mod print;
mod ranges;
mod role;
mod scalar;
mod take;
mod upgrade;

pub use entry::{Amount, Entry, Name};
pub use need::Need;
pub use parse::{parse, parse_for_role};
pub use ranges::Ranges;
pub use role::{is_at_or_below as role_is_at_or_below, validate as validate_role};
pub use scalar::Millis;

use std::collections::BTreeMap;

use crate::mesos::v1::Resource;

/// Why something is no set of resources; worded as Mesos does where it answers frameworks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResourceError(pub(crate) String);

/// Which fields tell a reservation on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `role` and `reservation`: for frameworks without RESERVATION_REFINEMENT.
    PreRefinement,
    /// `reservations`: for frameworks with it.
    PostRefinement,
}

/// What an agent has, an offer holds, or a task uses.
///
/// Equality is that of the contents; the order of entries is that of their arrival.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    entries: Vec<Entry>,
}

impl Resources {
    /// Checks and adds up resources in either reservation format.
    ///
    /// # Errors
    /// Names the resource and what is wrong with it, in Mesos' words.
    pub fn from_proto(resources: &[Resource]) -> Result<Self, ResourceError> {
        let mut sum = Self::default();
        for resource in resources {
            let mut entry = upgrade::entry(resource).map_err(|reason| {
                let shown = print::wire(resource);
                ResourceError(format!("Resource '{shown}' is invalid: {reason}"))
            })?;
            // Most resources of a set have the same terms: share them.
            if let Some(known) = sum.entries.iter().find(|known| known.terms == entry.terms) {
                entry.terms = known.terms.clone();
            }
            sum.add(entry);
        }
        Ok(sum)
    }

    /// Gives them with `reservations`, the newer format.
    pub fn to_proto(&self) -> Vec<Resource> {
        self.to_proto_in(Format::PostRefinement)
    }

    /// Gives them in the format a framework understands; refined reservations
    /// have no older form and are left out of it.
    pub fn to_proto_in(&self, format: Format) -> Vec<Resource> {
        self.entries.iter().flat_map(|entry| upgrade::wire(entry, format)).collect()
    }

    /// The parts that differ in name or terms.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entries that satisfy a condition.
    #[must_use]
    pub fn filter(&self, condition: impl Fn(&Entry) -> bool) -> Self {
        Self { entries: self.entries.iter().filter(|entry| condition(entry)).cloned().collect() }
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Each name once, in order of arrival.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for entry in &self.entries {
            if !names.contains(&entry.name()) {
                names.push(entry.name());
            }
        }
        names
    }

    /// Sum of a scalar over all its entries; `None` when there is none.
    pub fn scalar(&self, name: &str) -> Option<Millis> {
        let mut amounts = self.named(name).filter_map(|entry| match entry.amount() {
            Amount::Scalar(value) => Some(*value),
            Amount::Ranges(_) | Amount::Set(_) => None,
        });
        let first = amounts.next()?;
        Some(amounts.fold(first, Millis::saturating_add))
    }

    /// Sum of `cpus`.
    pub fn cpus(&self) -> Option<Millis> {
        self.scalar("cpus")
    }

    /// Sum of `mem` in MiB.
    pub fn mem(&self) -> Option<Millis> {
        self.scalar("mem")
    }

    /// Sum of `disk` in MiB.
    pub fn disk(&self) -> Option<Millis> {
        self.scalar("disk")
    }

    /// Sum of `gpus`.
    pub fn gpus(&self) -> Option<Millis> {
        self.scalar("gpus")
    }

    /// All ranges of a name together.
    pub fn ranges(&self, name: &str) -> Ranges {
        let mut sum = Ranges::default();
        for entry in self.named(name) {
            match entry.amount() {
                Amount::Ranges(ranges) => sum.add(ranges),
                Amount::Scalar(_) | Amount::Set(_) => {}
            }
        }
        sum
    }

    /// All `ports` together.
    pub fn ports(&self) -> Ranges {
        self.ranges("ports")
    }

    /// Marks everything as allocated to a role.
    pub fn allocate(&mut self, role: &str) {
        self.reallocate(Some(role));
    }

    /// Removes the mark of an allocation.
    pub fn unallocate(&mut self) {
        self.reallocate(None);
    }

    /// A copy that is allocated to a role.
    #[must_use]
    pub fn allocated(&self, role: &str) -> Self {
        let mut copy = self.clone();
        copy.allocate(role);
        copy
    }

    /// What is reserved, by the role it is reserved for.
    pub fn reserved(&self) -> BTreeMap<String, Self> {
        let mut by_role = BTreeMap::<String, Self>::new();
        for entry in &self.entries {
            if let Some(role) = entry.reserved_for() {
                by_role.entry(role.to_string()).or_default().add(entry.clone());
            }
        }
        by_role
    }

    /// What is not reserved.
    #[must_use]
    pub fn unreserved(&self) -> Self {
        self.filter(|entry| entry.reserved_for().is_none())
    }

    /// What a role may be given: the unreserved, and what is reserved for the role or above it.
    #[must_use]
    pub fn allocatable_to(&self, role: &str) -> Self {
        self.filter(|entry| {
            entry.reserved_for().is_none_or(|holder| role::is_at_or_below(role, holder))
        })
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.name() == name)
    }

    fn reallocate(&mut self, role: Option<&str>) {
        // Entries that only differed in their allocation come together.
        for mut entry in std::mem::take(&mut self.entries) {
            let known =
                self.entries.iter().find(|known| entry.terms.is_allocated_as(&known.terms, role));
            entry.terms = match known {
                Some(known) => known.terms.clone(),
                None => entry.terms.allocated(role),
            };
            self.add(entry);
        }
    }
}

impl Resource {
    /// An unreserved scalar, such as `cpus`.
    pub fn scalar(name: &str, value: f64) -> Self {
        use crate::mesos::v1::value::{Scalar, Type};
        Self {
            name: name.to_string(),
            r#type: Type::Scalar.into(),
            scalar: Some(Scalar { value }),
            ..Self::default()
        }
    }

    /// Unreserved ranges, such as `ports`; both ends belong to a range.
    pub fn ranges(name: &str, ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        use crate::mesos::v1::value::{self, Range, Type};
        let range = ranges.into_iter().map(|(begin, end)| Range { begin, end }).collect();
        Self {
            name: name.to_string(),
            r#type: Type::Ranges.into(),
            ranges: Some(value::Ranges { range }),
            ..Self::default()
        }
    }

    /// An unreserved set.
    pub fn set(name: &str, items: impl IntoIterator<Item = String>) -> Self {
        use crate::mesos::v1::value::{self, Type};
        Self {
            name: name.to_string(),
            r#type: Type::Set.into(),
            set: Some(value::Set { item: items.into_iter().collect() }),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
