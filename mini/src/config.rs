//! What a mini cluster is made of: addresses, resources, timers, switches.
//!
//! Owns plain data with the defaults of Mesos 1.11. Parses nothing: resource and
//! attribute strings are checked by the agent that uses them.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

/// One master and its agents.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Name by which clients reach master and agents; part of offers and of redirects.
    pub hostname: String,
    /// The master.
    pub master: MasterConfig,
    /// The agents, in the order in which they register.
    pub agents: Vec<AgentConfig>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            hostname: "localhost".to_owned(),
            master: MasterConfig::default(),
            agents: Vec::new(),
        }
    }
}

/// The master of a cluster.
#[derive(Debug, Clone)]
pub struct MasterConfig {
    /// Address to listen on.
    pub ip: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Intervals and time-outs.
    pub timers: MasterTimers,
    /// With credentials, schedulers must authenticate (`--authenticate_http_frameworks`).
    pub credentials: Option<Vec<Credential>>,
    /// Whether this master leads.
    pub leadership: Leadership,
    /// Longest request body that is read. Mesos itself has no bound.
    pub max_body: usize,
    /// Seed of the random order of agents in an allocation run; none draws one.
    pub seed: Option<u64>,
}

impl Default for MasterConfig {
    fn default() -> Self {
        Self {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            timers: MasterTimers::default(),
            credentials: None,
            leadership: Leadership::Leading,
            max_body: 256 << 20,
            seed: None,
        }
    }
}

/// Whether a master answers calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// It leads and is ready.
    Leading,
    /// It leads but has not read its registry yet: 503.
    Recovering,
    /// Another one leads: 307 to that `host:port`.
    Following(String),
    /// Nobody leads: 503.
    NoLeader,
}

/// A principal and its secret for basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name.
    pub principal: String,
    /// The password; must not contain a colon.
    pub secret: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Intervals and time-outs of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterTimers {
    /// `--allocation_interval`: the pause between two allocation runs.
    pub allocation_interval: Duration,
    /// Interval of HEARTBEAT events; announced in SUBSCRIBED.
    pub heartbeat_interval: Duration,
    /// How long a silent agent counts as alive: `--agent_ping_timeout` × `--max_agent_ping_timeouts`.
    pub agent_timeout: Duration,
    /// `--agent_reregister_timeout`: how long a new master waits for the agents of its predecessor.
    pub agent_reregister_timeout: Duration,
    /// `--offer_timeout`: after which an unanswered offer is rescinded; none in Mesos.
    pub offer_timeout: Option<Duration>,
}

impl Default for MasterTimers {
    fn default() -> Self {
        Self {
            allocation_interval: Duration::from_secs(1),
            heartbeat_interval: Duration::from_secs(15),
            agent_timeout: Duration::from_secs(75),
            agent_reregister_timeout: Duration::from_secs(10 * 60),
            offer_timeout: None,
        }
    }
}

/// One agent of a cluster.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Address to listen on.
    pub ip: IpAddr,
    /// Port to listen on; 0 takes a free one, kept over restarts of the agent.
    pub port: u16,
    /// Overrides the cluster's host name.
    pub hostname: Option<String>,
    /// In Mesos' notation, e.g. `cpus:8;mem:8192;ports:[8000-8100]`; what is not named is detected.
    pub resources: String,
    /// In Mesos' notation, e.g. `rack:r1;zone:a`.
    pub attributes: String,
    /// Where sandboxes lie.
    pub work_dir: PathBuf,
    /// Intervals and time-outs.
    pub timers: AgentTimers,
    /// The built-in command executor: a process started for each task that carries a command.
    pub command_executor: CommandLine,
    /// `--containerizers`: tried in this order.
    pub containerizers: Vec<Containerizer>,
    /// What the Docker containerizer is told.
    pub docker: DockerConfig,
}

/// Where executors and tasks are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containerizer {
    /// Processes of the host.
    Mesos,
    /// Containers of a Docker engine, for whoever asks for one of type DOCKER.
    Docker,
}

impl std::fmt::Display for Containerizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mesos => "mesos",
            Self::Docker => "docker",
        })
    }
}

/// Flags of the Docker containerizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// `--docker`: the command line tool.
    pub program: PathBuf,
    /// `--docker_socket`: where the engine listens.
    pub socket: PathBuf,
    /// `--docker_stop_timeout`: from SIGTERM to SIGKILL when a container is destroyed.
    pub stop_timeout: Duration,
    /// `--docker_remove_delay`: how long a container that ended stays; never beyond the agent's end.
    pub remove_delay: Duration,
    /// `--docker_kill_orphans`: whether a starting agent removes every container whose name is that
    /// of an executor it does not know. Those of other agents on the same engine are among them.
    pub kill_orphans: bool,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            program: PathBuf::from("docker"),
            socket: PathBuf::from("/var/run/docker.sock"),
            stop_timeout: Duration::ZERO,
            remove_delay: Duration::from_secs(6 * 60 * 60),
            kill_orphans: true,
        }
    }
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            hostname: None,
            resources: String::new(),
            attributes: String::new(),
            work_dir: PathBuf::from("/tmp/marmoset-mini"),
            timers: AgentTimers::default(),
            command_executor: CommandLine {
                program: PathBuf::from("marmoset-mini-command-executor"),
                arguments: Vec::new(),
            },
            containerizers: vec![Containerizer::Mesos],
            docker: DockerConfig::default(),
        }
    }
}

/// Intervals and time-outs of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTimers {
    /// `--executor_registration_timeout`: from start to SUBSCRIBE.
    pub executor_registration_timeout: Duration,
    /// `--executor_reregistration_timeout`: from the agent's restart to SUBSCRIBE.
    pub executor_reregistration_timeout: Duration,
    /// `--executor_shutdown_grace_period`: from SHUTDOWN to SIGKILL.
    pub executor_shutdown_grace_period: Duration,
    /// `--recovery_timeout`: how long executors may wait for their agent.
    pub recovery_timeout: Duration,
    /// Interval of HEARTBEAT events to executors.
    pub executor_heartbeat_interval: Duration,
    /// First pause before an unacknowledged update is sent again; doubles each time.
    pub update_retry_min: Duration,
    /// Longest pause before an unacknowledged update is sent again.
    pub update_retry_max: Duration,
    /// How long after a restart the agent answers 503.
    pub recovery_pause: Duration,
}

impl Default for AgentTimers {
    fn default() -> Self {
        Self {
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(2),
            executor_shutdown_grace_period: Duration::from_secs(5),
            recovery_timeout: Duration::from_secs(15 * 60),
            executor_heartbeat_interval: Duration::from_secs(30 * 60),
            update_retry_min: Duration::from_secs(10),
            update_retry_max: Duration::from_secs(10 * 60),
            recovery_pause: Duration::from_millis(100),
        }
    }
}

/// A program and its arguments, the program's own name not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Path of the program.
    pub program: PathBuf,
    /// Arguments after the name.
    pub arguments: Vec<String>,
}
