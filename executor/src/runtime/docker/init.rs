//! The first process of a task's container: sends its output to files, then becomes the command.
//!
//! Owns the moment between the engine and the command. Refuses to stay: it
//! executes the command in its own place, so that signals and the exit status
//! are the command's. Entered from a hidden subcommand, inside the container.
//!
//! With it the output needs no log driver and no connection for each container.
//! An engine tells its clients why a command cannot be executed; here a file
//! next to the output does, since an exit status alone says little.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::{
    sys,
    unistd::{dup2_stderr, dup2_stdout, execvp},
};

use crate::launcher::add_nice;

/// The hidden subcommand: `container-init STDOUT STDERR FAILURE NICE UMASK NAME PROGRAM ARGUMENT...`.
/// The umask is octal; for it and for the name, which is the first word of the argv, [`NONE`] may
/// stand.
pub(crate) const SUBCOMMAND: &str = "container-init";

/// In the place of something that is as it would be anyway.
pub(crate) const NONE: &str = "-";

/// Exit statuses of shells, and of `docker run`.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// Exit status for being called in a way that makes no sense, as sysexits.h has it.
const USAGE: u8 = 64;

/// Becomes the command, or says why not.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments.into_iter().collect::<Vec<_>>();
    let [stdout, stderr, failure, nice, umask, name, program, rest @ ..] = &arguments[..] else {
        eprintln!("marmoset {SUBCOMMAND}: this is a part of the executor, which starts it");
        return ExitCode::from(USAGE);
    };
    let failure = PathBuf::from(failure);
    let prepared = redirect(stdout, stderr)
        .map_err(|(path, error)| (format!("open `{}`", path.to_string_lossy()), error))
        .and_then(|()| {
            let nice = nice.to_string_lossy();
            renice(&nice).map_err(|error| (format!("run with a `nice` of {nice}"), error))
        });
    let (what, error) = match prepared {
        Err(failed) => failed,
        Ok(()) => {
            // The file for the failure is there, if there is one, whatever it forbids.
            if let Ok(bits) = u32::from_str_radix(&umask.to_string_lossy(), 8) {
                let _before = sys::stat::umask(sys::stat::Mode::from_bits_truncate(bits));
            }
            let name = if name == NONE { program } else { name };
            let error = execute(program, name, rest);
            (format!("execute `{}`", program.to_string_lossy()), error)
        }
    };
    let text = format!("cannot {what}: {error}");
    eprintln!("{text}");
    // Whoever may not write there has the text on stderr.
    let _ = fs::write(failure, text);
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => ExitCode::from(NOT_FOUND),
        Some(_) | None => ExitCode::from(NOT_EXECUTABLE),
    }
}

fn redirect<'a>(stdout: &'a OsStr, stderr: &'a OsStr) -> Result<(), (&'a OsStr, io::Error)> {
    let open = |path: &'a OsStr| -> Result<File, (&'a OsStr, io::Error)> {
        let file = OpenOptions::new().append(true).create(true).open(Path::new(path));
        file.map_err(|error| (path, error))
    };
    let file = open(stdout)?;
    dup2_stdout(file.as_fd()).map_err(|errno| (stdout, errno.into()))?;
    let file = if stdout == stderr { file } else { open(stderr)? };
    dup2_stderr(file.as_fd()).map_err(|errno| (stderr, errno.into()))
}

/// Adds to the nice value that the container was started with.
fn renice(nice: &str) -> io::Result<()> {
    match nice.parse::<i32>().map_err(io::Error::other)? {
        0 => Ok(()),
        more => add_nice(more),
    }
}

/// Only comes back with an error.
fn execute(program: &OsStr, name: &OsStr, arguments: &[OsString]) -> io::Error {
    let text = |word: &OsStr| CString::new(word.as_bytes());
    let rest = arguments.iter().map(OsString::as_os_str);
    let argv = std::iter::once(name).chain(rest).map(text).collect::<Result<Vec<_>, _>>();
    match (text(program), argv) {
        (Ok(program), Ok(argv)) => match execvp(&program, &argv) {
            Ok(never) => match never {},
            Err(errno) => errno.into(),
        },
        (Err(nul), _) | (_, Err(nul)) => nul.into(),
    }
}
