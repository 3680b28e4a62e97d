//! One master and its agents as one thing.
//!
//! Owns their start order and their end; decides nothing else. Called by whoever
//! wants a cluster: start it, talk to [`Cluster::master_addr`] over HTTP, shut it
//! down. The actors run on the tokio runtime that started them.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    agent::{self, AgentHandle},
    config::ClusterConfig,
    faults::{Faults, Switches},
    link::ToMaster,
    master::{self, MasterHandle},
};

/// Why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The master's address cannot be used.
    #[error("the master cannot listen on `{addr}`")]
    Master {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An agent did not start.
    #[error("agent {index} did not start")]
    Agent {
        /// Its place in the configuration.
        index: usize,
        /// Why.
        source: agent::StartError,
    },
}

/// A running cluster. Dropping it without [`shutdown`](Self::shutdown) leaves its actors to the runtime.
#[derive(Debug)]
pub struct Cluster {
    master: MasterHandle,
    to_master: mpsc::UnboundedSender<ToMaster>,
    agents: Vec<AgentHandle>,
    switches: Arc<Switches>,
}

impl Cluster {
    /// Starts a master and its agents and returns once all of them listen.
    ///
    /// # Errors
    /// An address is in use, a resource or attribute string is malformed, or a work directory
    /// cannot be made. What was started before is ended again.
    pub async fn start(config: ClusterConfig) -> Result<Self, StartError> {
        let switches = Arc::new(Switches::default());
        let (master, to_master) =
            master::start(config.master, config.hostname.clone(), Arc::clone(&switches)).await?;
        let mut cluster = Self { master, to_master, agents: Vec::new(), switches };
        for (index, mut agent) in config.agents.into_iter().enumerate() {
            agent.hostname.get_or_insert_with(|| config.hostname.clone());
            match agent::start(agent, cluster.to_master.clone()).await {
                Ok(handle) => cluster.agents.push(handle),
                Err(source) => {
                    cluster.shutdown().await;
                    return Err(StartError::Agent { index, source });
                }
            }
        }
        Ok(cluster)
    }

    /// Where the master listens.
    pub fn master_addr(&self) -> SocketAddr {
        self.master.addr()
    }

    /// Where an agent listens; none if there is no such agent.
    pub fn agent_addr(&self, index: usize) -> Option<SocketAddr> {
        self.agents.get(index).map(AgentHandle::addr)
    }

    /// How many agents the cluster was started with.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// The way to the master for an agent of another kind, such as one that a test scripts.
    pub fn master_link(&self) -> mpsc::UnboundedSender<ToMaster> {
        self.to_master.clone()
    }

    /// The switches for breaking things.
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(&self.master, &self.agents, &self.switches)
    }

    /// Ends agents (with their executors), then the master, and waits for them.
    pub async fn shutdown(self) {
        for agent in &self.agents {
            agent.shutdown().await;
        }
        self.master.shutdown().await;
    }
}
