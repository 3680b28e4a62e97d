//! What a job is: a command template and the items it is run for.
//!
//! Owns the description and its check. Refuses to know what runs where: see
//! [`Core`](crate::Core).

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use marmoset_proto::{
    marmoset::v1::{Output, Pull},
    mesos::v1::{CheckInfo, CommandInfo, ContainerInfo, HealthCheck, Labels},
    resources::{Millis, Need},
};

/// Which job of a [`Core`](crate::Core).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u32);

/// One command, many times.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Prefix of task ids; other than that of every other job of this framework.
    pub name: String,
    /// The template: `{}` and `{#}` in value and arguments are replaced for each item.
    pub command: CommandInfo,
    /// Where items run: `process`, unless the executor knows others.
    pub runtime: Option<String>,
    /// What stands for `{}`, and how often the command runs.
    pub items: Items,
    /// What one item holds while it runs.
    pub need: Need,
    /// How many items travel in one Mesos task.
    pub batch: BatchSize,
    /// Limit for items that run at a time.
    pub max_running: Option<NonZeroU64>,
    /// How often an item that failed is tried again.
    pub retries: u32,
    /// How often an item that was lost through no fault of its own is tried again.
    pub lost_retries: u32,
    /// Limit for each try of an item.
    pub timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL; nothing: the executor's default.
    pub kill_grace: Option<Duration>,
    /// Ends an item that is not healthy: it has then failed. Takes batches of 1.
    pub health_check: Option<HealthCheck>,
    /// Tells how an item fares. Takes batches of 1.
    pub check: Option<CheckInfo>,
    /// Container of each item, for runtimes that use one.
    pub container: Option<ContainerInfo>,
    /// Where output goes, as far as it is not left to the executor.
    pub output: Output,
    /// When the container's image is pulled.
    pub pull: Pull,
    /// Labels of the Mesos tasks.
    pub labels: Option<Labels>,
}

impl JobSpec {
    /// A job with the defaults for everything else: 0.1 cpus, 16 MB, automatic batches,
    /// no retries for failures and three for losses.
    pub fn new(name: impl Into<String>, command: CommandInfo, items: Items) -> Self {
        Self {
            name: name.into(),
            command,
            runtime: None,
            items,
            need: Need { cpus: Millis(100), mem: Millis(16_000), ..Need::default() },
            batch: BatchSize::Auto,
            max_running: None,
            retries: 0,
            lost_retries: 3,
            timeout: None,
            kill_grace: None,
            health_check: None,
            check: None,
            container: None,
            pull: Pull::IfNotPresent,
            output: Output::default(),
            labels: None,
        }
    }
}

/// How often a command runs, and what stands for `{}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Items {
    /// Indices from 0 to below `count`, without a line.
    Array {
        /// How many.
        count: u64,
    },
    /// One item for each line.
    Lines(Arc<[String]>),
}

impl Items {
    /// How many items there are.
    pub fn count(&self) -> u64 {
        match self {
            Self::Array { count } => *count,
            Self::Lines(lines) => lines.len() as u64,
        }
    }

    /// The line of an item, if items have lines.
    pub fn line(&self, index: u64) -> Option<&str> {
        match self {
            Self::Array { .. } => None,
            Self::Lines(lines) => lines.get(usize::try_from(index).ok()?).map(String::as_str),
        }
    }
}

/// How many items travel in one Mesos task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// As many as run in about a second, from the durations seen.
    Auto,
    /// That many; 1: each item is a Mesos task of its own.
    Fixed(NonZeroU64),
}

/// Why a job is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The name cannot be part of a task id.
    #[error(
        "`name` must be 1 to {} characters without `/`, `\\` and control characters, not `{name}`",
        MAX_NAME
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// Another job has the name.
    #[error("`name` is taken by another job: `{name}`")]
    NameTaken {
        /// What was given.
        name: String,
    },
    /// There is nothing to run.
    #[error("`command.value` is empty: name a program")]
    NoCommand,
    /// Mesos refuses tasks that use nothing.
    #[error("`need` is nothing: ask for cpus or mem")]
    NoNeed,
    /// A limit of zero would kill every item at once.
    #[error("`timeout` is zero: leave it out for no limit")]
    ZeroTimeout,
    /// A check watches one item.
    #[error("`{0}` watches single tasks: set `batch` to 1")]
    CheckOfBatch(&'static str),
    /// The line does not fit in one Mesos task.
    #[error("line {index} has {bytes} bytes, more than the {limit} a task can carry")]
    LineTooLong {
        /// Which item.
        index: u64,
        /// Its length.
        bytes: usize,
        /// What fits.
        limit: usize,
    },
    /// Indices end at the largest signed number.
    #[error("`items.count` is more than {}", i64::MAX)]
    TooManyItems,
}

/// Task ids end at 255 bytes: room for an index and an attempt is left.
const MAX_NAME: usize = 200;

impl JobSpec {
    /// Checks everything that can be checked without a cluster.
    ///
    /// # Errors
    /// Names the first field that is wrong and what to do.
    pub fn check(&self, bytes_per_batch: usize) -> Result<(), JobError> {
        let bad = |byte: char| byte.is_control() || byte == '/' || byte == '\\';
        if self.name.is_empty() || self.name.len() > MAX_NAME || self.name.contains(bad) {
            return Err(JobError::Name { name: self.name.clone() });
        }
        // An image may have a program of its own.
        let own_program = self.container.is_some() && !self.command.shell();
        if !own_program && self.command.value.as_deref().unwrap_or_default().is_empty() {
            return Err(JobError::NoCommand);
        }
        if self.need == Need::default() {
            return Err(JobError::NoNeed);
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(JobError::ZeroTimeout);
        }
        if self.batch != BatchSize::Fixed(NonZeroU64::MIN) {
            let checks =
                [("health_check", self.health_check.is_some()), ("check", self.check.is_some())];
            if let Some((field, _)) = checks.into_iter().find(|(_, is_set)| *is_set) {
                return Err(JobError::CheckOfBatch(field));
            }
        }
        if i64::try_from(self.items.count()).is_err() {
            return Err(JobError::TooManyItems);
        }
        match &self.items {
            Items::Array { .. } => Ok(()),
            Items::Lines(lines) => {
                match lines.iter().position(|line| line.len() > bytes_per_batch) {
                    None => Ok(()),
                    Some(position) => Err(JobError::LineTooLong {
                        index: position as u64,
                        bytes: lines[position].len(),
                        limit: bytes_per_batch,
                    }),
                }
            }
        }
    }
}
