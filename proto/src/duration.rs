//! Duration strings of Mesos flags and environment variables: `5secs`, `1.5hrs`.

use std::time::Duration;

use crate::mesos::v1::DurationInfo;

/// Units from small to large, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("secs", 1_000_000_000),
    ("mins", 60 * 1_000_000_000),
    ("hrs", 3_600 * 1_000_000_000),
    ("days", 86_400 * 1_000_000_000),
    ("weeks", 604_800 * 1_000_000_000),
];

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number in front.
    #[error("`{0}` is not a duration: no number (write it like `5secs` or `250ms`)")]
    NoNumber(String),
    /// The text behind the number is no unit.
    #[error(
        "`{0}` is not a duration: its unit is none of ns, us, ms, secs, mins, hrs, days, weeks"
    )]
    UnknownUnit(String),
    /// Negative, or beyond 292 years.
    #[error("`{0}` is out of range for a duration")]
    OutOfRange(String),
}

/// Reads a decimal number directly followed by a unit.
///
/// # Errors
/// When the number or the unit is missing or unknown, or when the value is
/// negative or more nanoseconds than an `i64` holds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let value = number.parse::<f64>().map_err(|_| DurationError::NoNumber(text.to_string()))?;
    let (_, scale) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| DurationError::UnknownUnit(text.to_string()))?;
    // Whole numbers stay exact beyond the 53 bits of a double.
    let nanos = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(*scale).filter(|nanos| i64::try_from(*nanos).is_ok()),
        Err(_) => {
            let nanos = value * *scale as f64;
            (nanos >= 0.0 && nanos < i64::MAX as f64).then_some(nanos.round() as u64)
        }
    };
    nanos.map(Duration::from_nanos).ok_or_else(|| DurationError::OutOfRange(text.to_string()))
}

/// Writes a duration the way Mesos does: `90secs`, `1mins`, `1.5hrs`, `0ns`.
///
/// The largest unit that is not more than the value, if the value is whole in
/// it; else the next smaller one if it is whole in that; else the larger one
/// with a fraction.
pub fn format(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let Some(largest) = UNITS.iter().rposition(|(_, scale)| *scale <= nanos) else {
        return "0ns".to_string();
    };
    let (name, scale) = UNITS[largest];
    if nanos.is_multiple_of(scale) {
        return format!("{}{name}", nanos / scale);
    }
    // The smallest unit divides everything: `largest` is at least 1 here.
    let (smaller, small) = UNITS[largest - 1];
    if nanos.is_multiple_of(small) {
        return format!("{}{smaller}", nanos / small);
    }
    format!("{}{name}", crate::text::number(nanos as f64 / scale as f64))
}

impl DurationInfo {
    /// The duration; negative ones count as zero.
    pub fn to_duration(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanoseconds).unwrap_or(0))
    }
}

impl From<Duration> for DurationInfo {
    fn from(duration: Duration) -> Self {
        Self { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_as_mesos() {
        for (nanos, text) in [
            (0, "0ns"),
            (1, "1ns"),
            (1_500, "1500ns"),
            (250_000_000, "250ms"),
            (5_000_000_000, "5secs"),
            (60_000_000_000, "1mins"),
            (90_000_000_000, "90secs"),
            (900_000_000_000, "15mins"),
            (3_600_000_000_000, "1hrs"),
            (864_000_000_000_000, "10days"),
            (604_800_000_000_000, "1weeks"),
            (1_000_000_001, "1.000000001secs"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
            assert_eq!(parse(text).unwrap(), Duration::from_nanos(nanos));
        }
    }

    #[test]
    fn reads_fractions() {
        assert_eq!(parse("1.5hrs").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse(" 0.25secs ").unwrap(), Duration::from_millis(250));
    }

    #[test]
    fn refuses() {
        for text in ["", "secs", "5", "5s", "5 secs", "1e3secs", "-.secs", "1..2secs"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["-1secs", "99999999weeks", "9999999999999999999999ns"] {
            assert_eq!(parse(text), Err(DurationError::OutOfRange(text.into())));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,20}") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_what_it_writes(nanos in 0..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            let read = parse(&format(duration)).unwrap();
            // A fraction has 15 to 17 digits.
            prop_assert!(read.abs_diff(duration).as_nanos() <= u128::from(nanos) / 1_000_000_000_000_000 + 1);
        }
    }
}
