//! Fixed-point numbers with three decimals.

use std::fmt;

/// Up to here doubles hold every whole number.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Thousandths: what Mesos compares and adds instead of doubles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Rounds to the nearest thousandth; `None` when negative or not finite.
    pub fn from_f64(value: f64) -> Option<Self> {
        let scaled = (value * 1000.0).round();
        (0.0..=LARGEST).contains(&scaled).then_some(Self(scaled as u64))
    }

    /// The number itself.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Adds, up to the largest number.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts; `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Multiplies, up to the largest number.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }
}

/// As Mesos writes it: `7.8`, `1000`, `0.125`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:03}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}
