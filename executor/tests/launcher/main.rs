//! The launcher with real processes.

mod deaths;
mod limits;
mod runs;
mod signals;
mod support;
