//! One Mesos task, from its LAUNCH until its terminal update is acknowledged.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use marmoset_proto::mesos::v1::{ExecutorInfo, TaskInfo};
use prost::Message as _;

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
    pub(crate) info: Option<KeptInfo>,
    pub(crate) received: WallTime,
    pub(crate) group: Option<GroupId>,
    /// From SIGTERM to SIGKILL, if a KILL says nothing else.
    pub(crate) grace: Duration,
    pub(crate) stage: Stage,
}

/// A task's description as bytes: a tenth of the memory while thousands wait.
#[derive(Debug)]
pub(crate) struct KeptInfo {
    /// Without `executor`.
    info: Bytes,
    executor: Option<Arc<ExecutorInfo>>,
}

impl KeptInfo {
    /// Keeps a description. `last` is the executor of the one before, which nearly always is
    /// the same: us.
    pub(crate) fn new(mut info: TaskInfo, last: &mut Option<Arc<ExecutorInfo>>) -> Self {
        let executor = info.executor.take().map(|executor| match last {
            Some(last) if **last == executor => Arc::clone(last),
            Some(_) | None => Arc::clone(last.insert(Arc::new(executor))),
        });
        Self { info: Bytes::from(info.encode_to_vec()), executor }
    }

    pub(crate) fn read(&self) -> TaskInfo {
        let info = TaskInfo::decode(self.info.clone()).expect("it was written by us");
        TaskInfo { executor: self.executor.as_deref().cloned(), ..info }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_takes_less() {
        let info = TaskInfo {
            name: "n".into(),
            task_id: "t".into(),
            data: Some(Bytes::from_static(b"{}")),
            executor: Some(ExecutorInfo { executor_id: "e".into(), ..ExecutorInfo::default() }),
            ..TaskInfo::default()
        };
        let mut last = None;
        let kept = KeptInfo::new(info.clone(), &mut last);
        let again = KeptInfo::new(info.clone(), &mut last);
        assert_eq!((kept.read(), again.read()), (info.clone(), info));
        assert!(kept.info.len() * 10 < size_of::<TaskInfo>());
        assert!(Arc::ptr_eq(&kept.executor.unwrap(), &again.executor.unwrap()));
    }
}
