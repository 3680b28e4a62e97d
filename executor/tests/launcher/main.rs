//! The launcher with real processes.

mod deaths;
mod limits;
mod protocol;
mod runs;
mod signals;
mod support;
