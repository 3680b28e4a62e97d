//! An embedded cluster inside the test, whose switches the test can throw while `marmoset run` works against it.

use std::time::Duration;

use marmoset_mini::{
    AgentConfig, AgentTimers, Cluster, ClusterConfig, CommandLine, MasterConfig, MasterTimers,
};
use tokio::runtime::Runtime;

use crate::{Scene, programs};

/// A cluster and the runtime it lives on.
#[derive(Debug)]
pub struct TestCluster {
    runtime: Runtime,
    cluster: Option<Cluster>,
}

/// Timers short enough for tests, in the same proportions as Mesos'.
#[must_use]
pub fn agent(scene: &Scene, name: &str, resources: &str) -> AgentConfig {
    AgentConfig {
        resources: resources.to_owned(),
        work_dir: scene.path().join(name),
        timers: AgentTimers {
            executor_shutdown_grace_period: Duration::from_secs(3),
            recovery_timeout: Duration::from_secs(20),
            update_retry_min: Duration::from_millis(300),
            update_retry_max: Duration::from_secs(2),
            ..AgentTimers::default()
        },
        command_executor: CommandLine {
            program: programs::marmoset().to_path_buf(),
            arguments: vec!["mini-command-executor".to_owned()],
        },
        ..AgentConfig::default()
    }
}

/// A master with a short allocation interval.
#[must_use]
pub fn master() -> MasterConfig {
    MasterConfig {
        timers: MasterTimers {
            allocation_interval: Duration::from_millis(200),
            ..MasterTimers::default()
        },
        ..MasterConfig::default()
    }
}

impl TestCluster {
    /// Starts a master and agents.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start(master: MasterConfig, agents: Vec<AgentConfig>) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let config = ClusterConfig { master, agents, ..ClusterConfig::default() };
        let cluster = runtime.block_on(Cluster::start(config)).expect("the cluster starts");
        Self { runtime, cluster: Some(cluster) }
    }

    /// One agent with `resources`.
    #[must_use]
    pub fn single(scene: &Scene, resources: &str) -> Self {
        Self::start(master(), vec![agent(scene, "agent", resources)])
    }

    /// The cluster, for its switches: `cluster.block_on(cluster.get().faults().stop_agent(0))`.
    #[must_use]
    pub fn get(&self) -> &Cluster {
        self.cluster.as_ref().expect("present until the drop")
    }

    /// Waits for `future` on the cluster's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// `host:port` of the master.
    #[must_use]
    pub fn master(&self) -> String {
        self.get().master_addr().to_string()
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            self.runtime.block_on(cluster.shutdown());
        }
    }
}
