//! The folders of tasks, from the start of a run until they are removed.
//!
//! Owns what happens between [`Retention`], which says when a folder goes, and
//! the thread that removes it. Called by the dispatcher, which sees all runs.

use std::{io, path::PathBuf, time::Instant};

use marmoset_executor_core::{Keep, Retention, RunEvent, RunId, Spawn};
use marmoset_proto::status;

use super::remove::Remover;

/// All folders of this executor.
#[derive(Debug)]
pub(crate) struct Folders {
    retention: Retention,
    remover: Remover,
}

impl Folders {
    /// Keeps what is below `tasks` in order.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn new(tasks: PathBuf, keep: Keep) -> io::Result<Self> {
        Ok(Self { retention: Retention::new(keep), remover: Remover::start(tasks)? })
    }

    /// A run is about to be started.
    pub(crate) fn prepare(&mut self, spawn: &Spawn) {
        self.remover.wait_for(&spawn.task);
        let for_ever = spawn.template.options.output.keep();
        self.retention.started(spawn.run, &spawn.task, for_ever);
    }

    /// Something happened to a run.
    pub(crate) fn observe(&mut self, now: Instant, run: RunId, event: &RunEvent) {
        let (is_good, folder_removed) = match event {
            RunEvent::Waiting { .. } | RunEvent::Started { .. } => return,
            RunEvent::Refused { .. } | RunEvent::Returned | RunEvent::Lost { .. } => (false, false),
            RunEvent::Exited { wait_status, remark, .. } => {
                let folder_removed = remark.as_ref().is_some_and(|remark| remark.folder_removed);
                (status::is_success(*wait_status), folder_removed)
            }
        };
        self.retention.ended(now, run, is_good, folder_removed);
    }

    /// All runs have ended that the launcher had.
    pub(crate) fn lose_all(&mut self, now: Instant, lost: impl Fn(RunId) -> bool) {
        self.retention.all_ended(now, lost);
    }

    /// Begins to remove what has to go.
    pub(crate) fn tidy(&mut self, now: Instant) {
        if let Some(removal) = self.retention.poll(now) {
            self.remover.remove(removal);
        }
    }

    /// When there is something to remove, if nothing happens before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.retention.wake_at()
    }

    /// Waits until what had to go is gone. May be cancelled.
    pub(crate) async fn next(&self) {
        self.remover.next().await;
    }

    /// What had to go is gone.
    pub(crate) fn removed(&mut self) {
        self.retention.removed();
    }
}
