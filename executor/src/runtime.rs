//! Runtimes: where commands run.
//!
//! Owns the seam between the dispatcher and everything that starts something,
//! and which runtime a run belongs to ([`Rooms`]).

pub(crate) mod bench;
mod crew;
pub(crate) mod docker;
mod files;
mod path;
mod process;
mod rlimits;
mod rooms;
mod template;
mod users;

use std::future::Future;

use marmoset_executor_core::{Answer, Probe, ProbeId, RunEvent, RunId, Signal, Spawn};

pub(crate) use docker::{
    DockerConfig, DockerSetup, SOCKET, WarmConfig, of_predecessors, subcommand,
};
pub(crate) use process::{ProcessConfig, ProcessRuntime};
pub(crate) use rooms::Rooms;

/// Starts runs, ends them, and tells how they fare.
pub(crate) trait Runtime {
    /// Collects a run to start.
    fn spawn(&mut self, spawn: Spawn);

    /// Gives a run up that has not started: files or images are not waited for any longer.
    ///
    /// Answered by `Refused` if it has no process yet; without effect otherwise.
    fn cancel(&mut self, run: RunId);

    /// Collects a signal, for everything that belongs to the run.
    fn signal(&mut self, run: RunId, signal: Signal);

    /// Collects a probe of a run that has started. A command runs where the run does, and
    /// the loopback addresses of all others are those that the run sees.
    fn probe(&mut self, probe: Probe);

    /// Gives a probe up and ends what it has started. It may be over already.
    fn abandon(&mut self, probe: ProbeId);

    /// Hands over what was collected. Never blocks.
    fn flush(&mut self);

    /// What happened next. May be cancelled.
    fn next(&mut self) -> impl Future<Output = RuntimeEvent>;

    /// Ends it, and everything that it started.
    fn close(self) -> impl Future<Output = ()>;
}

/// What a runtime tells.
#[derive(Debug)]
pub(crate) enum RuntimeEvent {
    /// In their order for each run.
    Runs(Vec<(RunId, RunEvent)>),
    /// One answer for each probe that was not given up; others mean nothing.
    Probes(Vec<(ProbeId, Answer)>),
    /// Whatever ran is gone; the runtime itself is ready again.
    Lost {
        /// Why.
        reason: String,
    },
    /// It cannot run anything any more.
    Broken {
        /// Why.
        reason: String,
    },
}
