//! The protocol between executor, guard and workers.
//!
//! Owns bytes: frames, messages, and the refusal of those that are malformed.
//! Refuses sockets. Hand-written, because it is passed by every task twice.
//!
//! There are two kinds of sockets, all of them Unix and anonymous.
//!
//! **Control** (`SOCK_SEQPACKET`; one; the guard has it as descriptor 0). One
//! message a packet, none larger than 4 KiB:
//!
//! 1. executor → guard: [`Hello`], with the guard's and workers' ends of all links
//!    attached (`SCM_RIGHTS`), one for each worker, and after them the lock of the tree of
//!    cgroups if there is one.
//! 2. guard → executor: [`HelloAnswer`]. If the versions differ, both end.
//! 3. guard → executor, perhaps: [`Fault`], then the guard ends.
//!
//! The socket stays open for the life of the launcher. Its end is the order to end.
//!
//! A guard that is the first process of a container comes by itself: it connects to a socket
//! with a name, and says what it found there ([`Introduction`]) before the executor's hello.
//!
//! **Link** (`SOCK_STREAM`; one for each worker). Frames in both directions:
//!
//! ```text
//! frame    = length:u32 message*          0 < length ≤ 4 MiB, the length of all messages
//! message  = tag:u8 fields                executor → worker: 1 Spawn, 2 Signal, 3 Cancel
//!                                         worker → executor: 1 Started, 2 SpawnFailed, 3 Exited,
//!                                                            4 Returned
//! string   = length:u32 byte*             without NUL
//! list     = count:u32 element*
//! optional = 0:u8 | 1:u8 value
//! time     = microseconds since the epoch:u64      duration = microseconds:u64
//! ```
//!
//! Numbers are little-endian and of fixed width. A side puts as many messages
//! into a frame as it has at hand, up to 64 KiB, or one that is larger alone. There
//! are no answers but the reports, and no versions but the one of the hello: both
//! ends come from one binary, unless it was replaced while it ran.

mod frame;
mod message;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    frame::{FRAME_MAX, Inbox, Outbox},
    message::{Fault, Hello, HelloAnswer, Introduction, PACKET_MAX, Request, VERSION},
    value::{Reader, Wire},
};

/// Why bytes are not what the protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The message goes on after the end of its frame.
    #[error("a message is cut off")]
    Short,
    /// A packet has more than its message.
    #[error("{0} bytes follow a message")]
    Trailing(usize),
    /// No such message or variant.
    #[error("`{what}` has the unknown tag {tag}")]
    Tag {
        /// The type that was to be read.
        what: &'static str,
        /// What was found.
        tag: u8,
    },
    /// A string that no C function could be given.
    #[error("a string contains a NUL character")]
    Nul,
    /// A frame that is empty or larger than allowed.
    #[error("a frame of {0} bytes, where 1 to {FRAME_MAX} are allowed")]
    FrameLength(usize),
    /// A number that may not be zero.
    #[error("a zero where none may be")]
    Zero,
    /// A time that this machine cannot express.
    #[error("a time out of range")]
    Time,
    /// Something else is at the other end.
    #[error("the other side does not speak the launcher's protocol")]
    Magic,
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Truncated,
}
