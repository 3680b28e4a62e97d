//! Checks and health checks.

use marmoset_proto::mesos::v1::{CheckInfo, CommandInfo, HealthCheck, check_info, health_check};

use super::fields;

/// Checks a health check; its type was inferred before where that is possible.
pub(super) fn health(check: &HealthCheck) -> Result<(), String> {
    if check.r#type.is_none() {
        return Err("HealthCheck must specify 'type'".to_owned());
    }
    match check.r#type() {
        health_check::Type::Command => {
            let Some(command) = &check.command else {
                return Err("Expecting 'command' to be set for COMMAND health check".to_owned());
            };
            self::command(command, "Command health check", "Health check's")?;
        }
        health_check::Type::Http => {
            let Some(http) = &check.http else {
                return Err("Expecting 'http' to be set for HTTP health check".to_owned());
            };
            if let Some(scheme) = &http.scheme
                && !matches!(scheme.as_str(), "http" | "https")
            {
                return Err(format!("Unsupported HTTP health check scheme: '{scheme}'"));
            }
            path(http.path.as_deref(), "HTTP health check")?;
        }
        health_check::Type::Tcp if check.tcp.is_none() => {
            return Err("Expecting 'tcp' to be set for TCP health check".to_owned());
        }
        health_check::Type::Tcp => {}
        health_check::Type::Unknown => {
            return Err("'UNKNOWN' is not a valid health check type".to_owned());
        }
    }
    not_negative(&[
        ("delay_seconds", check.delay_seconds),
        ("grace_period_seconds", check.grace_period_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

/// Checks a check.
pub(super) fn general(check: &CheckInfo) -> Result<(), String> {
    if check.r#type.is_none() {
        return Err("CheckInfo must specify 'type'".to_owned());
    }
    match check.r#type() {
        check_info::Type::Command => {
            let Some(command) = &check.command else {
                return Err("Expecting 'command' to be set for COMMAND check".to_owned());
            };
            self::command(&command.command, "Command check", "Check's")?;
        }
        check_info::Type::Http => {
            let Some(http) = &check.http else {
                return Err("Expecting 'http' to be set for HTTP check".to_owned());
            };
            path(http.path.as_deref(), "HTTP check")?;
        }
        check_info::Type::Tcp if check.tcp.is_none() => {
            return Err("Expecting 'tcp' to be set for TCP check".to_owned());
        }
        check_info::Type::Tcp => {}
        check_info::Type::Unknown => {
            return Err("'UNKNOWN' is not a valid check type".to_owned());
        }
    }
    not_negative(&[
        ("delay_seconds", check.delay_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

fn command(command: &CommandInfo, what: &str, whose: &str) -> Result<(), String> {
    if command.value.is_none() {
        let kind = if command.shell() { "'shell command'" } else { "'executable path'" };
        return Err(format!("{what} must contain {kind}"));
    }
    fields::command(command).map_err(|error| format!("{whose} `CommandInfo` is invalid: {error}"))
}

fn path(path: Option<&str>, what: &str) -> Result<(), String> {
    match path {
        Some(path) if !path.starts_with('/') => {
            Err(format!("The path '{path}' of {what} must start with '/'"))
        }
        Some(_) | None => Ok(()),
    }
}

fn not_negative(seconds: &[(&str, Option<f64>)]) -> Result<(), String> {
    match seconds.iter().find(|(_, value)| value.is_some_and(|value| value < 0.0)) {
        Some((name, _)) => Err(format!("Expecting '{name}' to be non-negative")),
        None => Ok(()),
    }
}
