//! `marmoset bench`: measurements that people repeat on their own machines.
//!
//! Owns which measurements there are. Each room owns its rows, its order and what it prints.

mod spawn;

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
    }
}
