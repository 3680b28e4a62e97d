//! What a running container may use, written into its control groups.
//!
//! Like Mesos, this knows version 1 only: where the controllers are those of
//! version 2, a container keeps what `docker run` gave it. A limit of memory is
//! raised, never lowered, and an engine that counts swap refuses to raise it past
//! what it allows of both: such a container has to be destroyed. Mesos 1.11,
//! `src/slave/containerizer/docker.cpp` (`__update`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use marmoset_proto::resources::{Millis, Resources};

use crate::docker::{Amounts, CPU_PERIOD, cpu_quota, cpu_shares, memory_bytes};

/// Why a container has not the room that its tasks were promised.
#[derive(Debug, thiserror::Error)]
#[error("Failed to set '{file}': {source}")]
pub(super) struct ResizeError {
    file: &'static str,
    source: io::Error,
}

/// Writes what the container of this process may use.
pub(super) fn resize(pid: u32, amounts: &Amounts) -> Result<(), ResizeError> {
    let Ok(resources) = Resources::from_proto(&amounts.resources) else { return Ok(()) };
    if resources.is_empty() {
        return Ok(());
    }
    // A process that is gone has no groups, and wants none.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cpus = resources.cpus().map(Millis::to_f64);
    if let (Some(cpus), Some(group)) = (cpus, group_of("cpu", &groups, &mounts)) {
        write(&group, "cpu.shares", cpu_shares(cpus))?;
        if let Some(limit) = amounts.limits.cpus.filter(|limit| limit.is_finite()) {
            write(&group, "cpu.cfs_period_us", CPU_PERIOD)?;
            write(&group, "cpu.cfs_quota_us", cpu_quota(limit))?;
        }
    }
    let memory = resources.mem().map(Millis::to_f64);
    if let (Some(memory), Some(group)) = (memory, group_of("memory", &groups, &mounts)) {
        write(&group, "memory.soft_limit_in_bytes", memory_bytes(memory))?;
        let limit = amounts.limits.mem.unwrap_or(memory);
        let limit = if limit.is_finite() { memory_bytes(limit) } else { u64::MAX };
        let now = fs::read_to_string(group.join("memory.limit_in_bytes")).ok();
        let now = now.and_then(|text| text.trim().parse::<u64>().ok());
        if limit != u64::MAX && now.is_some_and(|now| now < limit) {
            write(&group, "memory.limit_in_bytes", limit)?;
        }
    }
    Ok(())
}

/// Finds a controller's directory of a process, if the controller is one of version 1 and mounted.
fn group_of(controller: &str, groups: &str, mounts: &str) -> Option<PathBuf> {
    let named = |list: &str| list.split(',').any(|name| name == controller);
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        named(fields.next()?).then_some(())?;
        fields.next()
    })?;
    let mount = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[_, mount, "cgroup", options, ..] = fields.as_slice() else { return None };
        named(options).then_some(mount)
    })?;
    let group = Path::new(mount).join(path.trim_start_matches('/'));
    group.is_dir().then_some(group)
}

fn write(group: &Path, file: &'static str, value: u64) -> Result<(), ResizeError> {
    match fs::write(group.join(file), value.to_string()) {
        // The container ended in between.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(|source| ResizeError { file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_where_it_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().display().to_string();
        fs::create_dir_all(folder.path().join("docker/c")).unwrap();
        let groups = "4:memory:/docker/c\n2:cpu,cpuacct:/docker/c\n0::/x\n";
        let mounts = format!(
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ncgroup {mount} cgroup rw,cpu,cpuacct 0 0\n"
        );
        let found = folder.path().join("docker/c");
        assert_eq!(group_of("cpu", groups, &mounts), Some(found));
        assert_eq!(group_of("memory", groups, &mounts), None, "not mounted");
        assert_eq!(group_of("cpuset", groups, &mounts), None, "not a group of the process");
        assert_eq!(group_of("cpu", "2:cpu:/gone\n", &mounts), None);
        assert_eq!(group_of("cpu", "0::/x\n", &mounts), None, "version 2");
    }
}
