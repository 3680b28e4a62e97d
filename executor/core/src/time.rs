//! The two clocks of an input: one for timers, one for what people read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When an input happened, as its caller saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never goes back: timers.
    pub instant: Instant,
    /// May jump: timestamps in updates and reports.
    pub wall: WallTime,
}

/// Microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub u64);

impl WallTime {
    /// The form of `TaskStatus.timestamp`.
    pub(crate) fn as_seconds(self) -> f64 {
        Duration::from_micros(self.0).as_secs_f64()
    }

    /// Microseconds since `earlier`; 0 when the clock went back.
    pub(crate) fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<SystemTime> for WallTime {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}
