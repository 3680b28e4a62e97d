//! Reads `TaskInfo.health_check` and `TaskInfo.check`, and refuses what cannot be tried.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{sync::Arc, time::Duration};

use marmoset_proto::mesos::v1::{
    CheckInfo, CommandInfo, Environment, HealthCheck, TaskInfo, check_info, health_check,
    network_info::Protocol,
};

use crate::{
    action::{Attempt, Page, Template},
    command::{self, CommandError},
};

/// Longest time of a check: about thirty years, which every clock can add.
const SECONDS_MAX: f64 = 1e9;

/// The checks of one task.
#[derive(Debug, Clone, Default)]
pub(crate) struct CheckSpecs {
    pub(crate) health: Option<HealthSpec>,
    pub(crate) general: Option<GeneralSpec>,
}

impl CheckSpecs {
    pub(crate) fn is_empty(&self) -> bool {
        self.health.is_none() && self.general.is_none()
    }
}

/// A `health_check` that can be tried.
#[derive(Debug, Clone)]
pub(crate) struct HealthSpec {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) pace: Pace,
    /// From the start of the task.
    pub(crate) grace: Duration,
    pub(crate) consecutive_failures: u32,
}

/// A `check` that can be tried.
#[derive(Debug, Clone)]
pub(crate) struct GeneralSpec {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) pace: Pace,
    pub(crate) kind: check_info::Type,
}

/// When probes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From the start of the task to the first probe.
    pub(crate) delay: Duration,
    /// From the end of a probe to the next.
    pub(crate) interval: Duration,
    /// Longest time of a probe; none if there is no limit.
    pub(crate) timeout: Option<Duration>,
}

/// Why a check cannot be tried. `of` is the field of the `TaskInfo`.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Nobody knows what to try.
    #[error("`TaskInfo.{of}.type` is not set: set it to COMMAND, HTTP or TCP")]
    NoType {
        /// Which check.
        of: &'static str,
    },
    /// The type says one thing, the content another.
    #[error("`TaskInfo.{of}.type` is {kind}, but `TaskInfo.{of}.{part}` is not set")]
    NoPart {
        /// Which check.
        of: &'static str,
        /// Its type.
        kind: &'static str,
        /// What is missing.
        part: &'static str,
    },
    /// No time.
    #[error(
        "`TaskInfo.{of}.{field}` is {value}: it must be 0 or more seconds, and {SECONDS_MAX} at most"
    )]
    Seconds {
        /// Which check.
        of: &'static str,
        /// The field.
        field: &'static str,
        /// What is in it.
        value: f64,
    },
    /// Nobody can listen there.
    #[error("`TaskInfo.{of}.{part}.port` is {port}: a port is a number from 1 to 65535")]
    Port {
        /// Which check.
        of: &'static str,
        /// Where the port stands.
        part: &'static str,
        /// What is in it.
        port: u32,
    },
    /// No path.
    #[error("`TaskInfo.{of}.http.path` is `{path}`: it must begin with `/`")]
    Path {
        /// Which check.
        of: &'static str,
        /// What is in it.
        path: String,
    },
    /// Not spoken here.
    #[error("`TaskInfo.{of}.http.scheme` is `{scheme}`: it must be `http` or `https`")]
    Scheme {
        /// Which check.
        of: &'static str,
        /// What is in it.
        scheme: String,
    },
    /// The first success would be one failure too many.
    #[error("`TaskInfo.{of}.consecutive_failures` is 0: at least one failure has to end the task")]
    NoFailures {
        /// Which check.
        of: &'static str,
    },
    /// Files that nobody would fetch.
    #[error("`TaskInfo.{of}.{part}` has `uris`: put them into the task's command")]
    Uris {
        /// Which check.
        of: &'static str,
        /// Where the command stands.
        part: &'static str,
    },
    /// The command cannot be run.
    #[error("`TaskInfo.{of}.{part}` {problem}")]
    Command {
        /// Which check.
        of: &'static str,
        /// Where the command stands.
        part: &'static str,
        /// What is wrong with it.
        problem: CommandError,
    },
}

/// Reads both checks of a task whose runs have this template.
pub(crate) fn read(task: &TaskInfo, template: &Template) -> Result<CheckSpecs, CheckError> {
    Ok(CheckSpecs {
        health: task.health_check.as_ref().map(|check| health(check, template)).transpose()?,
        general: task.check.as_ref().map(|check| general(check, template)).transpose()?,
    })
}

