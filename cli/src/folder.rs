//! A temporary folder for sandboxes, and its end.
//!
//! Owns the removal of a tree with a folder for each of many thousand tasks. Some
//! file systems take milliseconds to give a folder's block back, but take back
//! many at a time: so crowded folders are emptied by several threads.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;

use crate::output;

/// Threads that empty a crowded folder.
const THREADS: usize = 16;

/// Subfolders that make a folder crowded.
const CROWD: usize = 64;

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
        let parent = std::env::temp_dir();
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
    fn what_is_kept_stays() {
        let folder = Temporary::new().unwrap();
        let path = folder.path().to_owned();
        folder.keep();
        assert!(path.exists());
        fs::remove_dir(path).unwrap();
    }
}
