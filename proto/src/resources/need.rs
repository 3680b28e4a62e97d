//! What a task asks for.

use super::Millis;

/// Amounts of resources, from wherever they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Processor cores.
    pub cpus: Millis,
    /// Memory in MiB.
    pub mem: Millis,
    /// Disk in MiB.
    pub disk: Millis,
    /// Graphics processors, whole ones.
    pub gpus: Millis,
    /// How many ports; any will do.
    pub ports: u64,
}

impl Need {
    /// The need of `count` such tasks at a time.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            cpus: self.cpus.times(count),
            mem: self.mem.times(count),
            disk: self.disk.times(count),
            gpus: self.gpus.times(count),
            ports: self.ports.saturating_mul(count),
        }
    }

    /// The scalars by name, zero ones among them.
    pub(super) fn scalars(&self) -> [(&'static str, Millis); 4] {
        [("cpus", self.cpus), ("mem", self.mem), ("disk", self.disk), ("gpus", self.gpus)]
    }
}
