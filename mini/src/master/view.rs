//! What the master shows to dashboards: `/state` and its smaller relatives.
//!
//! Pure functions from [`Facts`](super::core::Facts) to JSON in the shape of
//! Mesos 1.11 (src/master/readonly_handler.cpp), where an agent is a *slave*.
//! They walk everything, so they run on request only.

mod resources;
mod state;
mod task;

pub(crate) use self::state::{flags, frameworks, slaves, state, summary, tasks};
