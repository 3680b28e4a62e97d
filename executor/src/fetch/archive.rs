//! Archives, and how they are unpacked.
//!
//! Owns which names mean an archive (those Mesos knows: Mesos 1.11, `src/launcher/fetcher.cpp`)
//! and what each format is read with. An archive is hostile until shown otherwise: every entry
//! goes through [`Unpacker`], which alone writes, and every byte through a
//! [`Meter`](meter::Meter), which alone reads.

mod error;
mod meter;
mod tar;
mod unpacker;
mod zip;

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufReader, Read},
    os::unix::ffi::OsStrExt as _,
    rc::Rc,
};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

pub(super) use self::error::ArchiveError;
pub(super) use self::unpacker::Allowance;
use self::{
    meter::{Gate, Meter},
    unpacker::Unpacker,
};
use super::{cursor::Cursor, error::Problem, folder::Folder, place::Place};

/// Memory for the dictionary of an xz stream, in KiB; `xz -9` needs 64 MiB.
const XZ_MEMORY: u32 = 80 << 10;
/// Bytes that are read at a time.
const BLOCK: usize = 64 << 10;

/// How files are put into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Tar(Compression),
    /// One compressed file.
    Gzip,
    Zip,
}

/// What a tar archive is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
}

impl Format {
    /// Goes by the end of the name, in lower case, as Mesos does.
    pub(super) fn of(name: &OsStr) -> Option<Self> {
        const ENDS: [(&str, Format); 9] = [
            (".tar", Format::Tar(Compression::None)),
            (".tgz", Format::Tar(Compression::Gzip)),
            (".tar.gz", Format::Tar(Compression::Gzip)),
            (".tbz2", Format::Tar(Compression::Bzip2)),
            (".tar.bz2", Format::Tar(Compression::Bzip2)),
            (".txz", Format::Tar(Compression::Xz)),
            (".tar.xz", Format::Tar(Compression::Xz)),
            (".zip", Format::Zip),
            // Behind `.tar.gz`.
            (".gz", Format::Gzip),
        ];
        let name = name.as_bytes();
        ENDS.iter().find(|(end, _)| name.ends_with(end.as_bytes())).map(|(_, format)| *format)
    }
}

/// Unpacks an archive that was called `name` into a folder.
pub(super) fn unpack(
    archive: &File,
    name: &Place,
    format: Format,
    folder: &Folder,
    allowance: &mut Allowance,
) -> Result<(), Problem> {
    let gate = Rc::new(Gate::new(allowance.stop.clone(), allowance.stream_bytes()));
    let mut unpacker = Unpacker::new(folder, allowance, Rc::clone(&gate));
    let cursor = Cursor::new(archive);
    match format {
        Format::Tar(compression) => {
            let plain = decompressed(cursor, compression);
            tar::unpack(Meter::new(plain, gate), &mut unpacker)
        }
        Format::Zip => {
            zip::unpack(Meter::new(BufReader::with_capacity(BLOCK, cursor), gate), &mut unpacker)
        }
        Format::Gzip => {
            let place = without_gz(name)?;
            let plain = MultiGzDecoder::new(BufReader::with_capacity(BLOCK, cursor));
            unpacker.file(&place, FILE_MODE, None, &mut Meter::new(plain, gate))
        }
    }
}

/// Permissions of files that come with none.
const FILE_MODE: u32 = 0o644;

fn decompressed<'a>(cursor: Cursor<'a>, compression: Compression) -> Box<dyn Read + 'a> {
    let blocks = BufReader::with_capacity(BLOCK, cursor);
    match compression {
        Compression::None => Box::new(blocks),
        Compression::Gzip => Box::new(MultiGzDecoder::new(blocks)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(blocks)),
        Compression::Xz => Box::new(XzReader::new_mem_limit(blocks, true, XZ_MEMORY)),
    }
}

/// The file that comes out of `x.gz`: in the folder itself, wherever `x.gz` is.
fn without_gz(name: &Place) -> Result<Place, Problem> {
    let bytes = name.last().as_bytes();
    let stem = bytes.strip_suffix(b".gz").unwrap_or(bytes).to_vec();
    Place::name(stem).map_err(|_| Problem::NoNameLeft(name.to_string()))
}

#[cfg(test)]
mod tests;
