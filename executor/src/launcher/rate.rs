//! How fast a launcher is.
//!
//! Owns a measurement of a real launcher without the rest of an executor.
//! Refuses to compare: see [`floor`](crate::floor). Called by `marmoset bench spawn`.

use std::{io, path::PathBuf, time::Duration};

use super::LauncherConfig;

/// What to measure.
#[derive(Debug, Clone)]
pub struct SpawnRateConfig {
    /// The launcher.
    pub launcher: LauncherConfig,
    /// How many processes to run.
    pub count: usize,
    /// How many of them the launcher knows of at a time, running or waiting.
    pub in_flight: usize,
    /// What each of them writes to. Nothing is written.
    pub output: RateOutput,
}

/// Where the processes of a measurement write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateOutput {
    /// `/dev/null`.
    Null,
    /// Two files each, in this folder. They are left there.
    Files(PathBuf),
    /// A folder each with two files, in this folder. They are left there.
    Folders(PathBuf),
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpawnRate {
    /// Processes that were started and reaped.
    pub count: usize,
    /// Processes that could not be started.
    pub failed: usize,
    /// How many launcher processes shared the work.
    pub workers: usize,
    /// From the first request to the last report.
    pub elapsed: Duration,
    /// CPU time of this process meanwhile: all of what the executor's side costs.
    pub parent_cpu: Duration,
    /// CPU time of the launcher in its own code.
    pub launcher_user: Duration,
    /// CPU time of the launcher in the kernel, which is mostly clone(2) and wait(2);
    /// what the kernel does in the new process is not in it.
    pub launcher_system: Duration,
}

impl SpawnRate {
    /// Processes per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

/// Runs `/bin/true` many times through a launcher of its own.
///
/// # Errors
///
/// When the launcher cannot be started, or dies.
pub async fn spawn_rate(config: SpawnRateConfig) -> io::Result<SpawnRate> {
    drop(config);
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
