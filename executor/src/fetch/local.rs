//! Files of the agent.
//!
//! Owns opening them with the permissions of the task's user: the executor may be root, and must
//! not hand out what the user could not read.

mod identity;

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::unistd::geteuid;

use super::{Owner, error::Problem};

/// Opens a regular file as `owner` would; blocks.
pub(super) fn open(path: &Path, owner: Option<Owner>) -> Result<File, Problem> {
    // A pipe would wait for somebody to write.
    let open = || OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let other = owner.filter(|owner| owner.uid != geteuid());
    let user = other.map(|owner| owner.uid.as_raw());
    let file = match other {
        None => open(),
        Some(owner) if geteuid().is_root() => identity::acting_as(owner, open),
        Some(owner) => return Err(Problem::NotRoot(owner.uid.as_raw())),
    };
    let file = file.map_err(|source| Problem::Open { user, source })?;
    let kind = file.metadata().map_err(|source| Problem::Open { user, source })?;
    if kind.is_file() { Ok(file) } else { Err(Problem::NotAFile) }
}
