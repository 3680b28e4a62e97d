//! Puts the entries of an archive into a folder.
//!
//! Owns what an entry may be: a file, a folder, or a link that stays inside; and how much of it
//! there may be. Knows no format.

use std::{
    fs::{File, FileTimes},
    io::{self, Read, Write as _},
    rc::Rc,
    time::SystemTime,
};

use tokio_util::sync::CancellationToken;

use super::{ArchiveError, BLOCK, meter::Gate};
use crate::fetch::{config::FetchConfig, error::Problem, folder::Folder, place::Place};

/// What the archives of one task may still unpack to.
#[derive(Debug)]
pub(in crate::fetch) struct Allowance {
    /// Ends the work early.
    pub(in crate::fetch) stop: CancellationToken,
    bytes: u64,
    entries: u64,
    max_bytes: u64,
    max_entries: u64,
}

impl Allowance {
    pub(in crate::fetch) fn new(config: &FetchConfig, stop: CancellationToken) -> Self {
        Self {
            stop,
            bytes: config.max_unpacked_bytes,
            entries: config.max_entries,
            max_bytes: config.max_unpacked_bytes,
            max_entries: config.max_entries,
        }
    }

    /// Bytes of an archive without its compression: the contents, and headers around them.
    pub(super) fn stream_bytes(&self) -> u64 {
        self.bytes.saturating_add(self.entries.saturating_mul(4 << 10)).saturating_add(1 << 20)
    }

    /// Entries that are left.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    fn take_entries(&mut self, count: u64) -> Result<(), Problem> {
        let left = self.entries.checked_sub(count);
        let limit = self.max_entries;
        self.entries = left.ok_or(Problem::Archive(ArchiveError::TooMany { limit }))?;
        Ok(())
    }

    fn take_bytes(&mut self, count: usize) -> Result<(), Problem> {
        let left = self.bytes.checked_sub(count as u64);
        let limit = self.max_bytes;
        self.bytes = left.ok_or(Problem::Archive(ArchiveError::TooLarge { limit }))?;
        Ok(())
    }
}

/// The one that writes while an archive is read.
pub(super) struct Unpacker<'a> {
    folder: &'a Folder,
    allowance: &'a mut Allowance,
    pub(super) gate: Rc<Gate>,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(folder: &'a Folder, allowance: &'a mut Allowance, gate: Rc<Gate>) -> Self {
        Self { folder, allowance, gate, buffer: vec![0; BLOCK] }
    }

    /// Entries that may still come.
    pub(super) fn entries(&self) -> u64 {
        self.allowance.entries()
    }

    /// Checks the name of an entry and counts it.
    pub(super) fn entry(&mut self, name: &[u8]) -> Result<Place, Problem> {
        self.allowance.take_entries(1)?;
        Place::path(name)
            .map_err(|reason| Problem::Archive(ArchiveError::Name { name: text(name), reason }))
    }

    /// Writes a file; of the permissions, those are dropped that let others write.
    pub(super) fn file(
        &mut self,
        place: &Place,
        mode: u32,
        modified: Option<SystemTime>,
        contents: &mut impl Read,
    ) -> Result<(), Problem> {
        let made = self.folder.create(place);
        let mut file = self.written(place, made)?;
        loop {
            let length = match contents.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.gate.explain(error)),
            };
            self.allowance.take_bytes(length)?;
            let wrote = file.write_all(&self.buffer[..length]);
            self.written(place, wrote)?;
        }
        let finished = self.folder.finish(&file, mode & 0o755);
        self.written(place, finished)?;
        set_time(&file, modified);
        Ok(())
    }

    /// Makes a folder; its owner may always write into it.
    pub(super) fn folder(&mut self, place: &Place, mode: u32) -> Result<(), Problem> {
        let made = self.folder.make(place, mode & 0o755 | 0o700);
        self.written(place, made)
    }

    /// Makes a symbolic link that leads to somewhere inside.
    pub(super) fn symlink(&mut self, place: &Place, target: &[u8]) -> Result<(), Problem> {
        place.may_link_to(target).map_err(|reason| {
            let (name, target) = (place.to_string(), text(target));
            Problem::Archive(ArchiveError::Target { name, target, reason })
        })?;
        let made = self.folder.symlink(place, target);
        self.written(place, made)
    }

    /// Gives a file that is there a second name.
    pub(super) fn hard_link(&mut self, place: &Place, target: &[u8]) -> Result<(), Problem> {
        let to = Place::path(target).map_err(|reason| {
            let (name, target) = (place.to_string(), text(target));
            Problem::Archive(ArchiveError::Target { name, target, reason })
        })?;
        let made = self.folder.hard_link(place, &to);
        self.written(place, made)
    }

    /// Refuses an entry that is something else.
    pub(super) fn refuse(&self, place: &Place, kind: &'static str) -> Problem {
        Problem::Archive(ArchiveError::Kind { name: place.to_string(), kind })
    }

    /// Counts the folders on the way that had to be made too.
    fn written<T>(&mut self, place: &Place, result: io::Result<T>) -> Result<T, Problem> {
        self.allowance.take_entries(self.folder.take_made())?;
        result.map_err(|source| Problem::Write { what: place.to_string(), source })
    }
}

/// Programs compare these times, Python its compiled files with the source; none depends on them.
fn set_time(file: &File, modified: Option<SystemTime>) {
    if let Some(modified) = modified
        && let Err(error) = file.set_times(FileTimes::new().set_modified(modified))
    {
        tracing::debug!(%error, "cannot set the time of an unpacked file");
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
