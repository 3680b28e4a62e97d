//! Flags of `marmoset unpack`.

use std::path::PathBuf;

use clap::Args;

/// Read packs: the files that `marmoset run --pack-output` leaves in the sandboxes of executors
#[derive(Debug, Args)]
#[command(after_help = "\
Packs are `packs/<job>.<number>.pack` in an executor's sandbox. The end of one may be torn when its
writer was killed, or writes still: that is said, and what comes before is read.

Examples:
  marmoset unpack --list sleep.*.pack
  marmoset unpack --task sleep.17 sleep.*.pack        # what it wrote, to stdout and stderr
  marmoset unpack --to outputs sleep.*.pack           # outputs/sleep.17/stdout, ...")]
pub(crate) struct UnpackArgs {
    /// Tell what is in them
    #[arg(long, group = "what")]
    pub(crate) list: bool,

    /// Print what this task wrote, its stdout to stdout and its stderr to stderr
    #[arg(long, value_name = "ID", group = "what")]
    pub(crate) task: Option<String>,

    /// Write DIR/<task>/stdout and DIR/<task>/stderr
    #[arg(long, value_name = "DIR", group = "what")]
    pub(crate) to: Option<PathBuf>,

    /// With --list: one JSON object for each stream of a task
    #[arg(long, requires = "list")]
    pub(crate) json: bool,

    /// The packs
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}
