//! Downloads that several tasks want.
//!
//! Owns one download for all who ask for the same URL at the same time, and what is kept for
//! those who ask later; never asks the server again for what is kept, as Mesos does not.
//!
//! ```text
//!   (nothing) ──▶ coming ──▶ kept ──▶ (nothing)
//!                   └──▶ (nothing)
//! ```
//!
//! *coming*: a download that lives as long as somebody waits for it. *kept*: a file without a
//! name, until others were used later and the room is needed. A file without a name cannot be
//! altered by a task, which may run as the executor's own user, and leaves nothing behind however
//! the executor ends. Tasks get copies, never links.

use std::{
    collections::HashMap,
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};

use super::error::Problem;

/// What everybody who waited gets.
pub(super) type Outcome = Result<Arc<Kept>, Arc<Problem>>;

type Coming = BoxFuture<'static, Outcome>;

/// A file without a name.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) file: File,
    pub(super) bytes: u64,
}

/// All that is kept and coming.
#[derive(Debug)]
pub(super) struct Cache {
    max_bytes: u64,
    max_files: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: HashMap<String, Slot>,
    coming: HashMap<String, WeakShared<Coming>>,
    bytes: u64,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    kept: Arc<Kept>,
    /// When it was used last.
    used: u64,
}

impl Cache {
    pub(super) fn new(max_bytes: u64, max_files: usize) -> Self {
        Self { max_bytes, max_files, shelf: Mutex::default() }
    }

    /// Gets what is kept, joins a download, or starts one.
    pub(super) async fn get<F>(self: &Arc<Self>, key: &str, download: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Result<Kept, Problem>> + Send + 'static,
    {
        let coming = match self.find(key, download) {
            Found::Kept(kept) => return Ok(kept),
            Found::Coming(coming) => coming,
        };
        coming.await
    }

    fn find<F>(self: &Arc<Self>, key: &str, download: impl FnOnce() -> F) -> Found
    where
        F: Future<Output = Result<Kept, Problem>> + Send + 'static,
    {
        let mut shelf = self.shelf();
        if let Some(kept) = shelf.take_kept(key) {
            tracing::debug!("in the cache");
            return Found::Kept(kept);
        }
        if let Some(coming) = shelf.coming.get(key).and_then(WeakShared::upgrade) {
            return Found::Coming(coming);
        }
        // Those nobody waited for to the end.
        shelf.coming.retain(|_, coming| coming.upgrade().is_some());
        let (this, owned, download) = (Arc::clone(self), key.to_owned(), download());
        let coming = async move {
            let kept = Arc::new(download.await?);
            this.shelf().keep(owned, Arc::clone(&kept), this.max_bytes, this.max_files);
            Ok(kept)
        };
        let coming = coming.boxed().shared();
        let weak = coming.downgrade().expect("it was not polled yet");
        shelf.coming.insert(key.to_owned(), weak);
        Found::Coming(coming)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing in here can be left half done.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found {
    Kept(Arc<Kept>),
    Coming(Shared<Coming>),
}

impl Shelf {
    fn take_kept(&mut self, key: &str) -> Option<Arc<Kept>> {
        self.clock += 1;
        let slot = self.kept.get_mut(key)?;
        slot.used = self.clock;
        Some(Arc::clone(&slot.kept))
    }

    /// Puts a file in, and those out that were not used for longest.
    fn keep(&mut self, key: String, kept: Arc<Kept>, max_bytes: u64, max_files: usize) {
        self.coming.remove(&key);
        if kept.bytes > max_bytes || max_files == 0 {
            return;
        }
        self.clock += 1;
        self.bytes += kept.bytes;
        let slot = Slot { kept, used: self.clock };
        if let Some(before) = self.kept.insert(key, slot) {
            self.bytes -= before.kept.bytes;
        }
        while self.bytes > max_bytes || self.kept.len() > max_files {
            let oldest = self.kept.iter().min_by_key(|(_, slot)| slot.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            if let Some(slot) = self.kept.remove(&key) {
                tracing::debug!(bytes = slot.kept.bytes, "out of the cache");
                self.bytes -= slot.kept.bytes;
            }
        }
    }
}

/// Makes a file without a name on the file system of `folder`; blocks.
pub(super) fn unnamed(folder: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if let Ok(file) = options.clone().custom_flags(libc::O_TMPFILE).open(folder) {
        return Ok(file);
    }
    // Not every file system has such files.
    let path = folder.join(uuid::Uuid::new_v4().simple().to_string());
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
