//! Puts one file where its URI wants it; blocks.
//!
//! Owns what is done with a file that is there: a copy, a move, permissions, unpacking.

use std::{fs::File, path::PathBuf, sync::Arc};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

use super::{
    archive::{self, Allowance},
    cache::Kept,
    copy::{self, CopyError},
    error::Problem,
    folder::Folder,
    local,
    staging::Rooms,
    uri::{Item, Then},
};

/// Where the bytes are by now.
#[derive(Debug)]
pub(super) enum Brought {
    /// A file of the agent, still to be read.
    Local(PathBuf),
    /// A download for this task alone, by its name among the parts.
    Part(String),
    /// A download that is shared.
    Cached(Arc<Kept>),
}

/// Permissions as Mesos sets them.
const EXECUTABLE: u32 = 0o755;
const PLAIN: u32 = 0o644;

/// Puts a file, or what is in it, into the image of the task's folder.
pub(super) fn place(
    item: &Item,
    brought: Brought,
    rooms: &Rooms,
    allowance: &mut Allowance,
    max_bytes: u64,
) -> Result<(), Problem> {
    let no_write = |source| Problem::Write { what: item.place.to_string(), source };
    let tree = rooms.open_tree().map_err(no_write)?;
    let file = match &brought {
        Brought::Local(path) => {
            let source = local::open(path, rooms.owner())?;
            copy(&source, item, &tree, allowance, max_bytes)?
        }
        Brought::Part(name) => {
            let parts = rooms.open_parts().map_err(no_write)?;
            let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file: File = openat(&parts, name.as_str(), flags, Mode::empty())
                .map_err(|error| no_write(error.into()))?
                .into();
            tree.adopt(&item.place, &parts, name).map_err(no_write)?;
            file
        }
        Brought::Cached(kept) => match item.then {
            // As in Mesos, the archive itself does not go into the folder.
            Then::Unpack(format) => {
                return archive::unpack(&kept.file, &item.place, format, &tree, allowance);
            }
            Then::MakeExecutable | Then::Nothing => {
                copy(&kept.file, item, &tree, allowance, kept.bytes)?
            }
        },
    };
    let mode = match item.then {
        Then::MakeExecutable => EXECUTABLE,
        Then::Unpack(_) | Then::Nothing => PLAIN,
    };
    tree.finish(&file, mode).map_err(no_write)?;
    match item.then {
        Then::Unpack(format) => archive::unpack(&file, &item.place, format, &tree, allowance),
        Then::MakeExecutable | Then::Nothing => Ok(()),
    }
}

/// Copies a file that others use too.
fn copy(
    from: &File,
    item: &Item,
    tree: &Folder,
    allowance: &Allowance,
    limit: u64,
) -> Result<File, Problem> {
    let no_write = |source| Problem::Write { what: item.place.to_string(), source };
    let mut file = tree.create(&item.place).map_err(no_write)?;
    match copy::contents(from, &mut file, limit, &allowance.stop) {
        Ok(()) => Ok(file),
        Err(CopyError::Read(source)) => Err(Problem::Open { user: None, source }),
        Err(CopyError::Write(source)) => Err(no_write(source)),
        Err(CopyError::TooLarge) => Err(Problem::TooLarge { limit }),
        Err(CopyError::Cancelled) => Err(Problem::Cancelled),
    }
}
