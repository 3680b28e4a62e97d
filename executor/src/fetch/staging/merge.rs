//! Moves a tree into a folder that may hold something already.
//!
//! A folder that is not there is the tree itself, which takes one rename. Otherwise files take the place of files, folders are joined; a file never takes the place of a folder,
//! nor a folder that of a file. All is checked before anything is moved. The folder may belong to
//! a user whose other tasks run: no symbolic link in it is followed.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, RenameFlags, renameat, renameat2},
    sys::stat::{Mode, SFlag, fchmod, fstatat},
};

use crate::fetch::{
    Owner,
    folder::{FOLDER_MODE, give, open_folder},
};

/// Moves what is in `from`, where nobody else gets, into `to`, on one file system.
pub(super) fn into(from: &Path, to: &Path, owner: Option<Owner>) -> io::Result<()> {
    if become_target(from, to, owner)? {
        return Ok(());
    }
    let (target, made) = open_or_make(to, owner)?;
    let walked = walk(from, target.as_fd(), Pass::Check)
        .and_then(|()| walk(from, target.as_fd(), Pass::Move));
    if walked.is_err() && made {
        // It stays if there is something in it by now.
        let _ = fs::remove_dir(to);
    }
    walked
}

/// Makes the tree the folder, unless there is one, or the file system cannot tell in one step.
fn become_target(from: &Path, to: &Path, owner: Option<Owner>) -> io::Result<bool> {
    let tree = open_folder(AT_FDCWD, from)?;
    give(&tree, owner)?;
    fchmod(&tree, Mode::from_bits_truncate(FOLDER_MODE))?;
    let rename = || renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE);
    let renamed = match (rename(), to.parent()) {
        (Err(Errno::ENOENT), Some(above)) => {
            fs::create_dir_all(above)?;
            rename()
        }
        (renamed, _) => renamed,
    };
    match renamed {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST | Errno::EINVAL | Errno::ENOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open_or_make(path: &Path, owner: Option<Owner>) -> io::Result<(OwnedFd, bool)> {
    match open_folder(AT_FDCWD, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path)?;
            let folder = open_folder(AT_FDCWD, path)?;
            give(&folder, owner)?;
            Ok((folder, true))
        }
        found => Ok((found?, false)),
    }
}

#[derive(Clone, Copy)]
enum Pass {
    Check,
    Move,
}

/// Goes as deep as the tree, whose depth is limited.
fn walk(from: &Path, to: BorrowedFd<'_>, pass: Pass) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        match (entry.file_type()?.is_dir(), is_folder(to, &name)?) {
            (true, Some(true)) => {
                walk(&path, open_folder(to, name.as_os_str())?.as_fd(), pass)?;
                continue;
            }
            (true, Some(false)) | (false, Some(true)) => {
                let name = name.display();
                let text = format!("`{name}` is there already, and only one of both is a folder");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            (false, Some(false)) | (true | false, None) => {}
        }
        match pass {
            Pass::Check => {}
            Pass::Move => renameat(AT_FDCWD, &path, to, name.as_os_str())?,
        }
    }
    Ok(())
}

/// Tells whether there is a folder; a symbolic link to one is none.
fn is_folder(at: BorrowedFd<'_>, name: &std::ffi::OsStr) -> io::Result<Option<bool>> {
    match fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
