//! What an agent tells an executor in its environment.

use std::{collections::BTreeMap, env, ffi::OsString, path::PathBuf, time::Duration};

use marmoset_proto::{
    duration,
    mesos::v1::{ExecutorId, FrameworkId},
};

use crate::docker::Docker;

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
    /// The task's container, if it is to have one.
    pub(super) place: Option<Place>,
}

/// Where a task in a Docker container is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The engine.
    pub(super) docker: Docker,
    /// The container's name.
    pub(super) name: String,
    /// The sandbox on the host.
    pub(super) sandbox: PathBuf,
    /// The sandbox inside.
    pub(super) mapped: String,
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
    #[error("`{0}` is no argument of this program")]
    Argument(String),
    #[error("`--{0}` is not given, but other arguments for a container are")]
    Incomplete(&'static str),
}

impl Config {
    /// Reads the environment of this process, and the arguments that it was given.
    pub(super) fn of_process(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, ConfigError> {
        let place = place(arguments)?;
        Ok(Self { place, ..Self::read(|name| env::var(name).ok())? })
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
            place: None,
        })
    }
}

/// Reads `--name=value` arguments; none of them means no container.
fn place(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Place>, ConfigError> {
    const NAMES: [&str; 5] =
        ["container", "docker", "docker_socket", "sandbox_directory", "mapped_directory"];
    let mut given = BTreeMap::new();
    for argument in arguments {
        let text = argument.to_string_lossy().into_owned();
        let pair = text.strip_prefix("--").and_then(|rest| rest.split_once('='));
        let pair = pair.and_then(|(name, value)| {
            Some((*NAMES.iter().find(|known| **known == name)?, value.to_owned()))
        });
        let Some((name, value)) = pair else { return Err(ConfigError::Argument(text)) };
        given.insert(name, value);
    }
    if given.is_empty() {
        return Ok(None);
    }
    let mut take = |name| given.remove(name).ok_or(ConfigError::Incomplete(name));
    Ok(Some(Place {
        docker: Docker::at(take("docker")?.into(), take("docker_socket")?.into()),
        name: take("container")?,
        sandbox: take("sandbox_directory")?.into(),
        mapped: take("mapped_directory")?,
    }))
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
    fn a_container_is_described_by_all_of_its_arguments() {
        let read = |text: &str| place(text.split_whitespace().map(OsString::from));
        assert_eq!(read("").unwrap(), None);
        let all = "--container=c --docker=d --docker_socket=/s --sandbox_directory=/w \
                   --mapped_directory=/m";
        let place = read(all).unwrap().unwrap();
        assert_eq!((place.name.as_str(), place.mapped.as_str()), ("c", "/m"));
        assert_eq!(place.sandbox, PathBuf::from("/w"));
        assert_eq!(place.docker, Docker::at("d".into(), "/s".into()));
        assert!(matches!(read("--container=c"), Err(ConfigError::Incomplete("docker"))));
        assert!(matches!(read("--what=c"), Err(ConfigError::Argument(_))));
        assert!(matches!(read("container=c"), Err(ConfigError::Argument(_))));
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
