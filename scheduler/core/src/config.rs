//! What the core is told once: who the framework is, its executor, its timers.
//!
//! Owns plain data and its defaults. Who reads it: every other module.

use std::time::Duration;

use bytes::Bytes;
use marmoset_proto::{
    mesos::v1::{
        CommandInfo, ContainerInfo, FrameworkId, FrameworkInfo, Labels,
        framework_info::{Capability, capability},
    },
    resources::{Millis, Need},
};

/// Everything the core has to know from the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who subscribes.
    pub framework: Framework,
    /// What agents start for it.
    pub executor: ExecutorTemplate,
    /// Sizes and rates.
    pub limits: Limits,
    /// Timers.
    pub timing: Timing,
}

/// Who subscribes.
#[derive(Debug, Clone, PartialEq)]
pub struct Framework {
    /// The id of an earlier subscription, if it was stored.
    pub id: Option<FrameworkId>,
    /// Free text, shown by the master.
    pub name: String,
    /// User that executors run as.
    pub user: String,
    /// Roles whose resources are offered.
    pub roles: Vec<String>,
    /// Host name of this scheduler, for the master's user interface.
    pub hostname: Option<String>,
    /// Who authenticates; cannot change later.
    pub principal: Option<String>,
    /// Where a person looks at this scheduler.
    pub webui_url: Option<String>,
    /// How long the master keeps tasks running after the stream broke.
    pub failover_timeout: Duration,
    /// Whether executors outlive a restart of their agent.
    pub checkpoint: bool,
    /// Not interpreted by Mesos.
    pub labels: Option<Labels>,
}

impl Framework {
    /// A framework with the defaults for everything else.
    pub fn new(name: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            user: user.into(),
            roles: vec!["*".to_owned()],
            hostname: None,
            principal: None,
            webui_url: None,
            failover_timeout: Duration::from_secs(60),
            checkpoint: true,
            labels: None,
        }
    }

    /// Gives the message that SUBSCRIBE carries.
    pub fn to_proto(&self, id: Option<&FrameworkId>) -> FrameworkInfo {
        use capability::Type::{
            MultiRole, PartitionAware, ReservationRefinement, TaskKillingState,
        };
        let capabilities = [MultiRole, PartitionAware, ReservationRefinement, TaskKillingState]
            .into_iter()
            .map(|kind| Capability { r#type: Some(kind.into()) })
            .collect();
        FrameworkInfo {
            user: self.user.clone(),
            name: self.name.clone(),
            id: id.cloned(),
            failover_timeout: Some(self.failover_timeout.as_secs_f64()),
            checkpoint: Some(self.checkpoint),
            hostname: self.hostname.clone(),
            principal: self.principal.clone(),
            webui_url: self.webui_url.clone(),
            capabilities,
            labels: self.labels.clone(),
            roles: self.roles.clone(),
            ..FrameworkInfo::default()
        }
    }
}

/// What an agent is told to start: the one resident executor.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorTemplate {
    /// Its id on a fresh agent; `-2`, `-3` … is put behind it for the ones after it.
    pub id: String,
    /// Free text.
    pub name: String,
    /// How it is started.
    pub command: CommandInfo,
    /// What it holds itself. Mesos asks for 0.01 cpus and 32 MB at least.
    pub need: Need,
    /// How long it may take to end.
    pub shutdown_grace_period: Option<Duration>,
    /// What it runs in; nothing: the agent's default.
    pub container: Option<ContainerInfo>,
    /// Opaque to Mesos.
    pub data: Option<Bytes>,
}

impl ExecutorTemplate {
    /// An executor that is started by this command, with the defaults for everything else.
    pub fn new(command: CommandInfo) -> Self {
        Self {
            id: "marmoset".to_owned(),
            name: "Marmoset executor".to_owned(),
            command,
            need: Need { cpus: Millis(100), mem: Millis(64_000), ..Need::default() },
            shutdown_grace_period: None,
            container: None,
            data: None,
        }
    }
}

