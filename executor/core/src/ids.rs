//! Ids that the core hands out. Each is new for ever within one process.

use std::fmt;

use uuid::Uuid;

macro_rules! counter {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// Gives the id after the last one.
            pub(crate) fn next(&mut self) -> Self {
                self.0 += 1;
                *self
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counter!(
    /// One process, container or worker request that a runtime is asked for.
    RunId,
    /// One UPDATE call that is on its way.
    CallId,
    /// One try of a check.
    ProbeId,
    /// One attempt to subscribe and the stream that came of it.
    ConnectionId,
    /// One LAUNCH_GROUP.
    GroupId,
    /// Runs of which only one runs at a time, in the order in which they were given away.
    StrandId
);

/// One of the connections for UPDATE calls, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

/// The uuid of one status update, the same in every transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateId(pub Uuid);

impl UpdateId {
    /// Reads the `uuid` field of an acknowledgement.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
