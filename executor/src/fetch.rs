//! The files a task wants in its folder before it starts: `CommandInfo.uris`.
//!
//! Owns bringing them from the agent's file system or from http(s) servers, unpacking archives,
//! the cache that all tasks of the executor share, and the limits of all that. The rules are those
//! of Mesos' fetcher (Mesos 1.11, `src/launcher/fetcher.cpp`), where they are not dangerous.
//! Refuses to know tasks: whoever starts one asks first, and fails it with the error's text.
//!
//! ```text
//!   fetch ─▶ uri ─▶ staging ─┬─ http ◀─ cache   all at the same time
//!                            └─ local
//!                        │
//!                        ▼  one after the other, as they are listed
//!                      place ─▶ archive ─▶ folder ─▶ staging ─▶ the task's folder
//!
//!   set: the same, once, and a copy of what is in staging for each of many tasks
//! ```
//!
//! Until everything is there nothing shows in the task's folder, and a fetch that fails or is
//! cancelled leaves nothing. Files are given to the task's user, and files of the agent are read
//! with that user's permissions. All file access is on tokio's threads for blocking work. Names,
//! passwords and queries of URLs are in no text and no log.
//!
//! | | Mesos' fetcher | here |
//! | --- | --- | --- |
//! | file name | from the URI, its query included | from the URL's path, decoded |
//! | `cache` of a local file | copied into the cache | without effect |
//! | archive without `cache` | stays beside its contents | the same |
//! | links and `..` in archives | as `tar` and `unzip` like | refused if they lead outside |
//! | `hdfs`, `s3`, `ftp` | through Hadoop and libcurl | refused |

mod archive;
mod cache;
mod config;
mod copy;
mod cursor;
mod error;
mod folder;
mod http;
mod local;
mod place;
mod placing;
mod set;
mod staging;
mod uri;

use std::{path::Path, sync::Arc};

use futures_util::future::try_join_all;
use marmoset_executor_core::URIS_MAX;
use marmoset_proto::mesos::v1::command_info::Uri;
use nix::unistd::{Gid, Uid};
use reqwest::Url;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    archive::Allowance,
    cache::{Cache, Kept},
    error::{Problem, Reason},
    http::Web,
    placing::Brought,
    staging::Staging,
    uri::{Item, Source},
};
pub(crate) use self::{config::FetchConfig, error::FetchError, set::FileSet};

/// Fetches for all tasks of an executor. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: FetchConfig,
    web: Web,
    cache: Arc<Cache>,
    /// Archives at one time, and copies.
    placing: Semaphore,
    tracker: TaskTracker,
}

/// Whom fetched files are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The user.
    pub(crate) uid: Uid,
    /// The user's group; supplementary groups do not count when files are read.
    pub(crate) gid: Gid,
}

impl Owner {
    /// Reads `UID` or `UID:GID`; the group of a user alone has the same number.
    pub(crate) fn by_number(text: &str) -> Option<Self> {
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        Some(Self { uid: uid.parse::<u32>().ok()?.into(), gid: gid.parse::<u32>().ok()?.into() })
    }
}

impl Fetcher {
    /// Makes a fetcher; touches neither disk nor network before there is something to fetch.
    pub(crate) fn new(config: FetchConfig) -> Self {
        let web = Web::new(config.downloads);
        let cache = Arc::new(Cache::new(config.cache_bytes, config.cache_files));
        let placing = Semaphore::new(config.placing.max(1));
        Self(Arc::new(Shared { config, web, cache, placing, tracker: TaskTracker::new() }))
    }

    /// Fetches the URIs of a task into `target`, which is made if it is missing.
    ///
    /// With an owner, the files are that user's, and only what that user may read is fetched;
    /// another user than the executor's own needs root. May be dropped at any time: what was begun
    /// is then removed in the background, see [`drained`](Self::drained). Only the move into the
    /// task's folder at the very end, a few renames, is always carried through.
    ///
    /// # Errors
    /// The text is meant for the task's last update.
    pub(crate) async fn fetch(
        &self,
        uris: &[Uri],
        target: &Path,
        owner: Option<Owner>,
        cancel: &CancellationToken,
    ) -> Result<(), FetchError> {
        if uris.is_empty() {
            return Ok(());
        }
        let fetched = self.0.fetch(uris, target, owner, cancel).await;
        fetched.map_err(|reason| FetchError(Arc::new(reason)))
    }

    /// Describes the files that each of many tasks gets.
    pub(crate) fn set(&self, uris: &[Uri], owner: Option<Owner>) -> FileSet {
        FileSet::new(Arc::clone(&self.0), uris.to_vec(), owner)
    }

