//! The resident executor: one process per agent that runs many small tasks.
//!
//! Owns the executor's edge: its flags and environment, the connection to the
//! agent, the runtimes, the loop between them and the decisions of
//! `marmoset-executor-core`. Refuses to decide anything itself.
//!
//! ```text
//!    agent ◀── agent.rs ──▶ dispatcher.rs ◀── runtime.rs ──▶ launcher ──▶ tasks
//!                              │      ▲
//!                       inputs ▼      │ actions
//!                        marmoset-executor-core
//! ```

mod agent;
mod arguments;
#[doc(hidden)]
pub mod bench;
pub mod cgroup;
mod clock;
mod dispatcher;
mod environment;
mod fetch;
pub mod floor;
mod isolation;
pub mod launcher;
mod notes;
mod null;
mod output;
mod pages;
mod probes;
mod runtime;
#[cfg(test)]
mod skipped;
mod slice;
mod start;

pub use start::{check, main};
