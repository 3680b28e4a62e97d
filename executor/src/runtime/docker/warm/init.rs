//! The first process of a container that tasks share.
//!
//! Owns the way from the engine to the launcher: who does the work is the guard of
//! [`crate::launcher`], as outside. Entered from a hidden subcommand, inside the container. It
//! needs nothing of the image, not even a shell.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io,
    os::fd::AsFd as _,
    path::Path,
    process::ExitCode,
};

use nix::unistd::{dup2_stderr, dup2_stdout};

use crate::launcher;

/// The hidden subcommand: `container-warm SOCKET FAILURE STDOUT STDERR`; `-` for no such file.
pub(crate) const SUBCOMMAND: &str = "container-warm";

/// Stands for a stream of the executor that no task writes to.
pub(in super::super) const NO_FILE: &str = "-";

/// Exit status for being called in a way that makes no sense, as sysexits.h has it.
const USAGE: u8 = 64;

/// Works until the executor ends.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments.into_iter().collect::<Vec<_>>();
    let [socket, failure, stdout, stderr] = &arguments[..] else {
        eprintln!("marmoset {SUBCOMMAND}: this is a part of the executor, which starts it");
        return ExitCode::from(USAGE);
    };
    let outcome = redirect(stdout, stderr)
        .map_err(|error| format!("cannot open the executor's output: {error}"))
        .and_then(|()| launcher::init(Path::new(socket)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            // The executor has heard it if it listens; else it looks here.
            let _ = fs::write(failure, &text);
            eprintln!("marmoset {SUBCOMMAND}: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Tasks that write to the executor's own output write to what this process has.
fn redirect(stdout: &OsStr, stderr: &OsStr) -> io::Result<()> {
    let open = |path: &OsStr| OpenOptions::new().append(true).open(path);
    if stdout != NO_FILE {
        dup2_stdout(open(stdout)?.as_fd())?;
    }
    if stderr != NO_FILE {
        dup2_stderr(open(stderr)?.as_fd())?;
    }
    Ok(())
}
