//! Cgroups: what the kernel counts, limits and kills together.
//!
//! Owns where they are on this machine, the tree of them that a launcher has, and the
//! pool from which each run gets one. Refuses to know tasks and Mesos' resources beyond
//! [`Limits`], and to say what an end means. Called when the executor starts (is there a
//! place?), by the launcher's start and end (the tree), and by its workers (the pool).
//!
//! ```text
//!   <the executor's own cgroup>
//!   └── marmoset-<id>          one for each launcher; locked while one of its processes,
//!       │                      or the executor, lives
//!       ├── 0.0, 0.1, …        pool of worker 0: each holds one run at a time
//!       └── 1.0, …
//! ```
//!
//! With version 1 there is such a tree in the hierarchies of `memory`, `cpu` and
//! `freezer`, as far as they can be written; with version 2 there is one.

mod handles;
mod hierarchies;
mod limits;
mod pool;
mod tree;

pub use self::{
    hierarchies::{NoPlace, Place},
    limits::Limits,
    pool::OutOfMemory,
};
pub(crate) use self::{
    limits::memory,
    pool::{CPU_DELAY, Door, Group, Pool},
    tree::{Branch, Tree},
};

use std::{fs, io, path::Path};

/// The file that lists a cgroup's processes, and that a process is written to.
const PROCS: &str = "cgroup.procs";

/// Processes of one cgroup, those below it left out.
fn members(folder: &Path) -> io::Result<Vec<i32>> {
    let list = fs::read_to_string(folder.join(PROCS))?;
    Ok(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}
