//! A temporary folder for sandboxes, and its end.
//!
//! Owns its place and its removal. A folder and two files for each of many
//! thousand tasks are work for a disk's file system: on the one measured, half of
//! the rate of the whole path. So a short-lived cluster keeps them in memory
//! where there is enough, unless TMPDIR says where. And some file systems take
//! milliseconds to give a folder's block back, but take back many at a time: so
//! crowded folders are emptied by several threads.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;
use nix::sys::{
    statfs::{TMPFS_MAGIC, statfs},
    statvfs::{FsFlags, statvfs},
};

use crate::output;

/// Threads that empty a crowded folder.
const THREADS: usize = 16;

/// Subfolders that make a folder crowded.
const CROWD: usize = 64;

/// File system in memory that Linux has under this name.
const MEMORY: &str = "/dev/shm";

/// Free memory there that is enough for the output of short tasks.
const ENOUGH: u64 = 1 << 30;

/// Free space of which one should know.
const SCARCE: u64 = 16 << 20;

/// A folder of this process. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    is_kept: bool,
}

impl Temporary {
    /// Makes a new, empty folder that only this user can look into.
    ///
    /// # Errors
    /// Names the folder it was to be made in, and the way out.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::below(env::temp_dir())
    }

    /// Makes a new, empty folder in memory if TMPDIR names no other place.
    ///
    /// On a disk the folder and the files of a short task can cost as much as its process.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn fast() -> anyhow::Result<Self> {
        let shared = Path::new(MEMORY);
        if env::var_os("TMPDIR").is_none() && is_roomy_memory(shared) {
            return Self::below(shared.to_owned());
        }
        Self::new()
    }

    fn below(parent: PathBuf) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("marmoset-").tempdir_in(&parent);
        let folder = folder.with_context(|| {
            format!(
                "cannot make a folder in `{}`: make it writable, or name another in TMPDIR",
                parent.display()
            )
        })?;
        Ok(Self { path: folder.keep(), is_kept: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells when there is hardly room left for what tasks write.
    pub(crate) fn scarcity(&self) -> Option<String> {
        let free = free_bytes(&self.path)?;
        (free < SCARCE).then(|| {
            format!(
                "`{}` is full, tasks may have failed for it: name a folder with more room in TMPDIR",
                self.path.display()
            )
        })
    }

    /// Leaves it where it is.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = remove(&self.path)
        {
            output::complain(format_args!(
                "warning: `{}` could not be removed: {error}",
                self.path.display()
            ));
        }
    }
}

/// Whether files there are in memory, may be executed, and have room.
fn is_roomy_memory(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
        && statvfs(folder).is_ok_and(|found| !found.flags().contains(FsFlags::ST_NOEXEC))
        && free_bytes(folder).is_some_and(|free| free >= ENOUGH)
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let found = statvfs(folder).ok()?;
    Some(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Removes a folder and everything in it; links are not followed.
fn remove(folder: &Path) -> io::Result<()> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    if folders.len() < CROWD {
        folders.iter().try_for_each(|folder| remove(folder))?;
    } else {
        let share = folders.len().div_ceil(THREADS);
        thread::scope(|scope| {
            let workers: Vec<_> = folders
                .chunks(share)
                .map(|some| scope.spawn(|| some.iter().try_for_each(fs::remove_dir_all)))
                .collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_goes_and_nothing_else() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("stays"), "").unwrap();
        let folder = Temporary::new().unwrap();
        let path = folder.path().to_owned();
        for index in 0..3 * CROWD {
            let task = path.join(format!("a/tasks/{index}"));
            fs::create_dir_all(&task).unwrap();
            fs::write(task.join("stdout"), "x").unwrap();
        }
        std::os::unix::fs::symlink(outside.path(), path.join("a/link")).unwrap();
        drop(folder);
        assert!(!path.exists());
        assert!(outside.path().join("stays").exists());
    }

    #[test]
    fn a_disk_is_no_memory() {
        assert!(!is_roomy_memory(Path::new("/proc")));
        assert!(!is_roomy_memory(Path::new("/no/such/folder")));
    }

    #[test]
    fn what_is_kept_stays() {
        let folder = Temporary::new().unwrap();
        let path = folder.path().to_owned();
        folder.keep();
        assert!(path.exists());
        fs::remove_dir(path).unwrap();
    }
}