/// Sizes and rates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Mesos tasks that one executor holds at a time. An agent walks all of them for each
    /// terminal update: past two hundred it gets slower.
    pub mesos_tasks_per_executor: u64,
    /// Parts an agent's resources are split into for batches, if they can be: while
    /// one part waits for an offer the others work.
    pub parts_per_agent: u64,
    /// How long a batch of automatic size should take.
    pub batch_target: Duration,
    /// Mesos tasks a second that automatic sizes may ask of the whole cluster.
    pub mesos_tasks_per_second: u64,
    /// Items in one batch.
    pub items_per_batch: u64,
    /// Bytes of lines in one batch.
    pub bytes_per_batch: usize,
    /// Bytes of lines in one ACCEPT.
    pub bytes_per_accept: usize,
    /// Tasks in one RECONCILE.
    pub tasks_per_reconcile: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mesos_tasks_per_executor: 100,
            parts_per_agent: 4,
            batch_target: Duration::from_secs(1),
            mesos_tasks_per_second: 200,
            items_per_batch: 16_384,
            bytes_per_batch: 512 * 1024,
            bytes_per_accept: 8 * 1024 * 1024,
            tasks_per_reconcile: 1000,
        }
    }
}

/// Timers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Upper end of the first random delay before a connection attempt; doubles with each failure.
    pub connect_backoff: Duration,
    /// What that delay is bounded by.
    pub connect_backoff_max: Duration,
    /// From an attempt to SUBSCRIBED, before the attempt is given up.
    pub subscribe_timeout: Duration,
    /// How long the first SUBSCRIBED is waited for over all attempts; nothing: for ever.
    pub patience: Option<Duration>,
    /// Heartbeats that may be missed.
    pub missed_heartbeats: u32,
    /// Delay before an explicit reconciliation is repeated for tasks without an answer; doubles.
    pub reconcile_backoff: Duration,
    /// What that delay is bounded by.
    pub reconcile_backoff_max: Duration,
    /// Between implicit reconciliations, which find tasks that the core does not know.
    pub implicit_reconcile: Duration,
    /// From ACCEPT to the first update of a Mesos task, before it is asked about.
    pub launch_timeout: Duration,
    /// Delay before a KILL is repeated; doubles.
    pub kill_backoff: Duration,
    /// What that delay is bounded by.
    pub kill_backoff_max: Duration,
    /// Least time between two REVIVE calls.
    pub revive_interval: Duration,
    /// The same, for each agent: a REVIVE makes the master look at all of them.
    pub revive_interval_per_agent: Duration,
    /// Longest wait before freed resources are asked for.
    pub revive_delay: Duration,
    /// Filter on offers that are too small.
    pub refuse_small: Duration,
    /// Filter on offers while nothing is to be done.
    pub refuse_idle: Duration,
    /// No agent took work for this long: tell why.
    pub waiting_notice: Duration,
    /// First pause for an agent whose executor ended; doubles.
    pub agent_backoff: Duration,
    /// What that pause is bounded by.
    pub agent_backoff_max: Duration,
    /// How long an answer to a take-back is waited for before it is asked again.
    pub take_back_timeout: Duration,
    /// Shortest rest of a batch that is worth taking items back from.
    pub take_back_rest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_backoff: Duration::from_millis(500),
            connect_backoff_max: Duration::from_secs(30),
            subscribe_timeout: Duration::from_secs(30),
            patience: None,
            missed_heartbeats: 5,
            reconcile_backoff: Duration::from_secs(5),
            reconcile_backoff_max: Duration::from_secs(120),
            implicit_reconcile: Duration::from_secs(15 * 60),
            launch_timeout: Duration::from_secs(90),
            kill_backoff: Duration::from_secs(5),
            kill_backoff_max: Duration::from_secs(60),
            revive_interval: Duration::from_millis(7),
            revive_interval_per_agent: Duration::from_millis(1),
            revive_delay: Duration::from_millis(50),
            refuse_small: Duration::from_secs(5),
            refuse_idle: Duration::from_secs(600),
            waiting_notice: Duration::from_secs(10),
            agent_backoff: Duration::from_secs(1),
            agent_backoff_max: Duration::from_secs(60),
            take_back_timeout: Duration::from_secs(5),
            take_back_rest: Duration::from_millis(1500),
        }
    }
}
