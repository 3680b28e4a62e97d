//! Means with their uncertainty, points of distributions, slopes.
//!
//! Owns the arithmetic of all measurements; knows nothing of what is measured.

/// A mean and where the true one lies, with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    /// Arithmetic mean, or geometric mean of ratios.
    pub(super) mean: f64,
    /// Ends of the interval; absent where one value says nothing about the others.
    pub(super) interval: Option<(f64, f64)>,
    /// Number of values.
    pub(super) n: usize,
}

impl Estimate {
    /// The mean of values that are not below zero, with Student's interval.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        let (mean, half) = mean_and_half(values)?;
        Some(Self { mean, interval: half.map(|half| ((mean - half).max(0.0), mean + half)), n })
    }

    /// The geometric mean of what is above over what is below, pair by pair: drift that meets
    /// both of a pair cancels out. The interval is Student's, of the logarithms.
    pub(super) fn of_ratios(above: &[f64], below: &[f64]) -> Option<Self> {
        let logarithms: Vec<f64> = above
            .iter()
            .zip(below)
            .filter(|(above, below)| **above > 0.0 && **below > 0.0)
            .map(|(above, below)| (above / below).ln())
            .collect();
        let (mean, half) = mean_and_half(&logarithms)?;
        let interval = half.map(|half| ((mean - half).exp(), (mean + half).exp()));
        Some(Self { mean: mean.exp(), interval, n: logarithms.len() })
    }
}

fn mean_and_half(values: &[f64]) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return Some((mean, None));
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean, Some(student(values.len() - 1) * (variance / n).sqrt())))
}

/// The 97.5 % point of Student's distribution with so many degrees of freedom.
fn student(degrees: usize) -> f64 {
    const POINTS: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    POINTS.get(degrees.saturating_sub(1)).copied().unwrap_or(1.96)
}

/// The smallest value that this share of all is not above. `sorted` is in ascending order.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    // In range: the share is one of 0 to 1.
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(last)).copied()
}

/// The slope of the straight line nearest to the points' logarithms: 1 is linear, 0 is flat.
pub(super) fn log_slope(points: &[(f64, f64)]) -> Option<f64> {
    let points: Vec<(f64, f64)> = points
        .iter()
        .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let n = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let spread = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    let common = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
    (spread > 0.0).then(|| common / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-3 * b.abs().max(1.0)
    }

    #[test]
    fn an_interval_is_students() {
        let five = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        // 2.776 × sqrt(2.5 / 5)
        let (low, high) = five.interval.unwrap();
        assert!(near(five.mean, 3.0) && near(low, 1.037) && near(high, 4.963), "{five:?}");
        assert_eq!(five.n, 5);
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_mean() {
        assert_eq!(Estimate::of(&[7.0]), Some(Estimate { mean: 7.0, interval: None, n: 1 }));
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of_ratios(&[1.0], &[0.0]), None);
    }

    #[test]
    fn ratios_are_of_pairs() {
        // The machine is twice as fast in the second round: the ratio does not change.
        let ratio = Estimate::of_ratios(&[100.0, 200.0], &[10.0, 20.0]).unwrap();
        let (low, high) = ratio.interval.unwrap();
        assert!(near(ratio.mean, 10.0) && near(low, 10.0) && near(high, 10.0), "{ratio:?}");
        let ratio = Estimate::of_ratios(&[4.0, 1.0], &[1.0, 1.0]).unwrap();
        assert!(near(ratio.mean, 2.0), "{ratio:?}");
    }

    #[test]
    fn quantiles_are_values_that_occur() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (Some(1.0), Some(100.0)));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn slopes_of_powers() {
        let points = |power: f64| [1.0_f64, 10.0, 100.0].map(|x| (x, 3.0 * x.powf(power)));
        assert!(near(log_slope(&points(1.0)).unwrap(), 1.0));
        assert!(near(log_slope(&points(0.0)).unwrap(), 0.0));
        assert!(near(log_slope(&points(2.0)).unwrap(), 2.0));
        assert_eq!(log_slope(&[(1.0, 1.0)]), None);
    }
}
