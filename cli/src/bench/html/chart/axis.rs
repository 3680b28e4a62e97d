//! From values to places on an axis, and its tick marks.

/// How values lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero, in equal steps.
    Linear,
    /// Each step is a factor; what is not above zero is at the beginning.
    Logarithmic,
}

/// Range and scale of an axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Axis {
    /// The axis that all of these values are on.
    pub(super) fn over(values: impl Iterator<Item = f64>, scale: Scale) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match scale {
            Scale::Linear => {
                let step = step(high);
                Self { low: 0.0, high: (high / step).ceil() * step, scale }
            }
            Scale::Logarithmic => {
                // Whole decades where there are several, else 1, 2, 5.
                let (low, high) = if high / low > 30.0 {
                    (10_f64.powf(low.log10().floor()), 10_f64.powf((high.log10() - 1e-9).ceil()))
                } else {
                    (below(low), above(high))
                };
                Self { low, high: if high > low { high } else { low * 10.0 }, scale }
            }
        }
    }

    /// 0 at the beginning, 1 at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => {
                (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
            }
        };
        place.clamp(0.0, 1.0)
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.high);
                // Few: the step is a fourth of the range or more.
                (0..=(self.high / step).round() as u32).map(|n| f64::from(n) * step).collect()
            }
            Scale::Logarithmic => {
                let decades = (self.high / self.low).log10();
                let mut ticks = Vec::new();
                let mut decade = 10_f64.powf((self.low.log10() + 1e-9).floor());
                while decade <= self.high * 1.0001 {
                    let factors: &[f64] = if decades < 1.7 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                    ticks.extend(
                        factors.iter().map(|factor| factor * decade).filter(|tick| {
                            *tick >= self.low * 0.9999 && *tick <= self.high * 1.0001
                        }),
                    );
                    decade *= 10.0;
                }
                ticks
            }
        }
    }
}

/// A round step of which three to eight reach `high`.
fn step(high: f64) -> f64 {
    let decade = 10_f64.powf(high.log10().floor());
    let steps = [0.2, 0.5, 1.0, 2.0].map(|factor| factor * decade);
    steps.into_iter().find(|step| high / step <= 6.0).unwrap_or(2.0 * decade)
}

/// The largest of 1, 2, 5 × 10ⁿ that is not above a value.
fn below(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|factor| factor * decade);
    steps.into_iter().find(|step| *step <= value * 1.0001).unwrap_or(decade)
}

/// The smallest of 1, 2, 5 × 10ⁿ that is not below a value.
fn above(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
    steps.into_iter().find(|step| *step >= value * 0.9999).unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs())
    }

    #[test]
    fn a_linear_axis_begins_at_zero() {
        let axis = Axis::over([3.0, 17.0].into_iter(), Scale::Linear);
        assert!(near(&axis.ticks(), &[0.0, 5.0, 10.0, 15.0, 20.0]), "{:?}", axis.ticks());
        assert_eq!((axis.place(0.0), axis.place(10.0), axis.place(20.0)), (0.0, 0.5, 1.0));
    }

    #[test]
    fn a_logarithmic_axis_has_whole_decades() {
        let axis = Axis::over([3.0, 1700.0].into_iter(), Scale::Logarithmic);
        assert!(near(&axis.ticks(), &[1.0, 10.0, 100.0, 1000.0, 10_000.0]), "{:?}", axis.ticks());
        assert_eq!(axis.place(0.0), 0.0);
        assert!((axis.place(100.0) - 0.5).abs() < 1e-9);
        let axis = Axis::over([1.0, 10.0, 100.0, 1000.0].into_iter(), Scale::Logarithmic);
        assert!(near(&axis.ticks(), &[1.0, 10.0, 100.0, 1000.0]), "{:?}", axis.ticks());
    }

    #[test]
    fn a_short_logarithmic_axis_has_finer_marks() {
        let axis = Axis::over([30.0, 180.0].into_iter(), Scale::Logarithmic);
        assert!(near(&axis.ticks(), &[20.0, 50.0, 100.0, 200.0]), "{:?}", axis.ticks());
    }

    #[test]
    fn one_value_or_none() {
        for values in [vec![], vec![5.0], vec![0.0], vec![f64::NAN]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let axis = Axis::over(values.iter().copied(), scale);
                assert!(!axis.ticks().is_empty(), "{values:?}");
                assert!(axis.place(5.0).is_finite(), "{values:?}");
            }
        }
    }
}
