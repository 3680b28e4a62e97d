//! What a container may use: an executor's share and that of its tasks, in the units of an engine.
//!
//! Pure. Mesos 1.11, `src/slave/slave.cpp` (`Framework::addExecutor`,
//! `computeExecutorLimits`), `src/slave/containerizer/mesos/isolators/cgroups/constants.hpp`.

use marmoset_proto::{
    mesos::v1::{Resource, TaskInfo},
    resources::{Millis, Resources},
};

const MB: u64 = 1 << 20;
/// Less memory than this is not asked for.
const LEAST_MEMORY: u64 = 32 * MB;
const SHARES_PER_CPU: f64 = 1024.0;
const LEAST_SHARES: u64 = 2;
/// Microseconds of one processor's time in [`CPU_PERIOD`].
const QUOTA_PER_CPU: f64 = 100_000.0;
const LEAST_QUOTA: u64 = 1000;
/// Microseconds in which a quota is used up and renewed.
pub(crate) const CPU_PERIOD: u64 = 100_000;

/// Upper bounds; infinity is one, too.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    /// In processors.
    pub(crate) cpus: Option<f64>,
    /// In megabytes.
    pub(crate) mem: Option<f64>,
}

/// All that a container may use.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Amounts {
    /// What was given.
    pub(crate) resources: Vec<Resource>,
    /// What is the most, where that is not the same.
    pub(crate) limits: Limits,
}

/// Weight of a container among others.
pub(crate) fn cpu_shares(cpus: f64) -> u64 {
    whole(cpus * SHARES_PER_CPU).max(LEAST_SHARES)
}

/// Microseconds in a [`CPU_PERIOD`].
pub(crate) fn cpu_quota(cpus: f64) -> u64 {
    whole(cpus * QUOTA_PER_CPU).max(LEAST_QUOTA)
}

/// Memory in bytes.
pub(crate) fn memory_bytes(megabytes: f64) -> u64 {
    whole(megabytes * MB as f64).max(LEAST_MEMORY)
}

/// Without its fraction; amounts are never negative, and what is too large is as good as infinite.
fn whole(amount: f64) -> u64 {
    amount.max(0.0) as u64
}

/// Sums up what an executor and its first tasks were given.
pub(crate) fn resources(executor: &[Resource], tasks: &[TaskInfo]) -> Vec<Resource> {
    let of_tasks = tasks.iter().flat_map(|task| &task.resources);
    executor.iter().chain(of_tasks).cloned().collect()
}

/// Sums up limits; a task without one counts with what it was given.
pub(crate) fn limits(executor: &[Resource], tasks: &[TaskInfo]) -> Limits {
    Limits { cpus: limit("cpus", executor, tasks), mem: limit("mem", executor, tasks) }
}

fn limit(name: &str, executor: &[Resource], tasks: &[TaskInfo]) -> Option<f64> {
    let of = |task: &TaskInfo| task.limits.get(name).map(|limit| limit.value);
    if tasks.iter().all(|task| of(task).is_none()) {
        return None;
    }
    let request = |resources: &[Resource]| {
        let resources = Resources::from_proto(resources).ok();
        resources.and_then(|all| all.scalar(name)).map_or(0.0, Millis::to_f64)
    };
    let tasks = tasks.iter().map(|task| of(task).unwrap_or_else(|| request(&task.resources)));
    Some(request(executor) + tasks.sum::<f64>())
}

#[cfg(test)]
mod tests {
    use marmoset_proto::mesos::v1::value;

    use super::*;

    fn of(limit: Option<f64>) -> Limits {
        let resources = vec![Resource::scalar("mem", 32.0)];
        let task = |limit: Option<f64>| TaskInfo {
            resources: resources.clone(),
            limits: limit
                .map(|value| ("mem".to_owned(), value::Scalar { value }))
                .into_iter()
                .collect(),
            ..TaskInfo::default()
        };
        limits(&resources, &[task(limit), task(None)])
    }

    #[test]
    fn one_limit_makes_all_of_the_container_limited() {
        assert_eq!(of(None), Limits::default());
        assert_eq!(of(Some(100.0)), Limits { cpus: None, mem: Some(164.0) });
        assert_eq!(of(Some(f64::INFINITY)).mem, Some(f64::INFINITY));
    }
}
