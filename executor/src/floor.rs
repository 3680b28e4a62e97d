//! The price of a process: a loop that does nothing but spawn and wait.
//!
//! Owns the figure that the launcher is measured against. Refuses to use any
//! code of the launcher. Called by `marmoset bench spawn`.

use std::{io, time::Duration};

/// What the loop did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloorResult {
    /// Processes started and reaped.
    pub count: usize,
    /// From the first spawn to the last wait.
    pub elapsed: Duration,
}

impl FloorResult {
    /// Processes per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

/// Runs `/bin/true` `count` times from `threads` threads, each of which spawns
/// and waits in turn; with two output files for each if `files`.
///
/// # Errors
///
/// When a process cannot be started or no folder for the files can be made.
pub fn floor(threads: usize, count: usize, files: bool) -> io::Result<FloorResult> {
    let _ = (threads, count, files);
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
