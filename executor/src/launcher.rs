//! The launcher: a small process of its own that spawns, reaps and signals.
//!
//! Owns everything between "run this program" and "it ended like that": the
//! launcher processes, the protocol spoken with them, and the promise that
//! nothing they started outlives them. Refuses to decide what runs when, how a
//! run that must end is ended, and what its end means: the dispatcher of the
//! executor does, which is the one caller of [`start`].
//!
//! Why a process: its memory stays small and it has one thread, so that a spawn
//! costs what the kernel asks for it and nothing more, whatever the executor
//! grows to; and it can see the executor die.
//!
//! ```text
//!   executor ──── control ────▶ guard            re-executes our own binary
//!      │                          │ fork
//!      │                ┌─────────┼─────────┐
//!      ├──── link 0 ──▶ worker 0  …      worker n
//!      └──── link n ────────────────────▶   │ clone (VM, VFORK), exec
//!                                          runs, each in a session of its own
//! ```
//!
//! * The **executor** side is [`Launcher`]: requests are written by whoever
//!   calls it, reports are read by one task per link and arrive in one channel.
//! * A **worker** has one thread: it starts what its link asks for, reaps, and
//!   reports. Each run belongs to the worker that started it.
//! * The **guard** starts nothing. It is the next subreaper above the workers,
//!   so that a worker that dies leaves its processes to the guard, which ends them.
//!
//! # Who dies when
//!
//! | what ends | what happens |
//! | --- | --- |
//! | the first process of a run | what is left of its process group is killed at once; what left the group or the session soon after, found by the mark in its environment ([`LauncherConfig::mark`]) |
//! | the [`Launcher`] or the executor, in any way | the sockets close; guard and workers kill every descendant and end once none is left |
//! | a worker | the guard kills everything else and ends: [`LauncherEvent::Died`] |
//! | the guard | each worker gets SIGTERM from the kernel, kills what it started and ends: [`LauncherEvent::Died`] |
//! | guard and workers at once | the kernel kills the first process of each run (PR_SET_PDEATHSIG); [`Launcher`] kills the sessions they had, whoever has the mark ([`LauncherConfig::family`]), and with cgroups everything else. Without, what had left its session and wiped its environment can survive |
//! | executor, guard and workers at once | as before, and nobody is left to do the rest: with cgroups, the next executor in the same one does when it starts; so does an agent that destroys the executor's container |
//!
//! The protocol is described in `wire`, in the order of the messages.

pub(crate) mod bench;
mod birth;
mod clone3;
mod door;
mod groups;
mod guard;
mod handle;
mod leftovers;
mod link;
mod live;
mod processes;
mod rate;
mod report;
mod request;
mod search;
mod strands;
mod supervise;
mod sys;
mod wire;
mod worker;

use std::{ffi::OsString, path::Path, process::ExitCode};

pub use marmoset_executor_core::{RunId, StrandId};

pub(crate) use self::{
    door::{Door, Visitor},
    sys::{add_nice, close_inherited, kill_process},
};

pub use self::{
    handle::{Launcher, LauncherConfig, start},
    rate::{RateOutput, SpawnRate, SpawnRateConfig, spawn_rate},
    report::{Cut, Kept, LauncherEvent, Report, Step, Usage},
    request::{Keeping, Output, Rlimit, Scope, Signal, Spawn, User},
};

/// Exit status for being called in a way that makes no sense.
const USAGE: u8 = 64;

/// The body of the hidden subcommand that the launcher processes run.
///
/// To be called before any thread is started, with what follows the
/// subcommand's name: nothing. Ends when the executor does.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    if let Some(argument) = arguments.into_iter().next() {
        eprintln!("marmoset launcher: unexpected argument `{}`", argument.to_string_lossy());
        return ExitCode::from(USAGE);
    }
    match guard::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ guard::GuardError::NotASocket) => {
            eprintln!("marmoset launcher: {error}");
            ExitCode::from(USAGE)
        }
        Err(error) => {
            eprintln!("marmoset launcher: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The body of the first process of a container that tasks share. `socket` is where the executor is.
///
/// To be called before any thread is started.
///
/// # Errors
/// The text says why it ended though the executor did not say so.
pub(crate) fn init(socket: &Path) -> Result<(), String> {
    guard::run_as_init(socket).map_err(|error| error.to_string())
}
