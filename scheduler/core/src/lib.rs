//! Decisions of the scheduler, without I/O.
//!
//! A [`Core`] takes an [`Input`] and the current time and yields [`Action`]s: no sockets, no
//! clock, no threads. It owns the subscription, offers, placement, batches, retries,
//! acknowledgements and reconciliation. Whoever owns the core performs its actions in order
//! and wakes it when it asks for it:
//!
//! ```text
//! loop {
//!     while let Some(action) = core.poll_action() { perform(action) }
//!     let input = wait for an event, a failed call, a request, or core.poll_wake();
//!     core.handle(now(), input);
//! }
//! ```
//!
//! A *job* is a command template and its *items*. An item is one task of ours, with one end.
//! A *Mesos task* carries one item or a batch of them; see `marmoset/v1/marmoset.proto`.
//! [`Session`] is usable without the rest, for other frameworks.

mod agents;
mod appetite;
mod book;
pub mod clock;
pub mod config;
mod core;
mod counters;
mod done;
pub mod event;
mod flights;
mod indices;
pub mod job;
pub mod placement;
mod reconcile;
mod rng;
pub mod session;
mod sizing;
mod work;

pub use clock::{Now, WallTime};
pub use config::{Config, ExecutorTemplate, Framework, Limits, Timing};
pub use core::{Action, Core, Input, StopMode, Why};
pub use counters::{Counters, Ended, Progress};
pub use event::{
    EndState, JobEvent, Location, Notice, RetryReason, TaskEnd, TaskRetry, TaskStart, WaitReason,
};
pub use job::{BatchSize, Items, JobError, JobId, JobSpec};
pub use placement::{Candidate, Demand, Grant, Placement, Spread};
pub use session::{CallFailure, ConnectFailure, Session, SessionAction, SessionInput, StopReason};
