//! The output files of containers: bounded while they are written, packed when they have ended.
//!
//! Owns a thread, since cutting a file takes as long as the disk does, and the
//! dispatcher must not wait. It is started with the first container. What is
//! done with the files is `crate::output`'s, as for subprocesses.
//!
//! ```text
//!   watch ──▶ looked at now and then ── settle ──▶ cut, packed or left ──▶ next
//! ```

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use marmoset_executor_core::RunId;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::core::Exit;
use crate::output::{Files, Packs, Settled, Watch, Watched, take_text};

/// Longest text of why a command was not executed that is read.
const FAILURE_BYTES_MAX: u64 = 1024;

/// Containers whose files are looked after.
#[derive(Debug)]
pub(super) struct Outputs {
    orders: Sender<Order>,
    /// One for each run that was to be settled: as many as run at most.
    endings: UnboundedReceiver<Ending>,
}

/// A container that has ended, and what became of its files.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) run: RunId,
    pub(super) exit: Exit,
    pub(super) settled: Settled,
    /// Why its command was not executed.
    pub(super) failure: Option<String>,
}

enum Order {
    Watch(RunId, Box<Files>),
    Settle(RunId, Exit, PathBuf),
    Forget(RunId),
}

impl Outputs {
    /// Starts the thread. It ends with this.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel();
        let (sender, endings) = unbounded_channel();
        let name = "container-outputs".to_owned();
        thread::Builder::new().name(name).spawn(move || attend(&receiver, &sender))?;
        Ok(Self { orders, endings })
    }

    /// Bounds the files of a run that has started.
    pub(super) fn watch(&self, run: RunId, files: Files) {
        self.order(Order::Watch(run, Box::new(files)));
    }

    /// Does with the files of a run that has ended what was asked for. `failure` is the file that
    /// tells why its command was not executed.
    pub(super) fn settle(&self, run: RunId, exit: Exit, failure: PathBuf) {
        self.order(Order::Settle(run, exit, failure));
    }

    /// Leaves the files of a run as they are.
    pub(super) fn forget(&self, run: RunId) {
        self.order(Order::Forget(run));
    }

    /// Waits for the next run that was settled. May be cancelled.
    pub(super) async fn next(&mut self) -> Ending {
        match self.endings.recv().await {
            Some(ending) => ending,
            // The thread is gone, which only a bug can do.
            None => std::future::pending().await,
        }
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("nobody looks after the outputs of containers");
        }
    }
}

/// The thread.
fn attend(orders: &mpsc::Receiver<Order>, endings: &UnboundedSender<Ending>) {
    let mut files = HashMap::<RunId, Box<Files>>::new();
    let (mut watch, mut packs) = (Watch::default(), Packs::default());
    loop {
        let pause = watch.due().map(|due| due.saturating_duration_since(Instant::now()));
        match orders.recv_timeout(pause.unwrap_or(Duration::from_secs(3600))) {
            Ok(Order::Watch(run, own)) => {
                if own.are_bounded() {
                    watch.add(Instant::now(), watched(run));
                }
                files.insert(run, own);
            }
            Ok(Order::Settle(run, exit, failure)) => {
                let own = files.remove(&run);
                let may_say = matches!(exit.code, 126 | 127);
                // The task could have put anything there.
                let failure = may_say.then(|| take_text(&failure, FAILURE_BYTES_MAX).ok());
                let settled = own.map(|own| own.settle(&mut packs)).unwrap_or_default();
                if endings.send(Ending { run, exit, settled, failure: failure.flatten() }).is_err()
                {
                    return;
                }
            }
            Ok(Order::Forget(run)) => _ = files.remove(&run),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        watch.forget_ended(|watched| files.contains_key(&watched.run));
        let now = Instant::now();
        while let Some(due) = watch.next(now) {
            if let Some(own) = files.get_mut(&due.run) {
                let pause = own.look(now);
                watch.again(now, due, pause);
            }
        }
    }
}

/// Containers are told apart by their runs.
fn watched(run: RunId) -> Watched {
    Watched { pid: 0, run }
}

#[cfg(test)]
mod tests {
    use std::{ffi::CString, fs, num::NonZeroU64};

    use marmoset_executor_core::WallTime;

    use super::*;
    use crate::output::Keeping;

    fn exit(code: i64) -> Exit {
        Exit { code, at: WallTime(0), out_of_memory: false, remark: None }
    }

    #[tokio::test]
    async fn files_are_cut_and_reasons_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = CString::new(folder.path().to_str().unwrap()).unwrap();
        let mut outputs = Outputs::start().unwrap();
        let keeping = Keeping { limit: NonZeroU64::new(4096), ..Keeping::default() };
        let files = Files::new(path, Some(c"stdout".to_owned()), None, keeping);
        outputs.watch(RunId(1), files);
        fs::write(folder.path().join("stdout"), vec![b'x'; 100_000]).unwrap();
        let failure = folder.path().join("why");
        fs::write(&failure, "cannot execute `x`").unwrap();
        outputs.settle(RunId(1), exit(127), failure.clone());
        let ending = outputs.next().await;
        assert_eq!((ending.run, ending.exit), (RunId(1), exit(127)));
        assert_eq!(ending.failure.as_deref(), Some("cannot execute `x`"));
        assert!(!failure.exists());
        assert!(ending.settled.stdout.cut.is_some(), "{:?}", ending.settled);
        assert!(fs::metadata(folder.path().join("stdout")).unwrap().len() < 10_000);
        // One that was never watched.
        outputs.settle(RunId(2), exit(0), failure);
        assert_eq!(outputs.next().await.settled, Settled::default());
    }
}
