//! What a cgroup is set to, from what a run was given.
//!
//! The rules are those of Mesos' isolators `cgroups/mem` and `cgroups/cpu`.

use std::time::Duration;

use marmoset_executor_core::{Bounds, Limit};
use marmoset_proto::resources::Millis;

/// Below this, Mesos limits no container: the kernel's own structures count as well.
const MEMORY_MIN: u64 = 32 << 20;

const SHARES_OF_A_CPU: u64 = 1024;
const SHARES_MIN: u64 = 2;

/// What [`Limits::cpu_quota`] is measured in.
pub(crate) const CPU_PERIOD: Duration = Duration::from_millis(100);
const QUOTA_MIN: Duration = Duration::from_millis(1);

/// Limits of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// Most memory, in bytes.
    pub memory: Option<u64>,
    /// Weight against others, 1024 for each processor core, as version 1 has it.
    pub cpu_shares: Option<u64>,
    /// CPU time in each 100 ms.
    pub cpu_quota: Option<Duration>,
}

impl Limits {
    /// Reads what a run was given. None if nothing is to be limited.
    ///
    /// `enable_cfs`: `cpus` is a hard limit even where the task sets none.
    pub(crate) fn of(bounds: &Bounds, enable_cfs: bool) -> Option<Self> {
        let cpu_limit = match bounds.cpus_limit {
            Some(Limit::Finite(limit)) => Some(limit),
            Some(Limit::Infinite) => None,
            None => bounds.cpus.filter(|_| enable_cfs),
        };
        let limits = Self {
            memory: memory(bounds).map(|bytes| bytes.max(MEMORY_MIN)),
            cpu_shares: bounds
                .cpus
                .map(|Millis(cpus)| (cpus * SHARES_OF_A_CPU / 1000).max(SHARES_MIN)),
            cpu_quota: cpu_limit.map(|Millis(cpus)| {
                let micros = CPU_PERIOD.as_micros() as u64 * cpus / 1000;
                Duration::from_micros(micros).max(QUOTA_MIN)
            }),
        };
        (limits != Self::default()).then_some(limits)
    }

    /// The weight as version 2 counts it, 1 to 10000.
    pub(crate) fn cpu_weight(self) -> Option<u64> {
        // The conversion that container runtimes agree on.
        let weight = |shares: u64| 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        self.cpu_shares.map(weight)
    }
}

/// Most memory that a run may use, in bytes.
pub(crate) fn memory(bounds: &Bounds) -> Option<u64> {
    let mebibytes = match bounds.mem_limit {
        Some(Limit::Infinite) => return None,
        Some(Limit::Finite(limit)) => limit,
        None => bounds.mem?,
    };
    // In this order: it is far from overflowing, and nothing is lost.
    Some(mebibytes.0.saturating_mul(1 << 20) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn given(cpus: u64, mem: u64) -> Bounds {
        Bounds { cpus: Some(Millis(cpus)), mem: Some(Millis(mem)), ..Bounds::default() }
    }

    #[test]
    fn the_rules_are_those_of_mesos() {
        let limits = Limits::of(&given(500, 64_000), false).unwrap();
        assert_eq!(limits.memory, Some(64 * MIB));
        assert_eq!((limits.cpu_shares, limits.cpu_quota), (Some(512), None));
        let limits = Limits::of(&given(1, 1_000), true).unwrap();
        assert_eq!(limits.memory, Some(32 * MIB));
        assert_eq!(limits.cpu_shares, Some(2));
        assert_eq!(limits.cpu_quota, Some(Duration::from_millis(1)));
    }

    #[test]
    fn limits_of_the_task_win_over_its_resources() {
        let bounds = Bounds {
            cpus_limit: Some(Limit::Finite(Millis(2500))),
            mem_limit: Some(Limit::Finite(Millis(128_000))),
            ..given(1000, 64_000)
        };
        let limits = Limits::of(&bounds, false).unwrap();
        assert_eq!(limits.memory, Some(128 * MIB));
        assert_eq!(limits.cpu_quota, Some(Duration::from_millis(250)));
        let bounds = Bounds {
            cpus_limit: Some(Limit::Infinite),
            mem_limit: Some(Limit::Infinite),
            ..given(1000, 64_000)
        };
        let limits = Limits::of(&bounds, true).unwrap();
        assert_eq!((limits.memory, limits.cpu_quota), (None, None));
    }

    #[test]
    fn nothing_given_is_nothing_limited() {
        assert_eq!(Limits::of(&Bounds::default(), true), None);
    }

    #[test]
    fn weights_reach_from_end_to_end() {
        let weight = |shares| Limits { cpu_shares: Some(shares), ..Limits::default() }.cpu_weight();
        assert_eq!(
            [weight(2), weight(1024), weight(262_144), weight(u64::MAX)],
            [Some(1), Some(39), Some(10_000), Some(10_000)]
        );
    }
}
