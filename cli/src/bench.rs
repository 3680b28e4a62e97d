//! `marmoset bench`: measurements that people repeat on their own machines.
//!
//! Owns which measurements there are. Each room owns its rows, its order and what it
//! prints; [`html`] draws the report from their documents.

mod compare;
mod docker;
mod html;
mod interval;
mod peers;
mod rows;
mod scale;
mod site;
mod spawn;
mod stats;
mod usage;

use serde_json::{Value, json};

use crate::{
    args::{BenchArgs, BenchCommand},
    exit::Ending,
};

/// Measures and prints.
///
/// # Errors
/// The command line is wrong, or something could not be measured.
pub(crate) fn perform(args: &BenchArgs) -> anyhow::Result<Ending> {
    match &args.command {
        BenchCommand::Spawn(args) => spawn::perform(args),
        BenchCommand::Docker(args) => docker::perform(args),
        BenchCommand::Compare(args) => compare::perform(args),
        BenchCommand::Peers(args) => peers::perform(args),
        BenchCommand::Interval(args) => interval::perform(args),
        BenchCommand::Scale(args) => scale::perform(args),
        BenchCommand::SimulatedCluster(args) => scale::simulated::perform(args),
    }
}

/// A figure of a document with five digits: more would be noise.
fn number(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return json!(0.0);
    }
    let digits = 4 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits.clamp(0, 9));
    json!((value * scale).round() / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_five_digits() {
        for (value, told) in [
            (1234.5678, 1234.6),
            (0.000_123_456, 0.000_123_46),
            (123_456.7, 123_457.0),
            (0.0, 0.0),
            (f64::NAN, 0.0),
            (-1.234_567, -1.2346),
        ] {
            assert_eq!(number(value), json!(told), "{value}");
        }
    }
}
