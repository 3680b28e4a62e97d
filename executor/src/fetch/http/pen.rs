//! Writes a file piece by piece, off the thread that reads sockets.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    mem,
};

use tokio_util::task::TaskTracker;

use crate::fetch::error::Problem;

/// Bytes that are gathered before a thread is asked to write them.
const BLOCK: usize = 256 << 10;

/// A file that is being filled.
pub(super) struct Pen {
    /// `None` while a thread has it; for ever if that thread was not waited for.
    file: Option<File>,
    gathered: Vec<u8>,
    written: u64,
    jobs: TaskTracker,
}

impl Pen {
    pub(super) fn new(file: File, jobs: TaskTracker) -> Self {
        Self { file: Some(file), gathered: Vec::new(), written: 0, jobs }
    }

    /// Adds a piece.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Problem> {
        self.gathered.extend_from_slice(piece);
        if self.gathered.len() < BLOCK { Ok(()) } else { self.flush().await }
    }

    /// Forgets everything that was written.
    pub(super) async fn erase(&mut self) -> Result<(), Problem> {
        self.gathered.clear();
        self.written = 0;
        self.with_file(|file| {
            file.set_len(0)?;
            file.rewind()
        })
        .await
    }

    /// Writes the rest; tells the length too.
    pub(super) async fn into_file(mut self) -> Result<(File, u64), Problem> {
        self.flush().await?;
        let file = self.file.take().ok_or_else(gone)?;
        Ok((file, self.written))
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let gathered = mem::take(&mut self.gathered);
        self.written += gathered.len() as u64;
        self.with_file(move |file| file.write_all(&gathered)).await
    }

    async fn with_file(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Problem> {
        let mut file = self.file.take().ok_or_else(gone)?;
        let job = self.jobs.spawn_blocking(move || work(&mut file).map(|()| file));
        let done = job.await.map_err(|error| Problem::Internal(error.to_string()))?;
        let file =
            done.map_err(|source| Problem::Write { what: "the download".to_owned(), source })?;
        self.file = Some(file);
        Ok(())
    }
}

fn gone() -> Problem {
    Problem::Internal("the file of a download was lost".to_owned())
}
