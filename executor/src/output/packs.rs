//! Appends the outputs of tasks to packs.
//!
//! Owns the packs that a worker writes, each alone: a worker takes the first
//! number that is free, so that no two of them ever write to one file, and what
//! a dead one has left is not touched. Refuses to read them. The format is
//! [`marmoset_proto::pack`].

use std::{
    ffi::{CStr, CString, OsStr},
    fs::{self, File},
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use marmoset_proto::pack::HEAD;
use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};

use super::folder;

/// Packs that are open at a time: jobs take turns.
const OPEN_MAX: usize = 8;

/// A pack of this size is not appended to.
const FULL: u64 = 1 << 30;

/// Numbers that are tried. There are as many packs of one name as workers have lived.
const NUMBERS: u32 = 1 << 20;

/// What a worker writes to.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    open: Vec<Pack>,
    /// The folder above those of tasks, which hardly ever changes.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Why records could not be written, told once.
    complained: bool,
}

#[derive(Debug)]
struct Pack {
    prefix: CString,
    file: File,
    length: u64,
}

impl Packs {
    /// Appends whole records to a pack whose path begins with `prefix`.
    ///
    /// # Errors
    /// Nothing was written then.
    pub(crate) fn append(&mut self, prefix: &CStr, records: &[u8]) -> io::Result<()> {
        let at = match self.open.iter().position(|pack| *pack.prefix == *prefix) {
            Some(at) if self.open[at].length < FULL => at,
            found => {
                if let Some(at) = found {
                    self.open.remove(at);
                }
                if self.open.len() >= OPEN_MAX {
                    self.open.remove(0);
                }
                self.open.push(Pack::create(prefix)?);
                self.open.len() - 1
            }
        };
        let pack = &mut self.open[at];
        let outcome = pack.file.write_all(records);
        match outcome {
            Ok(()) => pack.length += records.len() as u64,
            Err(_) => {
                // Half a record would hide those behind it.
                if pack.file.set_len(pack.length).is_err() {
                    self.open.remove(at);
                }
            }
        }
        outcome
    }

    /// Opens a task's folder.
    pub(crate) fn open_task(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let opened = match self.parent.take() {
            Some((known, opened)) if known == parent => opened,
            Some(_) | None => folder::open_parent(parent)?,
        };
        let task = folder::open_in(&opened, Path::new(name));
        self.parent = Some((parent.to_owned(), opened));
        task
    }

    /// Removes a task's folder if nothing is in it. The one above it was opened just now.
    pub(crate) fn remove_folder(&self, path: &Path) -> bool {
        let (Some((_, parent)), Some(name)) = (&self.parent, path.file_name()) else {
            return false;
        };
        unlinkat(parent, name, UnlinkatFlags::RemoveDir).is_ok()
    }

    /// Says once that outputs stay in their files.
    pub(crate) fn complain(&mut self, prefix: &CStr, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            eprintln!(
                "marmoset launcher: cannot write to the pack `{}`: {error}; outputs stay in the \
                 folders of their tasks",
                prefix.to_string_lossy()
            );
        }
    }
}

impl Pack {
    /// Makes the file, and the folder if it is the first.
    fn create(prefix: &CStr) -> io::Result<Self> {
        let path = Path::new(OsStr::from_bytes(prefix.to_bytes()));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        match fs::create_dir(parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let parent = folder::open_parent(parent)?;
        let flags = OFlag::O_WRONLY
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_EXCL
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        for number in 0..NUMBERS {
            let mut name = name.to_owned();
            name.push(format!(".{number}.pack"));
            match openat(&parent, name.as_os_str(), flags, Mode::from_bits_truncate(0o644)) {
                Ok(file) => {
                    let mut file = File::from(file);
                    file.write_all(&HEAD)?;
                    let length = HEAD.len() as u64;
                    return Ok(Self { prefix: prefix.to_owned(), file, length });
                }
                Err(nix::errno::Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other("there are too many packs of this name"))
    }
}
