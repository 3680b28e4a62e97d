//! One entry of a set of resources: a name, an amount, and the terms it comes with.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use super::{Millis, Ranges};
use crate::mesos::v1::{
    Labels,
    resource::{DiskInfo, ReservationInfo, disk_info::source},
};

/// A resource's name; the usual ones cost no allocation.
pub type Name = Cow<'static, str>;

/// Finds the name without an allocation when it is one of the usual.
pub(super) fn name(text: &str) -> Name {
    const USUAL: [&str; 5] = ["cpus", "mem", "disk", "ports", "gpus"];
    USUAL
        .iter()
        .find(|usual| **usual == text)
        .map_or_else(|| Cow::Owned(text.to_string()), |usual| Cow::Borrowed(*usual))
}

/// How much there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// A number.
    Scalar(Millis),
    /// Whole numbers.
    Ranges(Ranges),
    /// Things.
    Set(BTreeSet<String>),
}

impl Amount {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(value) => *value == Millis::ZERO,
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Set(items) => items.is_empty(),
        }
    }

    pub(super) fn is_of_type(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(left), Self::Scalar(right)) => left >= right,
            (Self::Ranges(left), Self::Ranges(right)) => left.contains(right),
            (Self::Set(left), Self::Set(right)) => left.is_superset(right),
            (Self::Scalar(_) | Self::Ranges(_) | Self::Set(_), _) => false,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(left), Self::Scalar(right)) => *left = left.saturating_add(*right),
            (Self::Ranges(left), Self::Ranges(right)) => left.add(right),
            (Self::Set(left), Self::Set(right)) => left.extend(right.iter().cloned()),
            (Self::Scalar(_) | Self::Ranges(_) | Self::Set(_), _) => {}
        }
    }

    /// Leaves what `other` does not have.
    pub(super) fn subtract(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(left), Self::Scalar(right)) => {
                *left = left.checked_sub(*right).unwrap_or_default();
            }
            (Self::Ranges(left), Self::Ranges(right)) => left.subtract(right),
            (Self::Set(left), Self::Set(right)) => left.retain(|item| !right.contains(item)),
            (Self::Scalar(_) | Self::Ranges(_) | Self::Set(_), _) => {}
        }
    }

    /// What both have.
    pub(super) fn common(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Scalar(left), Self::Scalar(right)) => Self::Scalar(*left.min(right)),
            (Self::Ranges(left), Self::Ranges(right)) => Self::Ranges(left.common(right)),
            (Self::Set(left), Self::Set(right)) => {
                Self::Set(left.intersection(right).cloned().collect())
            }
            (Self::Scalar(_) | Self::Ranges(_) | Self::Set(_), _) => Self::Scalar(Millis::ZERO),
        }
    }
}

/// Part of a set of resources.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(super) name: Name,
    pub(super) amount: Amount,
    pub(super) terms: Arc<Terms>,
    /// How many times a shared volume is held; 1 for everything else.
    pub(super) shares: u64,
}

impl Entry {
    /// Such as `cpus`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much of it.
    pub fn amount(&self) -> &Amount {
        &self.amount
    }

    /// The role it is allocated to.
    pub fn allocated_to(&self) -> Option<&str> {
        self.terms.allocated_to.as_deref()
    }

    /// Who holds it: the last reservation counts.
    pub fn reserved_for(&self) -> Option<&str> {
        self.terms.reservations.last().map(|reservation| reservation.role())
    }

    /// The stack of reservations, oldest first.
    pub fn reservations(&self) -> &[ReservationInfo] {
        &self.terms.reservations
    }

    /// What it says of the disk it is on.
    pub fn disk(&self) -> Option<&DiskInfo> {
        self.terms.disk.as_ref()
    }

    /// Whether it may be taken back at any time.
    pub fn is_revocable(&self) -> bool {
        self.terms.is_revocable
    }

    /// Whether several tasks may hold it at a time.
    pub fn is_shared(&self) -> bool {
        self.terms.is_shared
    }

    /// Whether it is a volume that outlives tasks.
    pub fn is_persistent_volume(&self) -> bool {
        self.disk().is_some_and(|disk| disk.persistence.is_some())
    }

    /// Whether any task can have a part of it without asking for it in particular.
    pub(super) fn is_plain(&self) -> bool {
        self.terms.disk.is_none() && !self.terms.is_revocable && !self.terms.is_shared
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shares == 0 || self.amount.is_empty()
    }

    /// Whether name, type and terms are the same.
    pub(super) fn matches(&self, other: &Self) -> bool {
        self.name == other.name
            && self.amount.is_of_type(&other.amount)
            && (Arc::ptr_eq(&self.terms, &other.terms) || self.terms == other.terms)
    }

    /// Whether only all of it can be had, or none.
    pub(super) fn is_indivisible(&self) -> bool {
        self.terms.is_shared || self.terms.disk.as_ref().is_some_and(is_whole)
    }
}

/// Volumes and exclusive disks are had as a whole.
fn is_whole(disk: &DiskInfo) -> bool {
    disk.persistence.is_some()
        || disk.source.as_ref().is_some_and(|source| match source.r#type() {
            source::Type::Mount | source::Type::Block => true,
            source::Type::Raw => source.id.is_some(),
            source::Type::Path | source::Type::Unknown => false,
        })
}

/// What takes part in matching besides name and type.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    pub(super) allocated_to: Option<String>,
    pub(super) reservations: Vec<ReservationInfo>,
    pub(super) disk: Option<DiskInfo>,
    pub(super) is_revocable: bool,
    pub(super) is_shared: bool,
    pub(super) provider: Option<String>,
}

impl Terms {
    pub(super) fn allocated(&self, role: Option<&str>) -> Arc<Self> {
        Arc::new(Self { allocated_to: role.map(ToString::to_string), ..self.clone() })
    }

    /// Whether these terms, allocated to a role, are `other`.
    pub(super) fn is_allocated_as(&self, other: &Self, role: Option<&str>) -> bool {
        other.allocated_to.as_deref() == role && self.is_same_but_for_allocation(other)
    }

    fn is_same_but_for_allocation(&self, other: &Self) -> bool {
        self.is_revocable == other.is_revocable
            && self.is_shared == other.is_shared
            && self.provider == other.provider
            && self.reservations.len() == other.reservations.len()
            && self.reservations.iter().zip(&other.reservations).all(same_reservation)
            && same_disk(self.disk.as_ref(), other.disk.as_ref())
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        self.allocated_to == other.allocated_to && self.is_same_but_for_allocation(other)
    }
}

fn same_reservation((left, right): (&ReservationInfo, &ReservationInfo)) -> bool {
    left.r#type == right.r#type
        && left.role == right.role
        && left.principal == right.principal
        && same_labels(left.labels.as_ref(), right.labels.as_ref())
}

/// The order of labels does not count.
fn same_labels(left: Option<&Labels>, right: Option<&Labels>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => {
            let count =
                |labels: &Labels, label| labels.labels.iter().filter(|l| *l == label).count();
            left.labels.len() == right.labels.len()
                && left.labels.iter().all(|label| count(left, label) == count(right, label))
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// `volume` tells how a task uses the disk, not which disk it is.
fn same_disk(left: Option<&DiskInfo>, right: Option<&DiskInfo>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => {
            let id = |disk: &DiskInfo| disk.persistence.as_ref().map(|it| it.id.clone());
            left.source == right.source && id(left) == id(right)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}
