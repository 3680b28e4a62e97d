//! Makes a folder like another one.
//!
//! Both lie where nobody else gets. Files are copies: who gets them may change them. Owners are
//! given anew, permissions, times, links and second names are kept.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
};

use tokio_util::sync::CancellationToken;

use crate::fetch::{
    Owner,
    copy::{self, CopyError},
};

/// Fills the empty folder `to` with what is in `from`; blocks.
pub(super) fn fill(
    from: &Path,
    to: &Path,
    owner: Option<Owner>,
    stop: &CancellationToken,
) -> io::Result<()> {
    Twin { owner, stop, named: HashMap::new() }.fill(from, to)
}

struct Twin<'a> {
    owner: Option<Owner>,
    stop: &'a CancellationToken,
    /// Files with several names, by their number: the copy that there is.
    named: HashMap<u64, PathBuf>,
}

impl Twin<'_> {
    fn fill(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let about = entry.metadata()?;
            if about.is_dir() {
                DirBuilder::new().mode(0o700).create(&to)?;
                self.fill(&from, &to)?;
                self.give(&to)?;
                fs::set_permissions(&to, about.permissions())?;
            } else if about.is_symlink() {
                symlink(fs::read_link(&from)?, &to)?;
                self.give(&to)?;
            } else {
                self.file(&from, to, &about)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: PathBuf, about: &Metadata) -> io::Result<()> {
        if let Some(twin) = self.named.get(&about.ino()) {
            return fs::hard_link(twin, to);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
        match copy::contents(&File::open(from)?, &mut file, u64::MAX, self.stop) {
            Ok(()) => {}
            Err(CopyError::Read(error) | CopyError::Write(error)) => return Err(error),
            Err(CopyError::TooLarge) => return Err(io::ErrorKind::FileTooLarge.into()),
            Err(CopyError::Cancelled) => return Err(io::ErrorKind::Interrupted.into()),
        }
        // In this order: a change of the owner takes permissions away.
        if let Some(Owner { uid, gid }) = self.owner {
            nix::unistd::fchown(&file, Some(uid), Some(gid))?;
        }
        file.set_permissions(about.permissions())?;
        file.set_times(FileTimes::new().set_modified(about.modified()?))?;
        if about.nlink() > 1 {
            self.named.insert(about.ino(), to);
        }
        Ok(())
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.owner {
            Some(Owner { uid, gid }) => lchown(path, Some(uid.as_raw()), Some(gid.as_raw())),
            None => Ok(()),
        }
    }
}
