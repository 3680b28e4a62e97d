//! `DockerInfo.parameters`: options of `docker run` that a task may set.

use bollard::models::{ContainerCreateBody, DeviceMapping, HostConfig, ResourcesUlimits};
use marmoset_proto::mesos::v1::Parameter;

use super::{PlanError, limits};

/// What any task may say.
const ALLOWED: [&str; 28] = [
    "add-host",
    "cap-drop",
    "cpuset-cpus",
    "cpuset-mems",
    "dns",
    "dns-option",
    "dns-search",
    "domainname",
    "entrypoint",
    "env",
    "gpus",
    "group-add",
    "hostname",
    "init",
    "label",
    "no-healthcheck",
    "pids-limit",
    "read-only",
    "shm-size",
    "stop-signal",
    "sysctl",
    "tmpfs",
    "ulimit",
    "user",
    "workdir",
    "oom-kill-disable",
    "memory-swappiness",
    "blkio-weight",
];

/// What leads out of the container: only where privileged ones are allowed.
const PRIVILEGED: [&str; 9] = [
    "cap-add",
    "cgroup-parent",
    "device",
    "ipc",
    "oom-score-adj",
    "pid",
    "security-opt",
    "userns",
    "uts",
];

/// Sets one option.
pub(super) fn apply(
    parameter: &Parameter,
    allow_privileged: bool,
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
) -> Result<(), PlanError> {
    let Parameter { key, value } = parameter;
    check(key, allow_privileged)?;
    let bad = |wanted: &str| {
        PlanError(format!(
            "the parameter `{key}` of `docker.parameters` is `{value}`, not {wanted}"
        ))
    };
    let number = || value.parse::<i64>().map_err(|_| bad("a number"));
    let flag = || value.parse::<bool>().map_err(|_| bad("`true` or `false`"));
    let pair = |separator| value.split_once(separator);
    let text = || Some(value.clone());
    match key.as_str() {
        "add-host" => {
            pair(':').ok_or_else(|| bad("`NAME:ADDRESS`"))?;
            host.extra_hosts.get_or_insert_default().push(value.clone());
        }
        "blkio-weight" => host.blkio_weight = Some(value.parse().map_err(|_| bad("a number"))?),
        "cap-drop" => host.cap_drop.get_or_insert_default().push(value.clone()),
        "cpuset-cpus" => host.cpuset_cpus = text(),
        "cpuset-mems" => host.cpuset_mems = text(),
        "dns" => host.dns.get_or_insert_default().push(value.clone()),
        "dns-option" => host.dns_options.get_or_insert_default().push(value.clone()),
        "dns-search" => host.dns_search.get_or_insert_default().push(value.clone()),
        "domainname" => body.domainname = text(),
        "entrypoint" => body.entrypoint = Some(vec![value.clone()]),
        "env" => {
            pair('=').ok_or_else(|| bad("`NAME=VALUE`"))?;
            body.env.get_or_insert_default().push(value.clone());
        }
        "gpus" => {
            let count = if value == "all" { -1 } else { number()? };
            host.device_requests.get_or_insert_default().push(limits::gpu_request(count));
        }
        "group-add" => host.group_add.get_or_insert_default().push(value.clone()),
        "hostname" => body.hostname = text(),
        "init" => host.init = Some(flag()?),
        "label" => {
            let (name, value) = pair('=').unwrap_or((value, ""));
            if name == "marmoset" || name.starts_with("marmoset.") {
                return Err(bad("one that tasks may set: ours begin with `marmoset`"));
            }
            let labels = body.labels.get_or_insert_default();
            labels.insert(name.to_owned(), value.to_owned());
        }
        "memory-swappiness" => host.memory_swappiness = Some(number()?),
        "no-healthcheck" => {
            if flag()? {
                let test = Some(vec!["NONE".to_owned()]);
                body.healthcheck =
                    Some(bollard::models::HealthConfig { test, ..Default::default() });
            }
        }
        "oom-kill-disable" => host.oom_kill_disable = Some(flag()?),
        "pids-limit" => host.pids_limit = Some(number()?),
        "read-only" => host.readonly_rootfs = Some(flag()?),
        "shm-size" => host.shm_size = Some(bytes(value).ok_or_else(|| bad("a size as `64m`"))?),
        "stop-signal" => body.stop_signal = text(),
        "sysctl" => {
            let (name, value) = pair('=').ok_or_else(|| bad("`NAME=VALUE`"))?;
            host.sysctls.get_or_insert_default().insert(name.to_owned(), value.to_owned());
        }
        "tmpfs" => {
            let (path, options) = pair(':').unwrap_or((value, ""));
            host.tmpfs.get_or_insert_default().insert(path.to_owned(), options.to_owned());
        }
        "ulimit" => {
            let ulimit = ulimit(value).ok_or_else(|| bad("`NAME=SOFT[:HARD]`"))?;
            host.ulimits.get_or_insert_default().push(ulimit);
        }
        "user" => body.user = text(),
        "workdir" => body.working_dir = text(),
        "cap-add" => host.cap_add.get_or_insert_default().push(value.clone()),
        "cgroup-parent" => host.cgroup_parent = text(),
        "device" => {
            let mapping = device(value).ok_or_else(|| bad("`PATH[:PATH[:rwm]]`"))?;
            host.devices.get_or_insert_default().push(mapping);
        }
        "ipc" => host.ipc_mode = text(),
        "oom-score-adj" => host.oom_score_adj = Some(number()?),
        "pid" => host.pid_mode = text(),
        "security-opt" => host.security_opt.get_or_insert_default().push(value.clone()),
        "userns" => host.userns_mode = text(),
        "uts" => host.uts_mode = text(),
        other => unreachable!("`{other}` is in one of the lists"),
    }
    Ok(())
}

