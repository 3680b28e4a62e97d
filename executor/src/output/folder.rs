//! Files in the folder of a task, where the task does what it likes.
//!
//! Owns the ways to such files that lead nowhere else: links are not followed,
//! neither at the file, nor at its folder, nor at the folder above, and what is
//! not a regular file with one name is left alone. What lies above those is ours.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
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

/// Makes an empty file, whatever had its name before. With a mode it gets that, else what the
/// umask says.
pub(crate) fn create_file(folder: &OwnedFd, name: &Path, mode: Option<Mode>) -> io::Result<File> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(folder, name, flags, Mode::from_bits_truncate(0o666))?;
    if let Some(mode) = mode {
        fchmod(&file, mode)?;
    }
    Ok(File::from(file))
}

/// Makes a folder, or opens the one that is there, but not what a link leads to.
pub(crate) fn create_folder(
    parent: &OwnedFd,
    name: &Path,
    mode: Option<Mode>,
) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    if let Some(mode) = mode {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        fchmod(openat(parent, name, flags, Mode::empty())?, mode)?;
    }
    open_in(parent, name)
}

/// Reads the beginning of a file in a task's folder, and removes it.
pub(crate) fn take_text(path: &Path, most: u64) -> io::Result<String> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let (folder, name) = (open_task(folder)?, Path::new(name));
    let mut text = Vec::new();
    open_file(&folder, name, OFlag::O_RDONLY)?.take(most).read_to_end(&mut text)?;
    unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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

    #[test]
    fn what_is_made_is_where_it_should_be() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("tasks")).unwrap();
        fs::write(at("theirs"), "theirs").unwrap();
        let tasks = open_parent(&at("tasks")).unwrap();
        let mode = Some(Mode::from_bits_truncate(0o777));
        let folder = create_folder(&tasks, Path::new("a"), mode).unwrap();
        symlink(at("theirs"), at("tasks/a/stdout")).unwrap();
        nix::unistd::mkfifo(&at("tasks/a/stderr"), Mode::S_IRWXU).unwrap();
        for name in ["stdout", "stderr"] {
            create_file(&folder, Path::new(name), None).unwrap();
            assert!(fs::symlink_metadata(at("tasks/a").join(name)).unwrap().is_file());
        }
        assert_eq!(fs::read_to_string(at("theirs")).unwrap(), "theirs");
        symlink(root.path(), at("tasks/b")).unwrap();
        assert!(create_folder(&tasks, Path::new("b"), mode).is_err());
        assert!(create_folder(&tasks, Path::new("a"), mode).is_ok(), "it is there");

        fs::write(at("tasks/a/why"), "because").unwrap();
        assert_eq!(take_text(&at("tasks/a/why"), 3).unwrap(), "bec");
        assert!(!at("tasks/a/why").exists());
        symlink(at("theirs"), at("tasks/a/why")).unwrap();
        assert!(take_text(&at("tasks/a/why"), 100).is_err());
        fs::remove_file(at("tasks/a/why")).unwrap();
        nix::unistd::mkfifo(&at("tasks/a/why"), Mode::S_IRWXU).unwrap();
        assert!(take_text(&at("tasks/a/why"), 100).is_err(), "and it comes back");
    }
}
