//! Puts one file where its URI wants it; blocks.
//!
//! Owns what is done with a file that is there: a copy, a move, permissions, unpacking.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::PathBuf,
    sync::Arc,
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

use super::{
    archive::{self, Allowance},
    cache::Kept,
    cursor::Cursor,
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
/// Bytes that are copied at a time.
const BLOCK: usize = 256 << 10;

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
    let mut from = Cursor::new(from);
    let mut file = tree.create(&item.place).map_err(no_write)?;
    let mut buffer = vec![0; BLOCK];
    let mut left = limit;
    loop {
        if allowance.stop.is_cancelled() {
            return Err(Problem::Cancelled);
        }
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Problem::Open { user: None, source }),
        };
        left = left.checked_sub(length as u64).ok_or(Problem::TooLarge { limit })?;
        file.write_all(&buffer[..length]).map_err(no_write)?;
    }
}
