//! Adding, taking away, comparing.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use super::{Entry, Resources};

impl Resources {
    /// Whether all of `other` is here, with the same reservations, allocation and so on.
    pub fn contains(&self, other: &Self) -> bool {
        other.entries.iter().all(|wanted| {
            if wanted.is_indivisible() {
                let holds = |set: &Self| set.copies(wanted);
                holds(self) >= holds(other)
            } else {
                let mut found = self.entries.iter().filter(|entry| entry.matches(wanted));
                found.any(|entry| entry.amount.contains(&wanted.amount))
            }
        })
    }

    /// Takes `other` away; `None` when it is not contained.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        self.contains(other).then(|| self - other)
    }

    /// Adds one entry: to the one it matches, else behind the others.
    pub(super) fn add(&mut self, added: Entry) {
        if added.is_empty() {
            return;
        }
        let known = self.entries.iter_mut().find(|entry| {
            entry.matches(&added)
                && if added.is_shared() {
                    entry.amount == added.amount
                } else {
                    !added.is_indivisible()
                }
        });
        match known {
            Some(entry) if entry.is_shared() => {
                entry.shares = entry.shares.saturating_add(added.shares);
            }
            Some(entry) => entry.amount.add(&added.amount),
            None => self.entries.push(added),
        }
    }

    pub(super) fn subtract(&mut self, removed: &Entry) {
        let found = self.entries.iter().position(|entry| {
            entry.matches(removed) && (!removed.is_indivisible() || entry.amount == removed.amount)
        });
        let Some(index) = found else { return };
        let entry = &mut self.entries[index];
        if entry.is_indivisible() {
            entry.shares = entry.shares.saturating_sub(removed.shares);
        } else {
            entry.amount.subtract(&removed.amount);
        }
        if entry.is_empty() {
            self.entries.remove(index);
        }
    }

    /// How many times something indivisible is here.
    fn copies(&self, wanted: &Entry) -> u64 {
        self.entries
            .iter()
            .filter(|entry| entry.matches(wanted) && entry.amount == wanted.amount)
            .map(|entry| entry.shares)
            .sum()
    }
}

impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len() && self.contains(other) && other.contains(self)
    }
}

impl AddAssign<&Resources> for Resources {
    fn add_assign(&mut self, other: &Resources) {
        for entry in &other.entries {
            self.add(entry.clone());
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        for entry in other.entries {
            self.add(entry);
        }
    }
}

/// Takes away as much as is there.
impl SubAssign<&Resources> for Resources {
    fn sub_assign(&mut self, other: &Resources) {
        for entry in &other.entries {
            self.subtract(entry);
        }
    }
}

/// Takes away as much as is there.
impl SubAssign for Resources {
    fn sub_assign(&mut self, other: Self) {
        *self -= &other;
    }
}

impl Add<&Resources> for &Resources {
    type Output = Resources;

    fn add(self, other: &Resources) -> Resources {
        let mut sum = self.clone();
        sum += other;
        sum
    }
}

/// Takes away as much as is there.
impl Sub<&Resources> for &Resources {
    type Output = Resources;

    fn sub(self, other: &Resources) -> Resources {
        let mut rest = self.clone();
        rest -= other;
        rest
    }
}

impl<'a> FromIterator<&'a Resources> for Resources {
    fn from_iter<I: IntoIterator<Item = &'a Resources>>(sets: I) -> Self {
        sets.into_iter().fold(Self::default(), |mut sum, set| {
            sum += set;
            sum
        })
    }
}
