//! Writing to the two streams without dying of a closed pipe.
//!
//! `println!` panics when the reader is gone (`marmoset run --help | head -1`);
//! what is written here is dropped instead. The exit code says the rest.

use std::{
    fmt::Arguments,
    io::{self, Write as _},
};

/// Prints a line of the result.
pub(crate) fn print(line: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Prints a line for the person who watches.
pub(crate) fn complain(line: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
