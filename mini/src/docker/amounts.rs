//! What a container is started with: an executor's share and that of its first tasks.
//!
//! Pure. Mesos 1.11, `src/slave/slave.cpp` (`Framework::addExecutor`,
//! `computeExecutorLimits`).

use marmoset_proto::{
    mesos::v1::{Resource, TaskInfo},
    resources::{Millis, Resources},
};

use super::Limits;

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
