//! Cuts the middle out of a file that is too large.
//!
//! Owns what is left: the first half of the limit, a line that says how much is
//! missing, and the end. Refuses to know whose file it is. Called while it is
//! written, by [`Trim::trim`], and once more when nobody writes it any longer.
//!
//! ```text
//!            limit/2                      limit/2
//!   written  |──────── head ────────|·····················|──────── tail ────────|
//!   trimmed  |──────── head ────────|      (a hole)       |──────── tail ────────|
//!   finished |──────── head ────────|marker|──────── tail ────────|
//! ```
//!
//! While it is written the middle becomes a hole: it takes no room on the disk, and
//! nothing moves under the writer, whatever it does. Where the file system cannot
//! make holes, the tail moves to the head and the file is cut off behind it: a
//! program that appends goes on there. What it appends in that very moment is lost.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

/// Holes begin and end on pages: the rest of a page would be filled with zeros.
const PAGE: u64 = 4096;

/// How much more than the limit a file may hold before it is worth a hole.
const SLACK_MIN: u64 = 1 << 20;

/// Files of a smaller limit have no room for a marker.
const MARKED_MIN: u64 = 1024;

/// Length of the marker, whatever it says.
const MARKER: u64 = marker(0).len() as u64;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How much was written to it.
    pub written: u64,
    /// How much of it was to be kept, half from the beginning and half from the end.
    pub kept: u64,
}

/// How a file that is written is kept short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trim {
    /// Where the hole ends; 0 without one.
    hole_end: u64,
    /// Bytes that are no longer there, and no hole.
    removed: u64,
    /// The file system makes no holes.
    no_holes: bool,
}

/// What stands where bytes are missing.
const fn marker(bytes: u64) -> [u8; 58] {
    let mut text = *b"\n[marmoset:                    0 bytes were cut out here]\n";
    let mut rest = bytes;
    // The last digit.
    let mut at = 31;
    while rest > 0 {
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        at -= 1;
    }
    text
}

fn head(limit: u64) -> u64 {
    limit.div_ceil(2)
}

fn marker_length(limit: u64) -> u64 {
    if limit < MARKED_MIN { 0 } else { MARKER }
}

impl Trim {
    /// How much of the disk a file of this size takes.
    pub(crate) fn used(&self, size: u64, limit: u64) -> u64 {
        let hole = self.hole_end.saturating_sub(first_page(limit));
        if self.hole_end > size { size } else { size - hole }
    }

    /// How much a file may take before it is cut.
    pub(crate) fn bound(limit: u64) -> u64 {
        limit.saturating_add(SLACK_MIN.max(limit / 2))
    }

