//! The decisions of the scheduler, behind three methods.
//!
//! Owns the order in which its parts see an input. Called by the one task that owns the core.

use std::time::Instant;

use marmoset_proto::mesos::v1::scheduler::Call;

use crate::{
    clock::Now,
    config::Config,
    counters::{Counters, Progress},
    event::{JobEvent, Notice},
    job::{JobError, JobId, JobSpec},
    placement::Placement,
    session::{CallFailure, SessionAction, SessionInput, StopReason},
};

/// A fact for the core.
#[derive(Debug, Clone)]
pub enum Input {
    /// Something about the connection to the master, events included.
    /// [`SessionInput::CallFailed`], `Wake` and `Stop` come through the variants below.
    Session(SessionInput),
    /// A call of [`Action::Send`] was not taken.
    CallFailed {
        /// The call.
        call: Box<Call>,
        /// Why.
        why: CallFailure,
    },
    /// A job is not wanted any more: what runs is killed, what waits will not start.
    KillJob(JobId),
    /// The framework is not wanted any more.
    Stop(StopMode),
    /// The moment of [`Core::poll_wake`] has come.
    Wake,
}

/// How a framework ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Kill all jobs, wait until they ended, then tear the framework down.
    Graceful,
    /// Tear the framework down now: the master kills what runs.
    Now,
}

/// Something to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Something about the connection. [`SessionAction::Event`] is never among them.
    Session(SessionAction),
    /// Send a call. In order; an ACKNOWLEDGE stands behind the events of what it acknowledges.
    Send(Box<Call>),
    /// News of a job.
    Job(JobId, JobEvent),
    /// A line for the log.
    Notice(Notice),
    /// The core is done: nothing follows.
    Finished(StopReason),
}

/// Why the core wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A connection attempt, or silence.
    Session,
    /// A repeated question about tasks.
    Reconcile,
    /// Freed resources to ask for.
    Revive,
    /// A Mesos task without an update, or a KILL to repeat.
    Task,
    /// Time to tell why nothing moves.
    Waiting,
    /// Items to take back from slow batches.
    TakeBack,
}

/// The scheduler's decisions.
pub struct Core {
    config: Config,
}

impl Core {
    /// A core with the default placement; it subscribes at once.
    pub fn new(now: Now, config: Config, seed: u64) -> Self {
        let _ = (now, seed);
        Self { config }
    }

    /// Replaces the placement.
    #[must_use]
    pub fn with_placement(self, placement: Box<dyn Placement>) -> Self {
        let _ = placement;
        self
    }

    /// Takes a job.
    ///
    /// # Errors
    /// Names what is wrong with its description.
    pub fn submit(&mut self, now: Now, spec: JobSpec) -> Result<JobId, JobError> {
        let _ = (now, &self.config);
        spec.check(self.config.limits.bytes_per_batch)?;
        Ok(JobId(0))
    }

    /// Takes a fact.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input);
    }

    /// Gives the next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// When [`Input::Wake`] is due, and why.
    pub fn poll_wake(&self) -> Option<(Instant, Why)> {
        None
    }

    /// How far a job is; nothing once it ended and was forgotten.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        let _ = job;
        None
    }

    /// What the framework did so far.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}
