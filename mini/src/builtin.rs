//! The built-in executors: one process for one task that carries a command.
//!
//! Owns the life of that command and tells its agent about it, over the same
//! executor API as any executor: it knows no more of mini than its `MESOS_*`
//! environment. It refuses a second task and task groups. Behaviour and words
//! are those of Mesos 1.11, `src/launcher/executor.cpp`; for a task in a Docker
//! container, of which it is told by arguments, `src/docker/executor.cpp`.
//!
//! Started by agents as `AgentConfig::command_executor`. The program is a `main`
//! that calls [`main`]; `marmoset-mini-command-executor` is one.
//!
//! ```text
//!   http ──events──▶ ┌──────┐ ──actions──▶ process, checks
//!        ◀──calls─── │ core │ ◀──facts────
//!                    └──────┘
//! ```

mod check;
mod config;
mod core;
mod docker;
mod edge;
mod http;
mod probe;
mod running;
mod session;

use std::{ffi::OsString, process::ExitCode};

/// Runs the executor that the environment describes until its task is over.
///
/// `arguments`, without the program's name, are those of an agent. The exit code is 0 after an
/// orderly end, 1 if the agent refuses it, and 64 if the environment or the arguments are not those
/// of an executor.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config = match config::Config::of_process(arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!(
                "marmoset-mini-command-executor: {error} (a Mesos agent starts this program)"
            );
            return ExitCode::from(64);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("marmoset-mini-command-executor: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(edge::run(config));
    // A probe may still hang in the system; nobody waits for it any more.
    runtime.shutdown_background();
    code
}