fn health(check: &HealthCheck, template: &Template) -> Result<HealthSpec, CheckError> {
    use health_check::Type;
    let of = "health_check";
    let missing = |kind, part| CheckError::NoPart { of, kind, part };
    let attempt = match check.r#type() {
        Type::Unknown => return Err(CheckError::NoType { of }),
        Type::Command => {
            let command = check.command.as_ref().ok_or(missing("COMMAND", "command"))?;
            attempt_command(of, "command", command, template)?
        }
        Type::Http => {
            let http = check.http.as_ref().ok_or(missing("HTTP", "http"))?;
            let tls = match http.scheme.as_deref() {
                None | Some("http") => false,
                Some("https") => true,
                Some(other) => return Err(CheckError::Scheme { of, scheme: other.to_string() }),
            };
            let address = address(of, "http", http.protocol(), http.port)?;
            Attempt::Http(Page { tls, address, path: path(of, http.path.as_deref())? })
        }
        Type::Tcp => {
            let tcp = check.tcp.as_ref().ok_or(missing("TCP", "tcp"))?;
            Attempt::Tcp(address(of, "tcp", tcp.protocol(), tcp.port)?)
        }
    };
    if check.consecutive_failures() == 0 {
        return Err(CheckError::NoFailures { of });
    }
    Ok(HealthSpec {
        attempt: Arc::new(attempt),
        pace: pace(of, check.delay_seconds(), check.interval_seconds(), check.timeout_seconds())?,
        grace: seconds(of, "grace_period_seconds", check.grace_period_seconds())?,
        consecutive_failures: check.consecutive_failures(),
    })
}

fn general(check: &CheckInfo, template: &Template) -> Result<GeneralSpec, CheckError> {
    use check_info::Type;
    let of = "check";
    let missing = |kind, part| CheckError::NoPart { of, kind, part };
    let attempt = match check.r#type() {
        Type::Unknown => return Err(CheckError::NoType { of }),
        Type::Command => {
            let command = check.command.as_ref().ok_or(missing("COMMAND", "command"))?;
            attempt_command(of, "command.command", &command.command, template)?
        }
        Type::Http => {
            let http = check.http.as_ref().ok_or(missing("HTTP", "http"))?;
            let address = address(of, "http", Protocol::IPv4, http.port)?;
            Attempt::Http(Page { tls: false, address, path: path(of, http.path.as_deref())? })
        }
        Type::Tcp => {
            let tcp = check.tcp.as_ref().ok_or(missing("TCP", "tcp"))?;
            Attempt::Tcp(address(of, "tcp", Protocol::IPv4, tcp.port)?)
        }
    };
    Ok(GeneralSpec {
        attempt: Arc::new(attempt),
        pace: pace(of, check.delay_seconds(), check.interval_seconds(), check.timeout_seconds())?,
        kind: check.r#type(),
    })
}

/// A command runs as the task does: with its environment below its own, and as its user
/// unless it names another.
fn attempt_command(
    of: &'static str,
    part: &'static str,
    command: &CommandInfo,
    template: &Template,
) -> Result<Attempt, CheckError> {
    if !command.uris.is_empty() {
        return Err(CheckError::Uris { of, part });
    }
    let shell = command.shell();
    // What an image runs by itself is no check.
    let value = command.value.as_ref().ok_or(CommandError::NoValue { shell });
    value
        .and_then(|_| command::check(command, template.runtime))
        .map_err(|problem| CheckError::Command { of, part, problem })?;
    let variables = |command: &CommandInfo| {
        command.environment.clone().map(|environment| environment.variables).unwrap_or_default()
    };
    let variables = [variables(&template.command), variables(command)].concat();
    let command = CommandInfo {
        environment: Some(Environment { variables }),
        user: command.user.clone().or_else(|| template.command.user.clone()),
        ..command.clone()
    };
    Ok(Attempt::Command(Arc::new(Template { command, ..template.clone() })))
}

fn address(
    of: &'static str,
    part: &'static str,
    protocol: Protocol,
    port: u32,
) -> Result<SocketAddr, CheckError> {
    let host = match protocol {
        Protocol::IPv4 => IpAddr::from(Ipv4Addr::LOCALHOST),
        Protocol::IPv6 => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(SocketAddr::new(host, port)),
        _ => Err(CheckError::Port { of, part, port }),
    }
}

fn path(of: &'static str, path: Option<&str>) -> Result<String, CheckError> {
    match path {
        None | Some("") => Ok("/".to_string()),
        Some(path) if path.starts_with('/') => Ok(path.to_string()),
        Some(path) => Err(CheckError::Path { of, path: path.to_string() }),
    }
}

fn pace(of: &'static str, delay: f64, interval: f64, timeout: f64) -> Result<Pace, CheckError> {
    let limit = seconds(of, "timeout_seconds", timeout)?;
    Ok(Pace {
        delay: seconds(of, "delay_seconds", delay)?,
        interval: seconds(of, "interval_seconds", interval)?,
        timeout: (timeout > 0.0).then_some(limit),
    })
}

fn seconds(of: &'static str, field: &'static str, value: f64) -> Result<Duration, CheckError> {
    if (0.0..=SECONDS_MAX).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(CheckError::Seconds { of, field, value })
    }
}
