//! What an agent tells an executor in its environment.

use std::{env, time::Duration};

use marmoset_proto::{
    duration,
    mesos::v1::{ExecutorId, FrameworkId},
};

const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// Everything the executor is told.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// `host:port` of the agent.
    pub(super) endpoint: String,
    /// Who it is.
    pub(super) framework: FrameworkId,
    /// Who it is.
    pub(super) executor: ExecutorId,
    /// From SHUTDOWN to the end.
    pub(super) shutdown_grace: Duration,
    /// Whether the agent may come back.
    pub(super) recovery: Option<Recovery>,
}

/// What to do while the agent is away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recovery {
    /// How long to wait for it.
    pub(super) timeout: Duration,
    /// Longest pause between two attempts.
    pub(super) backoff: Duration,
}

/// A variable that is not there, or says nothing useful.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("`{0}` is not set")]
    Missing(&'static str),
    #[error("`{name}` is not a duration")]
    Duration { name: &'static str, source: duration::DurationError },
}

impl Config {
    /// Reads the environment of this process.
    pub(super) fn from_environment() -> Result<Self, ConfigError> {
        Self::read(|name| env::var(name).ok())
    }

    fn read(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let need = |name| get(name).ok_or(ConfigError::Missing(name));
        let time = |name, default| match get(name) {
            None => Ok(default),
            Some(text) => {
                duration::parse(&text).map_err(|source| ConfigError::Duration { name, source })
            }
        };
        let recovery = match get("MESOS_CHECKPOINT").as_deref() {
            Some("1") => Some(Recovery {
                timeout: time("MESOS_RECOVERY_TIMEOUT", Duration::from_secs(15 * 60))?,
                backoff: time("MESOS_SUBSCRIPTION_BACKOFF_MAX", Duration::from_secs(2))?,
            }),
            Some(_) | None => None,
        };
        Ok(Self {
            endpoint: need("MESOS_AGENT_ENDPOINT")?,
            framework: need("MESOS_FRAMEWORK_ID")?.into(),
            executor: need("MESOS_EXECUTOR_ID")?.into(),
            shutdown_grace: time("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", DEFAULT_GRACE)?,
            recovery,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        let needed = [
            ("MESOS_AGENT_ENDPOINT", "1.2.3.4:5051"),
            ("MESOS_FRAMEWORK_ID", "f"),
            ("MESOS_EXECUTOR_ID", "e"),
        ];
        let config = read(&needed).unwrap();
        assert_eq!(config.endpoint, "1.2.3.4:5051");
        assert_eq!(config.shutdown_grace, DEFAULT_GRACE);
        assert!(config.recovery.is_none());
        assert_eq!(
            read(&needed[1..]).unwrap_err().to_string(),
            "`MESOS_AGENT_ENDPOINT` is not set"
        );
        let odd = [&needed[..], &[("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "soon")]].concat();
        assert!(matches!(read(&odd), Err(ConfigError::Duration { .. })));
        let waits =
            [&needed[..], &[("MESOS_CHECKPOINT", "1"), ("MESOS_RECOVERY_TIMEOUT", "2mins")]];
        let recovery = read(&waits.concat()).unwrap().recovery.unwrap();
        assert_eq!(recovery.timeout, Duration::from_secs(120));
        assert_eq!(recovery.backoff, Duration::from_secs(2));
    }
}
