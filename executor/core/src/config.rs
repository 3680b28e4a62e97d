//! What the core is told once, at its start.

use std::{fmt, str::FromStr, time::Duration};

use marmoset_proto::mesos::v1::{ExecutorId, FrameworkId};

/// Everything that decisions depend on besides inputs.
#[derive(Debug, Clone)]
pub struct Config {
    /// `MESOS_FRAMEWORK_ID`.
    pub framework_id: FrameworkId,
    /// `MESOS_EXECUTOR_ID`.
    pub executor_id: ExecutorId,
    /// What a lost connection means.
    pub checkpoint: Checkpoint,
    /// `MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD`: from SHUTDOWN until the agent kills everything.
    pub shutdown_grace: Duration,
    /// From SIGTERM to SIGKILL for a task that says nothing else.
    pub kill_grace: Duration,
    /// Which updates may be dropped before they are sent.
    pub updates: UpdatePolicy,
    /// How long an update that may be dropped is kept back under [`UpdatePolicy::Coalesce`].
    pub update_hold: Duration,
    /// How many updates there may be before RUNNING and KILLING are kept back like that.
    pub update_pace: UpdatePace,
    /// Connections for UPDATE calls (`--update-connections`), each with one on its way at a time.
    pub update_connections: usize,
    /// Shortest time between two reports of one batch; never less than [`REPORT_INTERVAL_MIN`].
    pub report_interval: Duration,
    /// How much may wait.
    pub queue: QueueBounds,
    /// How many runs may be handed to a runtime that have not started, of those that start at once.
    pub starting: usize,
    /// The same for the runs of each Mesos task that need something first: files, a container.
    pub starting_slow: usize,
    /// From the operating system, or from a test.
    pub seed: [u8; 32],
}

impl Config {
    /// A configuration with the product's defaults.
    pub fn new(framework_id: FrameworkId, executor_id: ExecutorId, seed: [u8; 32]) -> Self {
        Self {
            framework_id,
            executor_id,
            checkpoint: Checkpoint::Off,
            shutdown_grace: Duration::from_secs(5),
            kill_grace: Duration::from_secs(3),
            updates: UpdatePolicy::Coalesce,
            update_hold: Duration::from_millis(20),
            update_pace: UpdatePace::default(),
            update_connections: UPDATE_CONNECTIONS,
            report_interval: Duration::from_millis(250),
            queue: QueueBounds::default(),
            starting: 64,
            starting_slow: 16,
            seed,
        }
    }
}

/// Connections for UPDATE calls, if nobody says otherwise.
pub const UPDATE_CONNECTIONS: usize = 4;

/// How many updates count as few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdatePace {
    /// One more for each of these.
    pub interval: Duration,
    /// At most this many at once.
    pub burst: u32,
}

impl Default for UpdatePace {
    fn default() -> Self {
        Self { interval: Duration::from_millis(20), burst: 10 }
    }
}

/// Reports of one batch are never closer together.
pub const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Whether the agent knows its executors again after a restart (`MESOS_CHECKPOINT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// It does not: a lost connection ends the executor.
    Off,
    /// It does: subscribe again, until the time is over.
    On {
        /// `MESOS_RECOVERY_TIMEOUT`.
        recovery_timeout: Duration,
        /// `MESOS_SUBSCRIPTION_BACKOFF_MAX`.
        backoff_max: Duration,
    },
}

/// How much may wait in the executor; what comes on top is TASK_FAILED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// Mesos tasks none of whose processes was started (`--queue`).
    pub tasks: usize,
    /// Items of all batches that were not started (`--queue-items`).
    pub items: u64,
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self { tasks: 10_000, items: 1_000_000 }
    }
}

/// Which updates of a task are sent (`--updates`). Results are always sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// Every one.
    All,
    /// An update that is not yet sent is dropped when a later one of the same task exists.
    Coalesce,
    /// Terminal ones only.
    Terminal,
}

impl fmt::Display for UpdatePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::All => "all",
            Self::Coalesce => "coalesce",
            Self::Terminal => "terminal",
        })
    }
}

/// A text that names no [`UpdatePolicy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `all`, `coalesce`, `terminal`")]
pub struct UnknownUpdatePolicy(String);

impl FromStr for UpdatePolicy {
    type Err = UnknownUpdatePolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            "coalesce" => Ok(Self::Coalesce),
            "terminal" => Ok(Self::Terminal),
            other => Err(UnknownUpdatePolicy(other.to_string())),
        }
    }
}
