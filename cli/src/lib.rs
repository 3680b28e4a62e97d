//! The `marmoset` command.
//!
//! Owns the command line, what people see, and exit codes. Everything else is
//! done by the crates behind it: `marmoset-scheduler` runs jobs, `marmoset-mini`
//! is the embedded cluster, `marmoset-executor` is what agents start.

mod args;
mod bench;
mod exit;
mod folder;
mod interrupt;
mod logging;
mod mini;
mod output;
mod report;
mod run;
mod unpack;

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::Parser as _;

use args::{Cli, Command};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // What agents start by the thousand reads its own arguments, and must not wait for ours.
    match arguments.get(1).map(OsString::as_os_str) {
        Some(name) if name == OsStr::new("executor") => {
            return marmoset_executor::main(arguments.into_iter().skip(1));
        }
        Some(name) if name == OsStr::new("mini-command-executor") => {
            return marmoset_mini::builtin::main(arguments.into_iter().skip(2));
        }
        Some(_) | None => {}
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => exit::code(perform(cli.command)),
        Err(refusal) => exit::refused(&refusal),
    }
}

fn perform(command: Command) -> anyhow::Result<exit::Ending> {
    match command {
        Command::Run(args) => run::perform(&args),
        Command::Mini(args) => mini::perform(&args),
        Command::Unpack(args) => unpack::perform(&args),
        Command::Bench(args) => bench::perform(&args),
        // Taken by `main` before anything is parsed; here only for the help.
        Command::Executor(verbatim) | Command::MiniCommandExecutor(verbatim) => {
            unreachable!("dispatched before parsing: {:?}", verbatim.arguments)
        }
    }
}
