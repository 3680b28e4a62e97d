//! The command line: what may be typed, and its help.
//!
//! Owns names, defaults and the checks that need no I/O. Refuses to open files
//! or to start anything. Called by [`crate::main`].

mod bench;
mod container;
mod executor;
mod mini;
mod run;
mod unpack;
pub(crate) mod values;

use clap::{Parser, Subcommand};

pub(crate) use bench::{
    Also, BenchArgs, BenchCommand, CompareArgs, DockerArgs, IntervalArgs, PeersArgs, ScaleArgs,
    SimulatedClusterArgs, SpawnArgs,
};
pub(crate) use container::ContainerArgs;
pub(crate) use executor::ExecutorArgs;
pub(crate) use mini::{Containerizer, MiniArgs};
pub(crate) use run::{Batch, Keep, RunArgs};
pub(crate) use unpack::UnpackArgs;

/// Many short tasks on Apache Mesos, through one resident executor per agent.
#[derive(Debug, Parser)]
#[command(
    name = "marmoset",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "\
Examples:
  marmoset run --count 10000 -- /bin/true
      ten thousand commands through a Mesos cluster of one agent, started for them
  find . -name '*.png' | marmoset run --each-line - --output sums -- sha256sum {}
      one command for each line, outputs collected in a folder
  marmoset run --master 10.0.0.5:5050 --executor-path /opt/marmoset-executor --count 100 -- hostname
      the same on a real cluster
  marmoset mini --agents 3 --port 5050
      a cluster on this machine for other frameworks

Exit codes:
  0    every task finished
  1    some task did not finish
  2    marmoset could not do its job
  64   the command line is wrong
  130  interrupted (143: by SIGTERM)"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<RunArgs>),
    Mini(Box<MiniArgs>),
    Bench(BenchArgs),
    Unpack(UnpackArgs),
    /// The executor, as an agent starts it; configured by flags and MESOS_* variables
    #[command(disable_help_flag = true)]
    Executor(Verbatim),
    #[command(hide = true, disable_help_flag = true)]
    MiniCommandExecutor(Verbatim),
}

/// Arguments that another program reads.
#[derive(Debug, clap::Args)]
pub(crate) struct Verbatim {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<std::ffi::OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
