//! The framework: what connects the scheduler's decisions with a Mesos master.
//!
//! Owns the connection, the dispatcher that owns the [core](marmoset_scheduler_core),
//! and what a run amounts to. Decides nothing itself. Three ways in, from the
//! most to the least that is done for the caller:
//!
//! - [`run`]: one [`Job`], from its description to its [`Summary`].
//! - [`drive`]: a framework of one's own, as callbacks of the [`Framework`] trait.
//! - [`Session`]: subscribed for as long as it lives; events in, calls out.

mod config;
mod error;
mod event;
mod executor;
mod framework;
mod link;
mod narrative;
mod run;
mod session;
mod summary;
mod time;
mod trace;

pub use config::{ConnectionConfig, FrameworkConfig, Job};
pub use error::{RunError, SessionError};
pub use event::{JobEvent, Progress};
pub use executor::{ExecutorImage, ExecutorSource, HostVolume, ImageContainerizer, executor_at};
pub use framework::{Driver, Framework, drive};
pub use marmoset_proto::codec::Encoding;
pub use marmoset_scheduler_core::{
    BatchSize, Config, Counters, ExecutorTemplate, Framework as Identity, Items, JobSpec, Limits,
    Timing, WaitReason,
};
pub use run::{run, run_traced};
pub use session::{NotSubscribed, Session, SessionConfig, SessionEvent};
pub use summary::{Counts, Example, FailureGroup, Outcome, Percentiles, Sandbox, Summary};
pub use tokio_util::sync::CancellationToken;
pub use trace::{TaskTimes, Trace};
