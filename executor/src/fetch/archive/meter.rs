//! Counts what is read, and stops when it is too much.
//!
//! Owns the protection against archives whose headers claim sizes: what a format's crate reads
//! into memory before it hands an entry out is bounded by the bytes it gets to read meanwhile.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};

use tokio_util::sync::CancellationToken;

use super::ArchiveError;
use crate::fetch::error::Problem;

/// What readers of one archive may still read.
pub(super) struct Gate {
    stop: CancellationToken,
    left: Cell<u64>,
    reading: Cell<Reading>,
    closed: Cell<Option<Closed>>,
    limit: u64,
}

#[derive(Clone, Copy)]
enum Reading {
    Headers,
    Contents,
}

#[derive(Clone, Copy)]
enum Closed {
    Stopped,
    Exhausted(Reading),
}

impl Gate {
    /// Lets `limit` bytes through.
    pub(super) fn new(stop: CancellationToken, limit: u64) -> Self {
        Self {
            stop,
            left: Cell::new(limit),
            reading: Cell::new(Reading::Contents),
            closed: Cell::new(None),
            limit,
        }
    }

    /// Lets no more than `limit` bytes through while `read` runs.
    pub(super) fn headers<T>(&self, limit: u64, read: impl FnOnce() -> T) -> T {
        let before = self.left.get();
        let limit = limit.min(before);
        self.left.set(limit);
        self.reading.set(Reading::Headers);
        let found = read();
        self.reading.set(Reading::Contents);
        self.left.set(before - (limit - self.left.get()));
        found
    }

    /// Tells why reading failed.
    pub(super) fn explain(&self, error: io::Error) -> Problem {
        match self.closed.get() {
            Some(Closed::Stopped) => Problem::Cancelled,
            Some(Closed::Exhausted(Reading::Headers)) => Problem::Archive(ArchiveError::Headers),
            Some(Closed::Exhausted(Reading::Contents)) => {
                Problem::Archive(ArchiveError::TooLarge { limit: self.limit })
            }
            None => Problem::Archive(ArchiveError::Damaged(error)),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.stop.is_cancelled() {
            self.closed.set(Some(Closed::Stopped));
        }
        match self.closed.get() {
            Some(_) => Err(io::Error::other("not read on")),
            None => Ok(()),
        }
    }

    fn count(&self, length: usize) -> io::Result<()> {
        match self.left.get().checked_sub(length as u64) {
            Some(left) => self.left.set(left),
            None => self.closed.set(Some(Closed::Exhausted(self.reading.get()))),
        }
        self.check()
    }
}

/// A reader behind a [`Gate`].
pub(super) struct Meter<R> {
    inner: R,
    gate: Rc<Gate>,
}

impl<R> Meter<R> {
    pub(super) fn new(inner: R, gate: Rc<Gate>) -> Self {
        Self { inner, gate }
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.gate.check()?;
        let length = self.inner.read(buffer)?;
        self.gate.count(length)?;
        Ok(length)
    }
}

impl<R: Seek> Seek for Meter<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
