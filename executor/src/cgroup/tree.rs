//! The cgroups of one launcher.
//!
//! Owns their creation, their end, and those that others have left. Whoever holds a
//! [`Tree`], or a descriptor made of it, holds a lock on it; one without a lock has lost
//! all its owners, and whoever finds it kills what is in it and removes it. The lock is
//! of flock(2): the kernel gives it up when the last owner ends, however that ends.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Place, members};
use crate::launcher::kill_process;

/// What trees are called, with the hierarchy that has their lock and an id behind it.
const PREFIX: &str = "marmoset-tree-";

/// How long the end of killed processes is waited for.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The folders of a tree, as its launcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Like the place that it is in.
    pub(crate) place: Place,
}

/// A tree that is ours, and locked.
#[derive(Debug)]
pub(crate) struct Tree {
    branch: Branch,
    lock: File,
}

impl Tree {
    /// Removes what others have left, and makes a tree of its own.
    pub(crate) fn create(place: &Place) -> io::Result<Self> {
        const ATTEMPTS: usize = 5;
        sweep(place);
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let name = format!("{}{}", place.prefix(), uuid::Uuid::new_v4().simple());
            match Self::create_named(place, &name) {
                Ok(tree) => return Ok(tree),
                // Somebody who swept was quicker than our lock.
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::Other.into()))
    }

    fn create_named(place: &Place, name: &str) -> io::Result<Self> {
        let branch = Branch { place: place.join(name) };
        let folders = branch.place.folders();
        let first = folders.first().ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir(first)?;
        let lock = File::open(first)?;
        lock.try_lock()?;
        if fs::metadata(first)?.ino() != lock.metadata()?.ino() {
            return Err(io::ErrorKind::NotFound.into());
        }
        for folder in &folders[1..] {
            if let Err(error) = fs::create_dir(folder) {
                branch.remove();
                return Err(error);
            }
        }
        if let Place::V2(folder) = &branch.place {
            // As far as they were handed down to it.
            for controller in ["+memory", "+cpu"] {
                let _absent = fs::write(folder.join("cgroup.subtree_control"), controller);
            }
        }
        Ok(Self { branch, lock })
    }

    pub(crate) fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Keeps the tree locked in whichever process it is in.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

impl Branch {
    /// Kills everything in the tree, and removes it. What is left, because a process does not
    /// end, is left to whoever sweeps.
    pub(crate) fn remove(&self) {
        let deadline = Instant::now() + END_TIMEOUT;
        let mut pause = Duration::from_millis(1);
        loop {
            let empty =
                self.place.folders().into_iter().map(clear).fold(true, |all, one| all & one);
            if empty || Instant::now() > deadline {
                return;
            }
            thread::sleep(pause);
            pause = Duration::from_millis(50).min(pause * 2);
        }
    }

    /// Removes the tree if nothing is left in it.
    pub(crate) fn remove_empty(&self) {
        for folder in self.place.folders() {
            let _in_use = fs::remove_dir(folder);
        }
    }
}

impl Place {
    /// How the names of trees begin whose lock is in the same hierarchy as ours would be.
    fn prefix(&self) -> String {
        let locked = match self {
            Self::V1 { memory: Some(_), .. } => "memory",
            Self::V1 { .. } => "cpu",
            Self::V2(_) => "unified",
        };
        format!("{PREFIX}{locked}-")
    }

    /// The folder `name` in each of its own.
    pub(super) fn join(&self, name: &str) -> Self {
        let join = |folder: &PathBuf| folder.join(name);
        match self {
            Self::V1 { memory, cpu, freezer } => Self::V1 {
                memory: memory.as_ref().map(join),
                cpu: cpu.as_ref().map(join),
                freezer: freezer.as_ref().map(join),
            },
            Self::V2(folder) => Self::V2(join(folder)),
        }
    }
}

/// Removes every tree that has no owner.
///
/// Only those that are locked where we would lock ours: an executor may be in a cgroup of its own
/// in one hierarchy and share that of others in the next, where their trees have no lock.
fn sweep(place: &Place) {
    let folders = place.folders();
    let Some(first) = folders.first() else { return };
    let Ok(entries) = fs::read_dir(first) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let prefix = place.prefix();
    for name in names.filter(|name| name.starts_with(&prefix)) {
        let Ok(lock) = File::open(first.join(&name)) else { continue };
        if lock.try_lock().is_ok() {
            let cgroup = first.join(&name);
            tracing::info!(cgroup = %cgroup.display(), "what another executor left is removed");
            Branch { place: place.join(&name) }.remove();
        }
    }
}

/// Kills what is in a cgroup and below it, and removes it. Whether it is gone.
fn clear(folder: &Path) -> bool {
    // Frozen processes do not die.
    if let Ok(mut state) = File::options().write(true).open(folder.join("freezer.state")) {
        let _thawed = state.write_all(b"THAWED");
    }
    if let Ok(entries) = fs::read_dir(folder) {
        let below =
            entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in below {
            clear(&entry.path());
        }
    }
    for pid in members(folder).unwrap_or_default() {
        kill_process(pid);
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain folders stand for hierarchies here: names and locks are all that is looked at.
    #[test]
    fn only_trees_whose_lock_would_be_seen_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            Some(folder)
        };
        let shared = folder("cpu");
        let place =
            |memory: Option<PathBuf>| Place::V1 { memory, cpu: shared.clone(), freezer: None };
        let first = Tree::create(&place(folder("memory/a"))).unwrap();
        let folders = || first.branch.place.folders().into_iter().all(Path::exists);
        // Another cgroup for memory, none at all, and the same.
        let others = [place(folder("memory/b")), place(None), place(folder("memory/a"))];
        let others = others.map(|place| Tree::create(&place).unwrap());
        assert!(folders());
        let left = others.map(|tree| tree.branch.clone());
        sweep(&place(folder("memory/a")));
        assert!(folders());
        let gone = |branch: &Branch| !branch.place.folders().into_iter().any(Path::exists);
        assert_eq!(left.each_ref().map(gone), [false, false, true]);
        let branch = first.branch.clone();
        drop(first);
        sweep(&place(folder("memory/a")));
        assert!(gone(&branch));
    }
}
