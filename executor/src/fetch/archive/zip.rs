//! Reads zip archives, stored or deflated.

use std::{
    io::{self, Read, Seek},
    rc::Rc,
};

use zip::{ZipArchive, read::ZipFile, result::ZipError};

use super::{FILE_MODE, meter::Meter, unpacker::Unpacker};
use crate::fetch::error::Problem;

/// Bytes of the table of contents for one entry; the table is kept in memory.
const ENTRY_HEADERS: u64 = 512;
/// Bytes that finding the table takes beyond its own, and those of one entry's own header.
const MAX_HEADERS: u64 = 1 << 20;
/// The longest target of a symbolic link.
const MAX_TARGET: u64 = 4096;
/// Kinds of files in Unix modes.
const KIND: u32 = 0o170_000;

/// Unpacks all entries of the table of contents.
pub(super) fn unpack<R: Read + Seek>(
    reader: Meter<R>,
    unpacker: &mut Unpacker<'_>,
) -> Result<(), Problem> {
    let gate = Rc::clone(&unpacker.gate);
    let table = unpacker.entries().saturating_mul(ENTRY_HEADERS).saturating_add(MAX_HEADERS);
    let mut archive = gate
        .headers(table, || ZipArchive::new(reader))
        .map_err(|error| gate.explain(into_io(error)))?;
    for index in 0..archive.len() {
        let mut entry = gate
            .headers(MAX_HEADERS, || archive.by_index(index))
            .map_err(|error| gate.explain(into_io(error)))?;
        take(&mut entry, unpacker)?;
    }
    Ok(())
}

fn take<R: Read>(entry: &mut ZipFile<'_, R>, unpacker: &mut Unpacker<'_>) -> Result<(), Problem> {
    let name = entry.name().map_err(|error| unpacker.gate.explain(into_io(error)))?.into_owned();
    let place = unpacker.entry(name.as_bytes())?;
    let mode = entry.unix_mode();
    match mode.unwrap_or(0) & KIND {
        _ if entry.is_dir() => unpacker.folder(&place, mode.unwrap_or(0o755)),
        0o120_000 => {
            let mut target = Vec::new();
            entry
                .take(MAX_TARGET + 1)
                .read_to_end(&mut target)
                .map_err(|error| unpacker.gate.explain(error))?;
            unpacker.symlink(&place, &target)
        }
        0 | 0o100_000 => unpacker.file(&place, mode.unwrap_or(FILE_MODE), None, entry),
        0o020_000 | 0o060_000 => Err(unpacker.refuse(&place, "a device")),
        0o010_000 => Err(unpacker.refuse(&place, "a named pipe")),
        _ => Err(unpacker.refuse(&place, "of an unknown kind")),
    }
}

fn into_io(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
