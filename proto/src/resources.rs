//! Resource arithmetic as Mesos does it.

mod need;
mod ranges;
mod scalar;

pub use need::Need;
pub use ranges::Ranges;
pub use scalar::Millis;

use std::{
    fmt,
    ops::{AddAssign, SubAssign},
};

use crate::mesos::v1::Resource;

/// Why something is no set of resources.
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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {}

/// Reads the text of an agent's `--resources` flag, such as
/// `cpus:8;mem:8192;ports:[8000-8100]`, or the same as a JSON array of `Resource`.
///
/// # Errors
/// Names the item that is wrong.
pub fn parse(_text: &str) -> Result<Resources, ResourceError> {
    Err(ResourceError(String::new()))
}

impl Resources {
    /// Checks and adds up resources in either reservation format.
    ///
    /// # Errors
    /// Names the resource and what is wrong with it, in Mesos' words.
    pub fn from_proto(_resources: &[Resource]) -> Result<Self, ResourceError> {
        Err(ResourceError(String::new()))
    }

    /// Gives them with `reservations`, the newer format.
    pub fn to_proto(&self) -> Vec<Resource> {
        self.to_proto_in(Format::PostRefinement)
    }

    /// Gives them in the format a framework understands; refined reservations
    /// have no older form and are left out of it.
    pub fn to_proto_in(&self, _format: Format) -> Vec<Resource> {
        Vec::new()
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Whether all of `other` is here, with the same reservations, allocation and so on.
    pub fn contains(&self, _other: &Self) -> bool {
        true
    }

    /// Takes `other` away, or nothing and `None` when it is not contained.
    pub fn checked_sub(&self, _other: &Self) -> Option<Self> {
        None
    }

    /// Sum of a scalar over all its entries; `None` when there is none.
    pub fn scalar(&self, _name: &str) -> Option<Millis> {
        None
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

    /// All `ports` together.
    pub fn ports(&self) -> Ranges {
        Ranges::default()
    }

    /// Marks everything as allocated to a role.
    pub fn allocate(&mut self, _role: &str) {}

    /// Removes the mark of an allocation.
    pub fn unallocate(&mut self) {}

    /// Takes a need out, reserved entries first; `None` and no change when it does not fit.
    pub fn take(&mut self, _need: &Need) -> Option<Self> {
        None
    }

    /// Takes these amounts out whatever the entries are reserved or allocated to,
    /// reserved ones first; `None` and no change when they do not fit.
    pub fn take_amounts(&mut self, _amounts: &Self) -> Option<Self> {
        None
    }

    /// How many times a need can be taken out.
    pub fn count_of(&self, _need: &Need) -> u64 {
        0
    }
}

impl AddAssign<&Resources> for Resources {
    fn add_assign(&mut self, _other: &Resources) {}
}

/// Takes away what is there; like Mesos, what is not contained stays untouched.
impl SubAssign<&Resources> for Resources {
    fn sub_assign(&mut self, _other: &Resources) {}
}

impl fmt::Display for Resources {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
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

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}
