//! A folder that nothing written into it can leave.
//!
//! Owns making files, folders and links below one folder, and giving them to the task's user.
//! Every name on the way is opened by itself and never through a symbolic link, so that neither
//! an archive nor a neighbour bends a path. Knows nothing of archives or downloads.

use std::{
    cell::Cell,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::{
    NixPath,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat},
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::{UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat},
};

use super::{Owner, place::Place};

/// How folders are opened: they must be real ones.
const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Permissions of folders that come with none.
pub(super) const FOLDER_MODE: u32 = 0o755;

/// An open folder and whom its contents are for.
#[derive(Debug)]
pub(super) struct Folder {
    root: OwnedFd,
    owner: Option<Owner>,
    /// Folders made on the way to something else.
    made: Cell<u64>,
}

/// Opens a folder that is no symbolic link.
pub(super) fn open_folder<F: AsFd, P: ?Sized + NixPath>(at: F, path: &P) -> io::Result<OwnedFd> {
    Ok(openat(at, path, FOLDER, Mode::empty())?)
}

/// Gives something open to the task's user.
pub(super) fn give(fd: impl AsFd, owner: Option<Owner>) -> io::Result<()> {
    match owner {
        Some(Owner { uid, gid }) => Ok(fchown(fd, Some(uid), Some(gid))?),
        None => Ok(()),
    }
}

impl Folder {
    /// Opens a folder; what is made in it is given to `owner`.
    pub(super) fn open(path: &Path, owner: Option<Owner>) -> io::Result<Self> {
        Ok(Self { root: open_folder(AT_FDCWD, path)?, owner, made: Cell::new(0) })
    }

    /// Makes an empty file, in place of another one, that only the executor can read.
    /// [`finish`](Self::finish) opens it to others.
    pub(super) fn create(&self, place: &Place) -> io::Result<File> {
        let folder = self.way(place)?;
        clear(folder.as_fd(), place)?;
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&folder, place.last(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// Moves a file here that has another name on the same file system.
    pub(super) fn adopt<F: AsFd>(&self, place: &Place, from: F, name: &str) -> io::Result<()> {
        let folder = self.way(place)?;
        clear(folder.as_fd(), place)?;
        Ok(renameat(from, name, &folder, place.last())?)
    }

    /// Gives a file its owner and its permissions, in this order: a change of the owner takes
    /// permissions away.
    pub(super) fn finish(&self, file: &File, mode: u32) -> io::Result<()> {
        give(file, self.owner)?;
        Ok(fchmod(file, Mode::from_bits_truncate(mode))?)
    }

    /// Makes a folder, or changes the permissions of one that is there.
    pub(super) fn make(&self, place: &Place, mode: u32) -> io::Result<()> {
        let above = self.way(place)?;
        match mkdirat(&above, place.last(), Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = step(above.as_fd(), place.last())?;
        give(&folder, self.owner)?;
        Ok(fchmod(&folder, Mode::from_bits_truncate(mode))?)
    }

    /// Makes a symbolic link, in place of a file; where it leads was checked.
    pub(super) fn symlink(&self, place: &Place, target: &[u8]) -> io::Result<()> {
        let folder = self.way(place)?;
        clear(folder.as_fd(), place)?;
        symlinkat(target, &folder, place.last())?;
        if let Some(Owner { uid, gid }) = self.owner {
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            fchownat(&folder, place.last(), Some(uid), Some(gid), flags)?;
        }
        Ok(())
    }

    /// Gives a file or a symbolic link a second name.
    pub(super) fn hard_link(&self, place: &Place, to: &Place) -> io::Result<()> {
        let from = self.way(to)?;
        let folder = self.way(place)?;
        if place == to {
            return Err(io::Error::other("it is a link to itself"));
        }
        clear(folder.as_fd(), place)?;
        // Without `AT_SYMLINK_FOLLOW` a symbolic link is linked, not what it leads to.
        Ok(linkat(&from, to.last(), &folder, place.last(), AtFlags::empty())?)
    }

    /// Tells how many folders were made on the way to something since the last question.
    pub(super) fn take_made(&self) -> u64 {
        self.made.take()
    }

    /// Opens the folder of a place; makes those that are missing.
    fn way(&self, place: &Place) -> io::Result<OwnedFd> {
        let mut folder = self.root.try_clone()?;
        for name in place.folders() {
            folder = match openat(&folder, name, FOLDER, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::ENOENT) => {
                    mkdirat(&folder, name, Mode::S_IRWXU)?;
                    self.made.set(self.made.get() + 1);
                    let next = step(folder.as_fd(), name)?;
                    give(&next, self.owner)?;
                    fchmod(&next, Mode::from_bits_truncate(FOLDER_MODE))?;
                    next
                }
                Err(error) => return Err(no_folder(error, name)),
            };
        }
        Ok(folder)
    }
}

fn step(folder: BorrowedFd<'_>, name: &std::ffi::OsStr) -> io::Result<OwnedFd> {
    openat(folder, name, FOLDER, Mode::empty()).map_err(|error| no_folder(error, name))
}

fn no_folder(error: Errno, name: &std::ffi::OsStr) -> io::Error {
    match error {
        Errno::ENOTDIR | Errno::ELOOP => io::Error::new(
            io::ErrorKind::NotADirectory,
            format!(
                "`{}` is there already and is a file or a symbolic link, not a folder",
                String::from_utf8_lossy(name.as_bytes())
            ),
        ),
        error => error.into(),
    }
}

/// Removes a file or link that stands where another one goes.
fn clear(folder: BorrowedFd<'_>, place: &Place) -> io::Result<()> {
    match unlinkat(folder, place.last(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "a folder with this name is there already",
        )),
        Err(error) => Err(error.into()),
    }
}
