//! Time as the core is told it.
//!
//! Owns the pair of clocks that enters with every input. Reads no clock itself.

use std::time::{Duration, Instant};

/// The moment of an input, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What deadlines are computed with.
    pub instant: Instant,
    /// What is compared with the stamps of executors.
    pub wall: WallTime,
}

/// Microseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Time since an earlier moment; zero when the clocks of two machines disagree.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Reads a Mesos time stamp: seconds since the epoch.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let micros = seconds * 1e6;
        (micros.is_finite() && micros >= 0.0).then_some(Self(micros as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disagreeing_clocks_give_zero() {
        assert_eq!(WallTime(5).since(WallTime(9)), Duration::ZERO);
        assert_eq!(WallTime(9).since(WallTime(5)), Duration::from_micros(4));
    }

    #[test]
    fn stamps() {
        assert_eq!(WallTime::from_seconds(1.5), Some(WallTime(1_500_000)));
        assert_eq!(WallTime::from_seconds(-1.0), None);
        assert_eq!(WallTime::from_seconds(f64::NAN), None);
    }
}