fn check(key: &str, allow_privileged: bool) -> Result<(), PlanError> {
    if ALLOWED.contains(&key) || allow_privileged && PRIVILEGED.contains(&key) {
        return Ok(());
    }
    Err(PlanError(if PRIVILEGED.contains(&key) {
        format!(
            "the parameter `{key}` of `docker.parameters` leads out of the container: the executor \
             must be started with `--allow-privileged` for that"
        )
    } else if key == "name" {
        "the parameter `name` of `docker.parameters` cannot be set: containers have the names by \
         which they are found again; use `label`"
            .to_owned()
    } else {
        format!(
            "the parameter `{key}` of `docker.parameters` is not known here: known are {}; and with \
             `--allow-privileged` {}",
            ALLOWED.join(", "),
            PRIVILEGED.join(", ")
        )
    }))
}

/// `64m`, `1g`, `4096`.
fn bytes(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1024,
        "m" | "mb" => 1024 * 1024,
        "g" | "gb" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit)
}

fn ulimit(text: &str) -> Option<ResourcesUlimits> {
    let (name, bounds) = text.split_once('=')?;
    let (soft, hard) = bounds.split_once(':').unwrap_or((bounds, bounds));
    let (soft, hard) = (soft.parse().ok()?, hard.parse().ok()?);
    Some(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(soft), hard: Some(hard) })
}

fn device(text: &str) -> Option<DeviceMapping> {
    let mut parts = text.split(':');
    let host = parts.next().filter(|path| path.starts_with('/'))?;
    let container = parts.next().unwrap_or(host);
    let rights = parts.next().unwrap_or("rwm");
    parts.next().is_none().then(|| DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(container.to_owned()),
        cgroup_permissions: Some(rights.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_parameter_is_understood() {
        for key in ALLOWED.into_iter().chain(PRIVILEGED) {
            let value = match key {
                "add-host" => "db:10.0.0.1",
                "env" | "sysctl" | "label" => "A=1",
                "init" | "read-only" | "no-healthcheck" | "oom-kill-disable" => "true",
                "ulimit" => "nofile=10:20",
                "device" => "/dev/null:/dev/x:r",
                "shm-size" => "64m",
                _ => "1",
            };
            let parameter = Parameter { key: key.into(), value: value.into() };
            let (mut body, mut host) = (ContainerCreateBody::default(), HostConfig::default());
            apply(&parameter, true, &mut body, &mut host).unwrap();
            let changed = body != ContainerCreateBody::default() || host != HostConfig::default();
            assert!(changed, "{key}");
        }
    }

    #[test]
    fn refusals_name_the_parameter_and_what_is_known() {
        let refuse = |key: &str, value: &str| {
            let parameter = Parameter { key: key.into(), value: value.into() };
            let (mut body, mut host) = (ContainerCreateBody::default(), HostConfig::default());
            apply(&parameter, false, &mut body, &mut host).unwrap_err().to_string()
        };
        assert!(
            refuse("name", "x").starts_with("the parameter `name` of `docker.parameters` cannot")
        );
        assert!(refuse("rm", "true").contains("is not known here: known are add-host, cap-drop,"));
        assert!(refuse("cap-add", "ALL").contains("`--allow-privileged`"));
        assert!(refuse("init", "yes").contains("is `yes`, not `true` or `false`"));
        assert!(refuse("label", "marmoset.run=x").contains("ours begin with `marmoset`"));
        assert!(refuse("shm-size", "1x").contains("not a size"));
    }
}
