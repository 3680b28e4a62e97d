//! The master over real HTTP, with agents that are scripted over the link.

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
