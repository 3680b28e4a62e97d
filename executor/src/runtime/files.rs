//! Files of runs that have not started: `CommandInfo.uris`.
//!
//! Owns the fetches that are under way, one for each run, and the files that the runs of one
//! batch share. Refuses to know what starts a run: any runtime hands a run in, and gets it back
//! when its files are in its folder, unless it was given up.
//!
//! ```text
//!   fetch ──▶ under way ──▶ next: the run, or why not
//!                │ cancel
//!                └──────▶ forgotten, and what was begun is removed in the background
//! ```

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use marmoset_executor_core::{RunId, Spawn, Template};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::fetch::{FetchError, Fetcher, FileSet, Owner};

/// How long the removal of what was begun is waited for at the end.
const CLOSE_LIMIT: Duration = Duration::from_millis(300);

/// Fetches files for runs.
#[derive(Debug)]
pub(super) struct Files {
    fetcher: Fetcher,
    /// Those of batches. A template of a batch that is over is gone, and its files go too.
    sets: Vec<(Weak<Template>, FileSet)>,
    under_way: HashMap<RunId, AbortHandle>,
    jobs: JoinSet<Fetched>,
}

/// A run whose fetch is over.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) spawn: Spawn,
    pub(super) result: Result<(), FetchError>,
}

impl Files {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, sets: Vec::new(), under_way: HashMap::new(), jobs: JoinSet::new() }
    }

    /// Begins to fetch the files of a run into its folder, which is made if it is missing.
    pub(super) fn fetch(&mut self, spawn: Spawn, folder: PathBuf, owner: Option<Owner>) {
        let run = spawn.run;
        let job = if spawn.template.many {
            let set = self.set(&spawn.template, owner);
            self.jobs.spawn(async move {
                let result = set.place(&folder).await;
                Fetched { spawn, result }
            })
        } else {
            let fetcher = self.fetcher.clone();
            self.jobs.spawn(async move {
                let uris = &spawn.template.command.uris;
                let result = fetcher.fetch(uris, &folder, owner, &CancellationToken::new()).await;
                Fetched { spawn, result }
            })
        };
        self.under_way.insert(run, job);
    }

    /// Gives the fetch of a run up. False if there is none.
    pub(super) fn cancel(&mut self, run: RunId) -> bool {
        let job = self.under_way.remove(&run);
        job.inspect(AbortHandle::abort).is_some()
    }

    /// The next run whose fetch is over. May be cancelled.
    pub(super) async fn next(&mut self) -> Fetched {
        loop {
            match self.jobs.join_next().await {
                // One that was given up at the last moment is in nobody's books any more.
                Some(Ok(fetched)) if self.under_way.remove(&fetched.spawn.run).is_some() => {
                    return fetched;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => std::future::pending().await,
            }
        }
    }

    /// Lets go of files that no run will want.
    pub(super) fn sweep(&mut self) {
        self.sets.retain(|(template, _)| template.strong_count() > 0);
    }

    /// Gives all fetches up.
    pub(super) async fn close(mut self) {
        if self.jobs.is_empty() && self.sets.is_empty() {
            return;
        }
        self.sets.clear();
        let clean = async {
            self.jobs.shutdown().await;
            self.fetcher.drained().await;
        };
        let _ = timeout(CLOSE_LIMIT, clean).await;
    }

    fn set(&mut self, template: &Arc<Template>, owner: Option<Owner>) -> FileSet {
        let known = self.sets.iter().find(|(of, _)| of.as_ptr() == Arc::as_ptr(template));
        if let Some((_, set)) = known {
            return set.clone();
        }
        let set = self.fetcher.set(&template.command.uris, owner);
        self.sets.push((Arc::downgrade(template), set.clone()));
        set
    }
}
