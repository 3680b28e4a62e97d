//! Which agent takes how much of which job: the part a user can replace.
//!
//! Owns the trait and the default behind it. Refuses to know about offers, batches and
//! Mesos tasks: it speaks of *slots*, each room for one running item. What it grants beyond
//! what fits is cut, so a placement can be wrong but not harmful.

mod spread;

pub use spread::Spread;

use marmoset_proto::{
    mesos::v1::{AgentId, Attribute},
    resources::{Need, Resources},
};

use crate::job::JobId;

/// An agent with something to give.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The agent.
    pub agent_id: &'a AgentId,
    /// Its host name.
    pub hostname: &'a str,
    /// What its operator says about it.
    pub attributes: &'a [Attribute],
    /// What can be used: the executor's share is taken out already.
    pub resources: &'a Resources,
    /// Items that run there at the moment.
    pub running: u64,
}

/// A job with something to run.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: &'a str,
    /// What one item holds.
    pub need: &'a Need,
    /// How many more items could run now: what is not sent yet, bounded by `max_running`.
    pub wanted: u64,
}

/// Slots for a job on an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Position among the candidates.
    pub candidate: usize,
    /// Position among the demands.
    pub demand: usize,
    /// How many items may run there at a time, besides those that run already.
    pub slots: u64,
}

/// Decides what runs where.
pub trait Placement: Send {
    /// Divides what the candidates have among the demands.
    ///
    /// Called whenever offers arrive and something waits. What is not granted is declined.
    fn place(&mut self, candidates: &[Candidate<'_>], demands: &[Demand<'_>]) -> Vec<Grant>;
}

impl<F> Placement for F
where
    F: FnMut(&[Candidate<'_>], &[Demand<'_>]) -> Vec<Grant> + Send,
{
    fn place(&mut self, candidates: &[Candidate<'_>], demands: &[Demand<'_>]) -> Vec<Grant> {
        self(candidates, demands)
    }
}
