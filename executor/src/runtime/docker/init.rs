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
    os::{fd::AsFd, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::unistd::{dup2_stderr, dup2_stdout, execvp};

/// The hidden subcommand: `container-init STDOUT STDERR FAILURE PROGRAM ARGUMENT...`.
pub(crate) const SUBCOMMAND: &str = "container-init";

/// Exit statuses of shells, and of `docker run`.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// Exit status for being called in a way that makes no sense, as sysexits.h has it.
const USAGE: u8 = 64;

/// Becomes the command, or says why not.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let (Some(stdout), Some(stderr), Some(failure), Some(program)) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("marmoset {SUBCOMMAND}: this is a part of the executor, which starts it");
        return ExitCode::from(USAGE);
    };
    let failure = PathBuf::from(failure);
    let (what, error) = match redirect(&stdout, &stderr) {
        Err((path, error)) => (format!("open `{}`", path.to_string_lossy()), error),
        Ok(()) => {
            let error = execute(&program, arguments.collect());
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

/// Only comes back with an error.
fn execute(program: &OsStr, arguments: Vec<OsString>) -> io::Error {
    let text = |word: OsString| CString::new(word.into_vec());
    let words = std::iter::once(program.to_owned()).chain(arguments).map(text);
    match words.collect::<Result<Vec<_>, _>>() {
        Ok(argv) => match execvp(&argv[0], &argv) {
            Ok(never) => match never {},
            Err(errno) => errno.into(),
        },
        Err(nul) => nul.into(),
    }
}
