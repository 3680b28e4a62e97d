//! What one run may use.
//!
//! Owns the share of a Mesos task's resources that falls to each of its runs.
//! Refuses to enforce anything: runtimes do. Called when a task is read.

use marmoset_proto::{
    mesos::v1::{Resource, TaskInfo},
    resources::Millis,
};

/// Resources of one run, from `TaskInfo.resources` and `TaskInfo.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Processor cores that it was given.
    pub cpus: Option<Millis>,
    /// Memory that it was given, in MiB.
    pub mem: Option<Millis>,
    /// Graphics processors that it was given.
    pub gpus: Option<Millis>,
    /// Most processor cores that it may use, if the task says so.
    pub cpus_limit: Option<Limit>,
    /// Most memory that it may use in MiB, if the task says so.
    pub mem_limit: Option<Limit>,
}

/// An entry of `TaskInfo.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Up to this much.
    Finite(Millis),
    /// As much as there is.
    Infinite,
}

impl Bounds {
    /// Shares the resources of a task among `width` runs at a time.
    pub(crate) fn of(task: &TaskInfo, width: u32) -> Self {
        let width = u64::from(width.max(1));
        let given = |name| sum(&task.resources, name).map(|sum| Millis(sum.0 / width));
        let limit = |name| {
            let value = task.limits.get(name)?.value;
            if value == f64::INFINITY {
                return Some(Limit::Infinite);
            }
            Millis::from_f64(value).map(|limit| Limit::Finite(Millis(limit.0 / width)))
        };
        Self {
            cpus: given("cpus"),
            mem: given("mem"),
            gpus: given("gpus"),
            cpus_limit: limit("cpus"),
            mem_limit: limit("mem"),
        }
    }
}

/// All of one scalar, whatever role it is reserved for.
fn sum(resources: &[Resource], name: &str) -> Option<Millis> {
    resources
        .iter()
        .filter(|resource| resource.name == name)
        .filter_map(|resource| Millis::from_f64(resource.scalar.as_ref()?.value))
        .reduce(Millis::saturating_add)
}

#[cfg(test)]
mod tests {
    use marmoset_proto::mesos::v1::value;

    use super::*;

    fn resource(name: &str, value: f64) -> Resource {
        let scalar = Some(value::Scalar { value });
        Resource { name: name.into(), scalar, ..Resource::default() }
    }

    #[test]
    fn resources_are_shared_among_the_runs() {
        let task = TaskInfo {
            resources: vec![resource("cpus", 1.0), resource("cpus", 0.5), resource("mem", 64.0)],
            limits: [
                ("cpus".to_owned(), value::Scalar { value: f64::INFINITY }),
                ("mem".to_owned(), value::Scalar { value: 128.0 }),
            ]
            .into(),
            ..TaskInfo::default()
        };
        let bounds = Bounds::of(&task, 2);
        assert_eq!(bounds.cpus, Some(Millis(750)));
        assert_eq!(bounds.mem, Some(Millis(32_000)));
        assert_eq!(bounds.cpus_limit, Some(Limit::Infinite));
        assert_eq!(bounds.mem_limit, Some(Limit::Finite(Millis(64_000))));
        assert_eq!(Bounds::of(&TaskInfo::default(), 0), Bounds::default());
    }
}
