//! The built-in command executor as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    marmoset_mini::builtin::main(std::env::args_os().skip(1))
}
