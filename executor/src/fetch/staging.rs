//! Where the files of one task wait until all of them are there.
//!
//! Owns a folder of its own, closed to everybody else, and its end: either all is moved into the
//! task's folder, or all is removed, also when the one who waited has gone.
//!
//! ```text
//!   <work folder>/<id>/parts/<n>    downloads, by their position in the list
//!                     /tree/…       as the task's folder will look
//! ```

mod merge;
mod twin;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::AT_FDCWD;
use tokio::{runtime::Handle, task::JoinError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Owner,
    folder::{Folder, open_folder},
};

/// The files of one task on their way.
#[derive(Debug)]
pub(super) struct Staging {
    rooms: Rooms,
    /// The threads at work here.
    jobs: TaskTracker,
    /// All work of the fetcher, so that its end can be waited for.
    tracker: TaskTracker,
    /// Whether somebody sees to the end already.
    ended: bool,
}

/// The folders, for a thread that works in them.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    path: Arc<Path>,
    owner: Option<Owner>,
}

impl Staging {
    /// Makes the folders.
    pub(super) async fn open(
        work_dir: &Path,
        owner: Option<Owner>,
        tracker: &TaskTracker,
    ) -> io::Result<Self> {
        let path = work_dir.join(name());
        // Before the folders are: whatever happens from here on, they are removed.
        let this = Self {
            rooms: Rooms { path: path.into(), owner },
            jobs: TaskTracker::new(),
            tracker: tracker.clone(),
            ended: false,
        };
        match this.run(Rooms::make).await {
            Ok(()) => Ok(this),
            Err(error) => {
                this.discard().await;
                Err(error)
            }
        }
    }

    /// Where threads that work here are counted.
    pub(super) fn jobs(&self) -> &TaskTracker {
        &self.jobs
    }

    /// How a thread gets at the folders.
    pub(super) fn rooms(&self) -> Rooms {
        self.rooms.clone()
    }

    /// Makes the empty file for a download.
    pub(super) async fn part(&self, name: usize) -> io::Result<File> {
        self.run(move |rooms| {
            let path = rooms.parts().join(name.to_string());
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
        })
        .await
    }

    /// Moves everything into the task's folder, which is made if it is missing.
    pub(super) async fn commit(self, target: PathBuf) -> io::Result<()> {
        let moved = self.run(move |rooms| merge::into(&rooms.tree(), &target, rooms.owner)).await;
        self.discard().await;
        moved
    }

    /// Puts a copy of everything into another task's folder, and nothing if that fails.
    pub(super) async fn copy(&self, target: PathBuf, stop: CancellationToken) -> io::Result<()> {
        let twin = Rooms { path: self.rooms.path.with_file_name(name()).into(), ..self.rooms() };
        self.run(move |rooms| {
            let made = DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(twin.tree())
                .and_then(|()| twin::fill(&rooms.tree(), &twin.tree(), twin.owner, &stop))
                .and_then(|()| merge::into(&twin.tree(), &target, twin.owner));
            twin.remove();
            made
        })
        .await
    }

    /// Removes everything.
    pub(super) async fn discard(mut self) {
        self.ended = true;
        let removed = self.tracker.spawn(remove(self.jobs.clone(), self.rooms.clone()));
        if let Err(error) = removed.await {
            tracing::warn!(%error, "cannot remove an unfinished fetch");
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rooms) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let rooms = self.rooms();
        joined(self.jobs.spawn_blocking(move || work(&rooms)).await)
    }
}

/// The one who waited has gone.
impl Drop for Staging {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                let work = remove(self.jobs.clone(), self.rooms.clone());
                self.tracker.spawn_on(work, &runtime);
            }
            Err(_) => self.rooms.remove(),
        }
    }
}

/// Waits for the threads, then removes what they made.
async fn remove(jobs: TaskTracker, rooms: Rooms) {
    jobs.close();
    jobs.wait().await;
    if let Err(error) = jobs.spawn_blocking(move || rooms.remove()).await {
        tracing::warn!(%error, "cannot remove an unfinished fetch");
    }
}

impl Rooms {
    /// Opens the image of the task's folder.
    pub(super) fn open_tree(&self) -> io::Result<Folder> {
        Folder::open(&self.tree(), self.owner)
    }

    /// Opens the folder of the downloads.
    pub(super) fn open_parts(&self) -> io::Result<OwnedFd> {
        open_folder(AT_FDCWD, &self.parts())
    }

    /// Whom the files are for.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    fn parts(&self) -> PathBuf {
        self.path.join("parts")
    }

    fn make(&self) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.mode(0o700).recursive(true);
        private.create(self.parts())?;
        private.create(self.tree())
    }

    fn remove(&self) {
        match fs::remove_dir_all(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "cannot remove an unfinished fetch");
            }
        }
    }
}

/// A name that nothing else has.
fn name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn joined<T>(result: Result<io::Result<T>, JoinError>) -> io::Result<T> {
    result.unwrap_or_else(|error| Err(io::Error::other(error)))
}
