//! An embedded Mesos master and agents for one machine.
//!
//! Owns what a scheduler or an executor can observe of a Mesos 1.11 cluster over
//! its v1 HTTP APIs: real ports, real HTTP, the same statuses, texts and timings.
//! Master and agents are separate actors that only speak through [`link`], so
//! each could be a process of its own. Whoever connects cannot tell (and is
//! never told) that the cluster is a small one.
//!
//! Refuses: running tasks itself (executors are processes), persistence of the
//! master, quota, oversubscription, resource providers.
//!
//! Called by the `marmoset` command, by tests, and by anyone who wants a Mesos
//! cluster inside a test: [`Cluster::start`].

mod agent;
pub mod builtin;
mod clock;
mod cluster;
mod config;
mod docker;
mod faults;
mod http;
pub mod link;
mod master;
mod processes;

pub use agent::{AgentHandle, StartError as AgentStartError, start as start_agent};
pub use cluster::{Cluster, StartError};
pub use config::{
    AgentConfig, AgentTimers, ClusterConfig, CommandLine, Containerizer, Credential, DockerConfig,
    Leadership, MasterConfig, MasterTimers,
};
pub use faults::{Faults, UpdateFault};
