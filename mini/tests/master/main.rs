//! The master over real HTTP, with agents that are scripted over the link.

#![expect(clippy::unwrap_used, reason = "a test's support ends the test where a test would")]

mod agents;
mod answers;
mod auth;
mod faults;
mod launch;
mod offers;
mod reconcile;
mod state;
mod subscribe;
mod support;
mod throughput;
mod updates;
