//! Faults that a test asks for.
//!
//! Owns the switches, not the behaviour behind them: the master looks at
//! [`UpdateFault`] before it sends an UPDATE, and the rest are orders to the
//! actors. Nothing here is ever visible to a scheduler or executor other than by
//! what it breaks.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use crate::{agent::AgentHandle, config::Leadership, master::MasterHandle};

/// What happens to UPDATE events on their way from the master to schedulers.
///
/// Each number is "one in so many"; 0 switches it off. Only updates that are
/// retried (those with a uuid) are touched: others are sent once in Mesos, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpdateFault {
    /// One in so many is not sent; its agent sends it again after its retry pause.
    pub drop_one_in: u32,
    /// One in so many is sent twice.
    pub duplicate_one_in: u32,
    /// All are sent this much later, in order.
    pub delay: Duration,
}

/// Switches that are read while the cluster runs.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    updates: Mutex<UpdateFault>,
}

impl Switches {
    /// The fault in force.
    pub(crate) fn updates(&self) -> UpdateFault {
        *self.updates.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set_updates(&self, fault: UpdateFault) {
        *self.updates.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = fault;
    }
}

/// Ways to break a running cluster.
#[derive(Debug, Clone, Copy)]
pub struct Faults<'a> {
    master: &'a MasterHandle,
    agents: &'a [AgentHandle],
    switches: &'a Switches,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(
        master: &'a MasterHandle,
        agents: &'a [AgentHandle],
        switches: &'a Switches,
    ) -> Self {
        Self { master, agents, switches }
    }

    /// Drops, duplicates or delays status updates from now on.
    pub fn set_updates(&self, fault: UpdateFault) {
        self.switches.set_updates(fault);
    }

    /// Breaks the event streams of all schedulers, without a terminating chunk.
    pub async fn cut_scheduler_streams(&self) {
        self.master.cut_streams().await;
    }

    /// Ends the master and starts another in its place, on the same port, with a new id and no
    /// memory of frameworks and tasks. For `down` nothing listens on the port.
    pub async fn fail_master_over(&self, down: Duration) {
        self.master.fail_over(down).await;
    }

    /// Makes the master fall silent for a while, as behind a partition: connections stay open, but
    /// there are no answers, no events, no heartbeats. Returns when the silence begins.
    pub async fn freeze_master(&self, time: Duration) {
        self.master.freeze(time).await;
    }

    /// Changes whether the master answers calls, redirects them, or says that it is not ready.
    pub fn set_leadership(&self, leadership: Leadership) {
        self.master.set_leadership(leadership);
    }

    /// Makes the master give an agent up, as after missed pings: its tasks are unreachable.
    pub async fn mark_agent_unreachable(&self, index: usize) {
        if let Some(agent) = self.agents.get(index) {
            self.mark_unreachable_at(agent.addr()).await;
        }
    }

    /// Makes the master give up the agent that listens at an address.
    pub async fn mark_unreachable_at(&self, agent: SocketAddr) {
        self.master.mark_unreachable(agent).await;
    }

    /// Ends an agent's process; its executors live on. False if there is no such agent.
    pub async fn stop_agent(&self, index: usize) -> bool {
        let Some(agent) = self.agents.get(index) else { return false };
        agent.stop().await;
        true
    }

    /// Starts an agent's process again, on the same port and work directory. False if there is
    /// no such agent.
    pub async fn restart_agent(&self, index: usize) -> bool {
        let Some(agent) = self.agents.get(index) else { return false };
        agent.restart().await;
        true
    }

    /// Breaks the event streams of an agent's executors. False if there is no such agent.
    pub async fn cut_executor_streams(&self, index: usize) -> bool {
        let Some(agent) = self.agents.get(index) else { return false };
        agent.cut_executor_streams().await;
        true
    }
}