    /// Waits until nothing is left to be removed. To be called once no fetch is waited for.
    pub(crate) async fn drained(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl Shared {
    async fn fetch(
        self: &Arc<Self>,
        uris: &[Uri],
        target: &Path,
        owner: Option<Owner>,
        cancel: &CancellationToken,
    ) -> Result<(), Reason> {
        let items = read(uris)?;
        let staging = self.stage(owner).await?;
        let filled = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Reason::Cancelled),
            filled = self.fill(&items, &staging) => filled,
        };
        if let Err(reason) = filled {
            staging.discard().await;
            return Err(reason);
        }
        staging
            .commit(target.to_owned())
            .await
            .map_err(|source| Reason::Folder { path: target.to_owned(), source })?;
        tracing::debug!(uris = items.len(), "fetched");
        Ok(())
    }

    async fn stage(&self, owner: Option<Owner>) -> Result<Staging, Reason> {
        let work_dir = &self.config.work_dir;
        let staging = Staging::open(work_dir, owner, &self.tracker).await;
        staging.map_err(|source| Reason::Folder { path: work_dir.clone(), source })
    }

    /// Brings everything, and puts it where it belongs.
    async fn fill(self: &Arc<Self>, items: &[Item], staging: &Staging) -> Result<(), Reason> {
        let failed = |item: &Item, problem| Reason::Uri { uri: item.shown.clone(), problem };
        // Threads cannot be dropped: they are told.
        let stop = CancellationToken::new();
        let _told = stop.clone().drop_guard();
        let few = Semaphore::new(self.config.downloads_each.max(1));
        let coming = items.iter().enumerate().map(async |(index, item)| {
            let _slot = few.acquire().await.expect("the semaphore is never closed");
            let brought = self.bring(index, item, staging).await;
            brought.map_err(|problem| failed(item, problem))
        });
        let brought = try_join_all(coming).await?;
        let _slot = self.placing.acquire().await.expect("the semaphore is never closed");
        let mut allowance = Allowance::new(&self.config, stop);
        for (item, brought) in items.iter().zip(brought) {
            let (rooms, max_bytes) = (staging.rooms(), self.config.max_bytes);
            let work = item.clone();
            let job = staging.jobs().spawn_blocking(move || {
                let placed = placing::place(&work, brought, &rooms, &mut allowance, max_bytes);
                placed.map(|()| allowance)
            });
            let placed =
                job.await.unwrap_or_else(|error| Err(Problem::Internal(error.to_string())));
            allowance = placed.map_err(|problem| failed(item, problem.into()))?;
        }
        Ok(())
    }

    async fn bring(
        self: &Arc<Self>,
        index: usize,
        item: &Item,
        staging: &Staging,
    ) -> Result<Brought, Arc<Problem>> {
        match &item.source {
            Source::Local(path) => Ok(Brought::Local(path.clone())),
            Source::Web(url) => {
                let file = staging.part(index).await.map_err(no_room)?;
                self.web.download(&self.config, url, file, staging.jobs()).await?;
                Ok(Brought::Part(index.to_string()))
            }
            Source::Cached(url) => {
                let mut key = url.clone();
                key.set_fragment(None);
                let download = || Arc::clone(self).download_to_keep(url.clone());
                Ok(Brought::Cached(self.cache.get(key.as_str(), download).await?))
            }
        }
    }

    async fn download_to_keep(self: Arc<Self>, url: Url) -> Result<Kept, Problem> {
        let work_dir = self.config.work_dir.clone();
        let made = self.tracker.spawn_blocking(move || cache::unnamed(&work_dir)).await;
        let made = made.map_err(|error| Problem::Internal(error.to_string()))?;
        let file = made.map_err(no_room)?;
        let (file, bytes) = self.web.download(&self.config, &url, file, &self.tracker).await?;
        Ok(Kept { file, bytes })
    }
}

fn read(uris: &[Uri]) -> Result<Vec<Item>, Reason> {
    if uris.len() > URIS_MAX {
        return Err(Reason::TooMany { count: uris.len(), limit: URIS_MAX });
    }
    let items = uris.iter().map(Item::read).collect::<Result<Vec<_>, _>>();
    items.map_err(|(uri, problem)| Reason::Uri { uri, problem: problem.into() })
}

fn no_room(source: std::io::Error) -> Problem {
    Problem::Write { what: "the download".to_owned(), source }
}

#[cfg(test)]
mod tests;
