//! One Mesos task, from its LAUNCH until its terminal update is acknowledged.

use std::time::Duration;

use marmoset_proto::mesos::v1::TaskInfo;

use crate::{
    batch::Batch,
    ids::{GroupId, RunId},
    time::WallTime,
};

/// A Mesos task that the agent has handed out.
///
/// ```text
///   LAUNCH ──▶ Waiting ── a process runs ──▶ Running ── all ended ──▶ Ended ── acknowledged ──▶ gone
///                 │ KILL                        │ KILL                  ▲
///                 └──────────────▶ Killing ◀────┘                       │
///                                     └───────────── all ended ─────────┘
/// ```
#[derive(Debug)]
pub(crate) struct Task {
    /// For SUBSCRIBE, until the first update is acknowledged.
    pub(crate) info: Option<Box<TaskInfo>>,
    pub(crate) received: WallTime,
    pub(crate) group: Option<GroupId>,
    /// From SIGTERM to SIGKILL, if a KILL says nothing else.
    pub(crate) grace: Duration,
    pub(crate) stage: Stage,
}

/// How far a task is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It runs, or will.
    Active(Progress, Body),
    /// Its terminal update is in the ledger.
    Ended,
}

/// Which state was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No process yet.
    Waiting,
    /// A process runs or ran.
    Running,
    /// It was told to end.
    Killing,
}

/// What a task consists of.
#[derive(Debug)]
pub(crate) enum Body {
    /// One run.
    Single { run: RunId, index: u64, attempt: u32 },
    /// Many.
    Batch(Box<Batch>),
}
