//! The launcher with real processes.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod cgroups;
mod chaos;
mod deaths;
mod limits;
mod output;
mod pressure;
mod protocol;
mod runs;
mod signals;
mod strands;
mod support;
