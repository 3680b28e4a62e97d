//! The `marmoset-executor` binary.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    match arguments.next() {
        // Before anything that starts a thread.
        Some(first) if first == "launcher" => marmoset_executor::launcher::main(arguments),
        Some(_) | None => ExitCode::from(64),
    }
}
