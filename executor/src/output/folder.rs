//! Files in the folder of a task, where the task does what it likes.
//!
//! Owns the ways to such files that lead nowhere else: links are not followed,
//! neither at the file, nor at its folder, nor at the folder above, and what is
//! not a regular file with one name is left alone. What lies above those is ours.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::Path,
};

use nix::{
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, SFlag, fstat},
};

const FOLDER: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens the folder above a task's.
pub(crate) fn open_parent(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, FOLDER, Mode::empty())?)
}

/// Opens a folder in another one.
pub(crate) fn open_in(parent: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    Ok(openat(parent, name, FOLDER, Mode::empty())?)
}

/// Opens a task's folder.
pub(crate) fn open_task(path: &Path) -> io::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    open_in(&open_parent(parent)?, Path::new(name))
}

/// Opens a regular file that has no name but this one.
///
/// With two names it could be anybody's.
pub(crate) fn open_file(folder: &OwnedFd, name: &Path, access: OFlag) -> io::Result<File> {
    // Without O_NONBLOCK a FIFO would be waited for.
    let flags = access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty())?;
    let found = fstat(&file)?;
    let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
    if kind != SFlag::S_IFREG || found.st_nlink != 1 {
        return Err(io::Error::other("not a regular file with one name"));
    }
    Ok(File::from(file))
}

/// Size of a regular file; 0 for what is none, or is not there.
pub(crate) fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("tasks/a")).unwrap();
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/stdout"), "theirs").unwrap();
        fs::write(at("tasks/a/stdout"), "ours").unwrap();
        symlink(at("elsewhere"), at("tasks/b")).unwrap();
        symlink(at("elsewhere/stdout"), at("tasks/a/link")).unwrap();
        fs::hard_link(at("elsewhere/stdout"), at("tasks/a/hard")).unwrap();
        nix::unistd::mkfifo(&at("tasks/a/fifo"), Mode::S_IRWXU).unwrap();
        symlink(at("tasks"), at("again")).unwrap();

        let folder = open_task(&at("tasks/a")).unwrap();
        let opened = |name: &str| open_file(&folder, Path::new(name), OFlag::O_RDWR);
        assert!(opened("stdout").is_ok());
        for name in ["link", "hard", "fifo", "none", ".", "../../elsewhere/stdout"] {
            assert!(opened(name).is_err(), "{name}");
        }
        assert!(open_task(&at("tasks/b")).is_err());
        assert!(open_task(&at("again/a")).is_err());
        assert!(open_task(Path::new("/")).is_err());
        assert_eq!(size(&at("tasks/a/stdout")), 4);
        assert_eq!((size(&at("tasks/a/link")), size(&at("tasks/a/fifo"))), (0, 0));
    }
}
