//! The `marmoset-executor` binary.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    marmoset_executor::main(env::args_os())
}
