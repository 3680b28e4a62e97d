//! Decisions of the resident executor, without I/O.
//!
//! Owns what the executor does and when: the session with the agent, the life
//! of tasks and batches, kills, the update ledger, the bounded queue. Refuses
//! sockets, processes, clocks, randomness and logging: time and seeds are
//! arguments, everything else is an [`Action`]. Called by the dispatcher of
//! `marmoset-executor`, and by tests that simulate whole clusters.
//!
//! | module | owns |
//! | --- | --- |
//! | `core` | how the parts below act together |
//! | `session` | the connection: when to open it, when to give up |
//! | `ledger` | every update until its acknowledgement |
//! | `runs` | every process from wish to end, with kills and limits |
//! | `checks` | when tasks are probed, and what the answers mean |
//! | `task`, `batch`, `items`, `results` | Mesos tasks and what they consist of |
//! | `retention` | how long folders of tasks stay |
//! | `spec`, `command`, `bounds` | reading and refusing what a task asks for |

mod action;
mod batch;
#[doc(hidden)]
pub mod bench;
mod bounds;
mod checks;
mod command;
mod config;
mod core;
mod ids;
mod input;
mod items;
mod ledger;
mod note;
mod random;
mod results;
mod retention;
mod runs;
mod session;
mod spec;
mod task;
mod time;

pub use crate::{
    action::{Action, Attempt, Exit, Options, Page, Probe, RuntimeKind, Signal, Spawn, Template},
    bounds::{Bounds, Limit},
    checks::spec::CheckError,
    command::{CommandError, URIS_MAX},
    config::{
        Checkpoint, Config, QueueBounds, REPORT_INTERVAL_MIN, UPDATE_CONNECTIONS,
        UnknownUpdatePolicy, UpdatePace, UpdatePolicy,
    },
    core::{Core, WakeReason},
    ids::{CallId, ConnectionId, GroupId, LaneId, ProbeId, RunId, StrandId, UpdateId},
    input::{Answer, Disconnection, Input, Remark, RunEvent, StartDetails},
    items::ItemsError,
    note::Note,
    results::REPORT_BYTES_MAX,
    retention::{Keep, Removal, Retention},
    runs::{KILLED_BEFORE_START, launcher_died},
    spec::{IdProblem, ProcessError, SpecError},
    time::{Now, WallTime},
};
