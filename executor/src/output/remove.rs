//! Removes the folders of tasks that are no longer kept.
//!
//! Owns a thread for it, because a file system may take its time. Refuses to
//! choose: see [`Retention`](marmoset_executor_core::Retention). Called by the
//! dispatcher. Links are removed, not followed; not even where the folder of all
//! tasks is one.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use marmoset_executor_core::Removal;
use tokio::sync::Notify;

use super::folder;

/// Removes folders in the background.
#[derive(Debug)]
pub(crate) struct Remover {
    /// The thread ends when this is dropped.
    orders: mpsc::Sender<Removal>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Tasks whose folders are being removed.
    current: Mutex<HashSet<Arc<str>>>,
    done: Condvar,
    told: Notify,
}

impl Remover {
    /// Starts the thread, for the folders below `tasks`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(tasks: PathBuf) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (orders, queue) = mpsc::channel();
        let theirs = shared.clone();
        thread::Builder::new().name("remover".to_owned()).spawn(move || {
            work(&tasks, &queue, &theirs);
        })?;
        Ok(Self { orders, shared })
    }

    /// Removes folders. To be called when the last ones are removed.
    pub(crate) fn remove(&self, removal: Removal) {
        self.shared.lock().extend(removal.tasks.iter().cloned());
        // It takes orders for as long as we live.
        let _ = self.orders.send(removal);
    }

    /// Waits until all are removed.
    pub(crate) async fn next(&self) {
        self.shared.told.notified().await;
    }

    /// Blocks while the folder of `task` is being removed: somebody is about to make it anew.
    pub(crate) fn wait_for(&self, task: &str) {
        let current = self.shared.lock();
        // Milliseconds, and only if a framework uses an id again.
        let done = self.shared.done.wait_while(current, |current| current.contains(task));
        drop(done.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Arc<str>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(tasks: &Path, orders: &mpsc::Receiver<Removal>, shared: &Shared) {
    let mut opened: Option<OwnedFd> = None;
    for Removal { tasks: names, hurry } in orders {
        let begin = Instant::now();
        if opened.is_none() {
            opened = match folder::open_parent(tasks) {
                Ok(opened) => Some(opened),
                Err(error) => {
                    tracing::warn!(folder = %tasks.display(), %error, "folders of tasks stay");
                    None
                }
            };
        }
        if let Some(tasks) = &opened {
            let tasks = PathBuf::from(format!("/proc/self/fd/{}", tasks.as_raw_fd()));
            for name in &names {
                match remove(&tasks.join(&**name)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => tracing::debug!(task = %name, %error, "its folder stays"),
                }
            }
        }
        shared.lock().clear();
        shared.done.notify_all();
        if !hurry {
            // At most half of the time, so that tasks find the disk free.
            thread::sleep(begin.elapsed());
        }
        shared.told.notify_one();
    }
}

fn remove(path: &Path) -> io::Result<()> {
    // One call for a folder that nothing was written into.
    if fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::Duration};

    use tokio::time::timeout;

    use super::*;

    fn removal(names: &[&str]) -> Removal {
        Removal { tasks: names.iter().map(|name| Arc::from(*name)).collect(), hurry: true }
    }

    async fn done(remover: &Remover) {
        timeout(Duration::from_secs(30), remover.next()).await.unwrap();
    }

    #[tokio::test]
    async fn folders_go_and_nothing_that_links_lead_to() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("elsewhere/deep")).unwrap();
        fs::write(at("elsewhere/file"), "theirs").unwrap();
        for task in ["a", "b", "d"] {
            fs::create_dir_all(at("tasks").join(task).join("deep/er")).unwrap();
            fs::write(at("tasks").join(task).join("deep/stdout"), "x").unwrap();
        }
        symlink(at("elsewhere"), at("tasks/a/deep/link")).unwrap();
        symlink(at("elsewhere"), at("tasks/c")).unwrap();
        let remover = Remover::start(at("tasks")).unwrap();
        remover.remove(removal(&["a", "b", "c", "never there"]));
        done(&remover).await;
        let left: Vec<_> =
            fs::read_dir(at("tasks")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["d"]);
        assert!(at("elsewhere/deep").exists() && at("elsewhere/file").exists());
        remover.wait_for("a");
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_all_folders_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("elsewhere/a")).unwrap();
        symlink(at("elsewhere"), at("tasks")).unwrap();
        let remover = Remover::start(at("tasks")).unwrap();
        remover.remove(removal(&["a"]));
        done(&remover).await;
        assert!(at("elsewhere/a").exists());
    }

    #[tokio::test]
    async fn a_folder_that_is_wanted_again_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..500 {
            fs::create_dir_all(root.path().join(format!("tasks/a/{number}"))).unwrap();
        }
        let remover = Remover::start(root.path().join("tasks")).unwrap();
        remover.remove(removal(&["a"]));
        remover.wait_for("a");
        assert!(!root.path().join("tasks/a").exists());
        done(&remover).await;
    }
}
