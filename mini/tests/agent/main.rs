//! One agent with real processes, real HTTP and a scripted master.
//!
//! The master is a pair of channels in the test; executors are `sh`, `python3`,
//! the built-in command executor, or the test itself, which may subscribe in the
//! name of a process that only sleeps. Containers need a Docker engine; without
//! one their tests say that they are skipped.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod builtin;
mod conformance;
mod docker;
mod docker_tasks;
mod engine;
mod files;
mod http;
mod lone;
mod processes;
mod rate;
mod restart;
#[path = "../support/skip.rs"]
mod skip;
