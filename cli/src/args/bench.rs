//! Flags of `marmoset bench`.

use std::num::NonZeroU64;

use clap::{Args, Subcommand};

use super::values;

/// Measure this machine
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Spawn(SpawnArgs),
}

/// Spawn and wait for /bin/true: a bare loop, the launcher, and a whole cluster, in one run
#[derive(Debug, Args)]
#[command(after_help = "\
The bare loop (posix_spawn, waitpid) is the floor: nothing that starts a process for each task can be
faster. Rows are measured one after the other, so their ratios hold also where the figures drift.

Examples:
  marmoset bench spawn
  marmoset bench spawn --count 20000 --json")]
pub(crate) struct SpawnArgs {
    /// Processes to start in each row
    #[arg(long, value_name = "N", default_value = "20000", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) count: NonZeroU64,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}
