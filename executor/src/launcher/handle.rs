//! The executor's side of the launcher.

use std::{
    ffi::{CString, OsString},
    io,
    num::NonZeroUsize,
    path::PathBuf,
};

use tokio::sync::mpsc;

use super::{LauncherEvent, Signal, Spawn};

/// How to start a launcher.
#[derive(Debug, Clone)]
pub struct LauncherConfig {
    /// The binary whose `main` calls [`main`](super::main).
    pub program: PathBuf,
    /// Its arguments, `launcher` for our own binaries.
    pub arguments: Vec<OsString>,
    /// How many processes start runs; by default one for each CPU, at most four.
    pub workers: Option<NonZeroUsize>,
    /// Name of the environment variable whose value differs for each run. By it a
    /// process is recognised that left the session of its run.
    pub mark: Option<CString>,
}

impl LauncherConfig {
    /// Describes a launcher with as many workers as pay.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments, workers: None, mark: None }
    }
}

/// A launcher that runs. Dropping it ends it, and everything it started.
#[derive(Debug)]
pub struct Launcher {}

/// Starts a launcher. Reports arrive in the channel that is returned.
///
/// # Errors
///
/// When the program cannot be executed or there are no descriptors left, and
/// outside of a tokio runtime.
pub fn start(config: LauncherConfig) -> io::Result<(Launcher, mpsc::Receiver<LauncherEvent>)> {
    drop(config);
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

impl Launcher {
    /// Starts processes. Never blocks.
    ///
    /// What the launcher has not taken yet is kept: the caller bounds it by the
    /// number of runs that it has asked for and that have not started.
    pub fn spawn(&self, spawns: Vec<Spawn>) {
        drop(spawns);
    }

    /// Sends signals. Never blocks.
    pub fn signal(&self, signals: Vec<Signal>) {
        drop(signals);
    }

    /// Ends the launcher and everything it started, and waits until it has ended.
    pub async fn close(self) {}
}
