//! The `docker` command: how it is called, what it is told, what it tells.
//!
//! Owns the command line of every call and the reading of its answers. Agents
//! (the Docker containerizer) and the built-in executor (tasks in containers)
//! call it. Like Mesos it drives an engine through the command line tool alone.
//! Refuses to decide when a container starts or ends. Mesos 1.11,
//! `src/docker/docker.cpp`.

mod amounts;
mod call;
mod inspect;
mod options;

pub(crate) use self::{
    amounts::{
        Amounts, CPU_PERIOD, Limits, cpu_quota, cpu_shares, limits, memory_bytes, resources,
    },
    call::{CallError, Docker},
    inspect::Inspected,
    options::{OptionsError, Run},
};

/// Where a sandbox lies inside of a container.
pub(crate) const MAPPED_DIRECTORY: &str = "/mnt/mesos/sandbox";

/// What the names of an agent's containers begin with.
pub(crate) const NAME_PREFIX: &str = "mesos-";
