//! Files that each of many tasks gets.
//!
//! Owns one fetch for all of them: the items of a batch are one command, and their files the same.
//! What was fetched and unpacked stays beside the tasks' folders, and each gets a copy of it,
//! never a link, since it may change its files.
//!
//! ```text
//!   (nothing) ──▶ coming ──▶ kept ──▶ (the set is dropped)
//!        ▲          ├──▶ (nothing): nobody waits any more
//!        └──────────┴──▶ failed, for a while
//! ```

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared as SharedFuture, WeakShared},
};
use marmoset_proto::mesos::v1::command_info::Uri;
use tokio_util::sync::CancellationToken;

use super::{
    Owner, Shared,
    error::{FetchError, Reason},
    read,
    staging::Staging,
};

type Outcome = Result<Arc<Staging>, Arc<Reason>>;
type Coming = SharedFuture<BoxFuture<'static, Outcome>>;

/// The files of one command. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct FileSet(Arc<Set>);

#[derive(Debug)]
struct Set {
    shared: Arc<Shared>,
    uris: Vec<Uri>,
    owner: Option<Owner>,
    original: Mutex<Original>,
}

#[derive(Debug)]
enum Original {
    Nothing,
    Coming(WeakShared<BoxFuture<'static, Outcome>>),
    Kept(Arc<Staging>),
    Failed { reason: Arc<Reason>, at: Instant },
}

enum Found {
    Known(Outcome),
    Coming(Coming),
}

impl FileSet {
    pub(super) fn new(shared: Arc<Shared>, uris: Vec<Uri>, owner: Option<Owner>) -> Self {
        Self(Arc::new(Set { shared, uris, owner, original: Mutex::new(Original::Nothing) }))
    }

    /// Puts the files into `target`, which is made if it is missing; fetches them if they are not
    /// there. May be dropped at any time.
    ///
    /// # Errors
    /// Those of a fetch.
    pub(crate) async fn place(&self, target: &Path) -> Result<(), FetchError> {
        let shared = &self.0.shared;
        let original = match self.find() {
            Found::Known(outcome) => outcome,
            Found::Coming(coming) => coming.await,
        };
        let original = original.map_err(FetchError)?;
        let _slot = shared.placing.acquire().await.expect("the semaphore is never closed");
        let stop = CancellationToken::new();
        let _told = stop.clone().drop_guard();
        let copied = original.copy(target.to_owned(), stop).await;
        copied.map_err(|source| {
            FetchError(Arc::new(Reason::Folder { path: target.to_owned(), source }))
        })
    }

    fn find(&self) -> Found {
        let mut original = self.0.original();
        match &*original {
            Original::Kept(staging) => return Found::Known(Ok(Arc::clone(staging))),
            Original::Failed { reason, at } if at.elapsed() < self.0.shared.config.remorse => {
                return Found::Known(Err(Arc::clone(reason)));
            }
            Original::Coming(coming) => {
                if let Some(coming) = coming.upgrade() {
                    return Found::Coming(coming);
                }
            }
            Original::Nothing | Original::Failed { .. } => {}
        }
        // Holds the set until it is there, and the set holds it only as long as somebody waits.
        let set = Arc::clone(&self.0);
        let coming = async move {
            let outcome = set.gather().await;
            *set.original() = match &outcome {
                Ok(staging) => Original::Kept(Arc::clone(staging)),
                Err(reason) => Original::Failed { reason: Arc::clone(reason), at: Instant::now() },
            };
            outcome
        };
        let coming = coming.boxed().shared();
        let weak = coming.downgrade().expect("it was not polled yet");
        *original = Original::Coming(weak);
        Found::Coming(coming)
    }
}

impl Set {
    async fn gather(&self) -> Outcome {
        let items = read(&self.uris)?;
        let staging = self.shared.stage(self.owner).await?;
        match self.shared.fill(&items, &staging).await {
            Ok(()) => Ok(Arc::new(staging)),
            Err(reason) => {
                staging.discard().await;
                Err(Arc::new(reason))
            }
        }
    }

    fn original(&self) -> MutexGuard<'_, Original> {
        // Nothing in here can be left half done.
        self.original.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