    /// Gives back what a file that is written has too much.
    pub(crate) fn trim(&mut self, file: &File, limit: u64) -> io::Result<()> {
        let size = file.metadata()?.len();
        if self.hole_end > size {
            // The program has emptied it.
            self.hole_end = 0;
        }
        if self.used(size, limit) <= Self::bound(limit) {
            return Ok(());
        }
        if self.no_holes {
            return self.compact(file, limit);
        }
        let begin = self.hole_end.max(first_page(limit));
        let end = (size - (limit - head(limit))) / PAGE * PAGE;
        if end <= begin {
            return Ok(());
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let [offset, length] = [begin, end - begin].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        match fallocate(file, flags, offset, length) {
            Ok(()) => {
                self.hole_end = end;
                Ok(())
            }
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                self.no_holes = true;
                self.compact(file, limit)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Brings a file that nobody writes to its limit. Nothing if it never was over it.
    pub(crate) fn finish(mut self, file: &File, limit: u64) -> io::Result<Option<Cut>> {
        let size = file.metadata()?.len();
        if self.removed == 0 && size <= limit {
            return Ok(None);
        }
        self.compact(file, limit)?;
        let there = file.metadata()?.len() - marker_length(limit);
        Ok(Some(Cut { written: there + self.removed, kept: limit }))
    }

    /// Joins head, marker and tail.
    fn compact(&mut self, mut file: &File, limit: u64) -> io::Result<()> {
        let size = file.metadata()?.len();
        let (head, marker_length) = (head(limit), marker_length(limit));
        let body = head + marker_length;
        // Where the bytes begin that may be removed.
        let middle = if self.removed > 0 { body } else { head };
        let tail = limit - body;
        if size > limit {
            let from = size - tail;
            let end = copy_down(file, from, body)?;
            // What was appended since was not copied.
            let late = file.metadata()?.len().saturating_sub(end);
            file.set_len(body + (end - from))?;
            self.removed += from - middle + late;
            self.hole_end = 0;
        }
        if marker_length > 0 {
            file.write_all_at(&marker(self.removed), head)?;
        }
        file.flush()
    }
}

fn first_page(limit: u64) -> u64 {
    head(limit).next_multiple_of(PAGE)
}

/// Copies what begins at `from` to `to`, which lies before it, and tells where it ended.
fn copy_down(file: &File, from: u64, to: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    loop {
        match file.read_at(&mut buffer, from + done) {
            Ok(0) => return Ok(from + done),
            Ok(count) => {
                file.write_all_at(&buffer[..count], to + done)?;
                done += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

    use super::*;

    const LIMIT: u64 = 1 << 20;

    struct Scene {
        _folder: tempfile::TempDir,
        path: PathBuf,
        appender: File,
        file: File,
        written: Vec<u8>,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("stdout");
            let appender = File::options().create(true).append(true).open(&path).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            Self { _folder: folder, path, appender, file, written: Vec::new() }
        }

        fn append(&mut self, bytes: usize) {
            let begin = self.written.len();
            self.written.extend((begin..begin + bytes).map(|at| (at / 7 % 251) as u8));
            self.appender.write_all(&self.written[begin..]).unwrap();
        }

        fn on_disk(&self) -> u64 {
            self.file.metadata().unwrap().blocks() * 512
        }

        /// Checks head, marker and tail, and tells how long the tail is.
        fn check(&self, limit: u64) -> usize {
            let kept = fs::read(&self.path).unwrap();
            let head = head(limit) as usize;
            assert!(kept.len() as u64 <= limit, "{}", kept.len());
            assert_eq!(kept[..head], self.written[..head], "the head");
            let (marker, tail) = kept[head..].split_at(marker_length(limit) as usize);
            let missing = self.written.len() - head - tail.len();
            if !marker.is_empty() {
                let text = String::from_utf8(marker.to_vec()).unwrap();
                assert_eq!(text.split_whitespace().nth(1), Some(&*missing.to_string()));
            }
            assert_eq!(*tail, self.written[self.written.len() - tail.len()..], "the tail");
            tail.len()
        }
    }

    #[test]
    fn markers_have_one_length() {
        let text = |bytes| String::from_utf8(marker(bytes).to_vec()).unwrap();
        assert_eq!(text(0), "\n[marmoset:                    0 bytes were cut out here]\n");
        assert_eq!(text(1234), "\n[marmoset:                 1234 bytes were cut out here]\n");
        assert_eq!(text(u64::MAX), "\n[marmoset: 18446744073709551615 bytes were cut out here]\n");
    }

    #[test]
    fn what_fits_is_not_touched() {
        let mut scene = Scene::new();
        scene.append(LIMIT as usize);
        let mut trim = Trim::default();
        trim.trim(&scene.file, LIMIT).unwrap();
        assert_eq!(trim.finish(&scene.file, LIMIT).unwrap(), None);
        assert_eq!(fs::read(&scene.path).unwrap(), scene.written);
    }

    #[test]
    fn a_file_is_cut_to_the_byte() {
        for (bytes, limit) in [(LIMIT + 1, LIMIT), (9 * LIMIT + 77, LIMIT), (5000, 1024), (99, 10)]
        {
            let mut scene = Scene::new();
            scene.append(bytes as usize);
            let cut = Trim::default().finish(&scene.file, limit).unwrap();
            assert_eq!(cut, Some(Cut { written: bytes, kept: limit }));
            assert_eq!(scene.file.metadata().unwrap().len(), limit);
            scene.check(limit);
        }
    }

    #[test]
    fn the_disk_is_bounded_while_it_is_written() {
        let (mut scene, mut trim) = (Scene::new(), Trim::default());
        for _ in 0..60 {
            scene.append(700_001);
            trim.trim(&scene.file, LIMIT).unwrap();
            assert!(scene.on_disk() <= Trim::bound(LIMIT) + 2 * PAGE, "{}", scene.on_disk());
            let size = scene.file.metadata().unwrap().len();
            assert!(trim.used(size, LIMIT) <= Trim::bound(LIMIT) + 2 * PAGE);
        }
        let written = scene.written.len() as u64;
        let cut = trim.finish(&scene.file, LIMIT).unwrap();
        assert_eq!(cut, Some(Cut { written, kept: LIMIT }));
        assert_eq!(scene.check(LIMIT) as u64, LIMIT / 2 - MARKER);
    }

    #[test]
    fn without_holes_the_file_is_cut_off_and_goes_on() {
        let mut scene = Scene::new();
        let mut trim = Trim { no_holes: true, ..Trim::default() };
        for _ in 0..60 {
            scene.append(700_001);
            trim.trim(&scene.file, LIMIT).unwrap();
            assert!(scene.file.metadata().unwrap().len() <= Trim::bound(LIMIT));
        }
        // Less than the limit since the last time: the marker stays right.
        let written = scene.written.len() as u64;
        let cut = trim.finish(&scene.file, LIMIT).unwrap();
        assert_eq!(cut, Some(Cut { written, kept: LIMIT }));
        assert!(scene.check(LIMIT) as u64 >= LIMIT / 2 - MARKER);
    }

    #[test]
    fn a_program_may_empty_its_file() {
        let (mut scene, mut trim) = (Scene::new(), Trim::default());
        scene.append(9 << 20);
        trim.trim(&scene.file, LIMIT).unwrap();
        scene.file.set_len(0).unwrap();
        scene.written.clear();
        scene.append(1000);
        trim.trim(&scene.file, LIMIT).unwrap();
        assert_eq!(trim.finish(&scene.file, LIMIT).unwrap(), None);
        assert_eq!(fs::read(&scene.path).unwrap(), scene.written);
    }
}
