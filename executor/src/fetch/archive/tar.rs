//! Reads tar archives: ustar, GNU and pax.

use std::{
    io::{self, Read},
    rc::Rc,
    time::{Duration, SystemTime},
};

use tar::{Archive, Entry, EntryType};

use super::{ArchiveError, meter::Meter, unpacker::Unpacker};
use crate::fetch::error::Problem;

/// Bytes in front of one entry, long names and pax records included, which are kept in memory.
const MAX_HEADERS: u64 = 1 << 20;

/// Unpacks all entries, and reads on to the end: only there checksums are compared.
pub(super) fn unpack<R: Read>(
    reader: Meter<R>,
    unpacker: &mut Unpacker<'_>,
) -> Result<(), Problem> {
    let gate = Rc::clone(&unpacker.gate);
    let mut archive = Archive::new(reader);
    let mut entries = archive.entries().map_err(|error| gate.explain(error))?;
    while let Some(entry) = gate.headers(MAX_HEADERS, || entries.next()) {
        let mut entry = entry.map_err(|error| gate.explain(error))?;
        take(&mut entry, unpacker)?;
        // What is left of it is no header of the next.
        io::copy(&mut entry, &mut io::sink()).map_err(|error| gate.explain(error))?;
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| gate.explain(error))?;
    Ok(())
}

fn take<R: Read>(entry: &mut Entry<'_, R>, unpacker: &mut Unpacker<'_>) -> Result<(), Problem> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(());
    }
    let name = entry.path_bytes().into_owned();
    // `tar -C folder .` begins with the folder itself.
    if kind.is_dir() && matches!(name.as_slice(), b"." | b"./") {
        return Ok(());
    }
    let place = unpacker.entry(&name)?;
    let gate = Rc::clone(&unpacker.gate);
    let damaged = |error| gate.explain(error);
    if is_pax_sparse(entry).map_err(damaged)? {
        return Err(Problem::Archive(ArchiveError::PaxSparse { name: place.to_string() }));
    }
    let mode = entry.header().mode().map_err(damaged)?;
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
            // Before there was a kind for folders.
            if !name.ends_with(b"/") =>
        {
            let seconds = entry.header().mtime().map_err(damaged)?;
            let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            unpacker.file(&place, mode, modified, entry)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        | EntryType::Directory => unpacker.folder(&place, mode),
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            unpacker.symlink(&place, &target)
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            unpacker.hard_link(&place, &target)
        }
        EntryType::Char | EntryType::Block => Err(unpacker.refuse(&place, "a device")),
        EntryType::Fifo => Err(unpacker.refuse(&place, "a named pipe")),
        _ => Err(unpacker.refuse(&place, "of an unknown kind")),
    }
}

/// Such an entry looks like an ordinary file, and begins with a list of its holes.
fn is_pax_sparse<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<bool> {
    let Some(records) = entry.pax_extensions()? else { return Ok(false) };
    for record in records {
        if record?.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(true);
        }
    }
    Ok(false)
}
