//! One agent: its own listener, its executors, its status updates.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::{config::AgentConfig, link::ToMaster};

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {}

/// A running agent.
#[derive(Debug)]
pub(crate) struct AgentHandle {
    addr: SocketAddr,
}

/// Starts an agent that registers with the master behind the channel.
///
/// # Errors
/// Its address cannot be bound, or its resources cannot be parsed.
pub(crate) async fn start(
    config: AgentConfig,
    _master: mpsc::UnboundedSender<ToMaster>,
) -> Result<AgentHandle, StartError> {
    Ok(AgentHandle { addr: SocketAddr::new(config.ip, config.port) })
}

impl AgentHandle {
    /// Where it listens; the same over restarts.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the agent's process; executors live on.
    pub(crate) async fn stop(&self) {}

    /// Starts the agent's process again, ending it before if it still runs.
    pub(crate) async fn restart(&self) {}

    /// Breaks the event streams of all executors.
    pub(crate) async fn cut_executor_streams(&self) {}

    /// Ends executors and agent.
    pub(crate) async fn shutdown(&self) {}
}
