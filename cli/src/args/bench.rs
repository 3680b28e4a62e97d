//! Flags of `marmoset bench`.

use std::{num::NonZeroU64, path::PathBuf};

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

/// What a task costs: a bare spawn loop, the launcher, a whole cluster, and one executor alone
#[derive(Debug, Args)]
#[command(after_help = "\
Each figure stands beside its floor: the bare loop (posix_spawn, waitpid), or what the same costs
without us. All rows are measured in one run, so their ratios hold also where the figures drift. Rates
of the whole path are those in the middle of the run. What the CPU of the executor is: all of its
processes, less the kernel's time for spawning that the bare loop shows. Memory is the sum over the
executor and its launcher. The reach is that of a machine with two cores and nothing else to do.

Examples:
  marmoset bench spawn
  marmoset bench spawn --count 50000 --json
  marmoset bench spawn --executor ./marmoset-executor
  marmoset bench spawn --soak 1000000")]
pub(crate) struct SpawnArgs {
    /// Tasks in each row about a rate
    #[arg(long, value_name = "N", default_value = "20000", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) count: NonZeroU64,

    /// Measure this `marmoset-executor`, not the executor inside this program
    #[arg(long, value_name = "FILE")]
    pub(crate) executor: Option<PathBuf>,

    /// At last run N tasks, and tell how much the executor holds more after them than after 100,000
    #[arg(long, value_name = "N", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) soak: Option<NonZeroU64>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}
