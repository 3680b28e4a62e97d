//! The output files of one run, from its start to what becomes of them.
//!
//! Owns the looks at files that are written, and what is done with them at the
//! end: cut, packed, or left. Called by the worker that started the run.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Read as _},
    num::NonZeroU64,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
    time::{Duration, Instant},
};

use marmoset_proto::pack::{Content, Record, SMALL_MAX, Stream};
use nix::{
    fcntl::{AT_FDCWD, OFlag},
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{
    cut::{Cut, Trim},
    folder,
    packs::Packs,
    watch,
};

/// What becomes of the output files of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keeping {
    /// Most that is kept of each.
    pub limit: Option<NonZeroU64>,
    /// The folder is removed if nothing is in it: it was made for this run, whose output goes
    /// nowhere.
    pub remove_empty: bool,
    /// The pack that small ones go to, as the beginning of its path; the folder is
    /// removed if nothing else is in it.
    pub pack: Option<CString>,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Settled {
    pub(crate) stdout: Kept,
    pub(crate) stderr: Kept,
    pub(crate) folder_removed: bool,
}

/// What became of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    /// How much of it there is.
    pub(crate) bytes: u64,
    pub(crate) cut: Option<Cut>,
}

/// The files of a run that has a process.
#[derive(Debug)]
pub(crate) struct Files {
    keeping: Keeping,
    folder: CString,
    stdout: Option<Outlet>,
    stderr: Option<Outlet>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Outlet {
    path: CString,
    trim: Trim,
    /// At the last look.
    size: u64,
}

impl Files {
    /// Describes the files of a run; their paths begin at its working directory.
    pub(crate) fn new(
        cwd: CString,
        stdout: Option<CString>,
        stderr: Option<CString>,
        keeping: Keeping,
    ) -> Self {
        let outlet = |path| Outlet::new(path, &cwd);
        let (stdout, stderr) = (stdout.and_then(outlet), stderr.and_then(outlet));
        Self { keeping, folder: cwd, stdout, stderr, looked: None }
    }

    /// Whether there is something to bound.
    pub(crate) fn are_bounded(&self) -> bool {
        self.keeping.limit.is_some() && (self.stdout.is_some() || self.stderr.is_some())
    }

    /// Cuts what has grown too large, and tells when to look again.
    pub(crate) fn look(&mut self, now: Instant) -> Duration {
        let Some(limit) = self.keeping.limit.map(NonZeroU64::get) else { return Duration::MAX };
        // The first look comes soon after the start: it counts as the first pause.
        let elapsed = self.looked.map_or(Duration::from_millis(50), |looked| now - looked);
        self.looked = Some(now);
        let outlets = self.stdout.iter_mut().chain(&mut self.stderr);
        outlets.map(|outlet| outlet.look(limit, elapsed)).min().unwrap_or(Duration::MAX)
    }

    /// Does with the files of a run that has ended what was asked for.
    pub(crate) fn settle(mut self, packs: &mut Packs) -> Settled {
        let mut settled = Settled::default();
        let limit = self.keeping.limit.map_or(u64::MAX, NonZeroU64::get);
        for (outlet, kept) in
            [(&mut self.stdout, &mut settled.stdout), (&mut self.stderr, &mut settled.stderr)]
        {
            if let Some(outlet) = outlet {
                *kept = outlet.finish(limit);
            }
        }
        if self.keeping.remove_empty {
            let flags = UnlinkatFlags::RemoveDir;
            settled.folder_removed = unlinkat(AT_FDCWD, self.folder.as_c_str(), flags).is_ok();
        } else if let Some(prefix) = self.keeping.pack.take() {
            match self.pack(&prefix, packs) {
                Ok(removed) => settled.folder_removed = removed,
                Err(error) => packs.complain(&prefix, &error),
            }
        }
        settled
    }

    /// Moves small files to the pack, and tells whether nothing is left of the folder.
    fn pack(&self, prefix: &CStr, packs: &mut Packs) -> io::Result<bool> {
        let path = as_path(&self.folder);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(folder) = packs.open_task(path) else {
            // The program has done something to it that is its own affair.
            return Ok(false);
        };
        let mut records = Vec::new();
        let mut done = Vec::new();
        for (stream, outlet) in [(Stream::Stdout, &self.stdout), (Stream::Stderr, &self.stderr)] {
            let Some(file) = outlet.as_ref().and_then(|outlet| as_path(&outlet.path).file_name())
            else {
                continue;
            };
            let Ok(content) = read(&folder, Path::new(file)) else { continue };
            let content = match &content {
                Read::Small(bytes) => {
                    done.push(file);
                    Content::Bytes(bytes)
                }
                Read::Large(size) => Content::OwnFile { size: *size },
            };
            if content.size() > 0 {
                Record { task_id: &name, stream, content }.put(&mut records);
            }
        }
        if !records.is_empty() {
            packs.append(prefix, &records)?;
        }
        for file in done {
            unlinkat(&folder, file, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(packs.remove_folder(path))
    }
}

impl Outlet {
    fn new(path: CString, cwd: &CStr) -> Option<Self> {
        let path = if path.as_bytes().starts_with(b"/") {
            path
        } else {
            // Neither part has a NUL.
            CString::new([cwd.to_bytes(), path.as_bytes()].join(&b'/')).ok()?
        };
        Some(Self { path, trim: Trim::default(), size: 0 })
    }

    fn look(&mut self, limit: u64, elapsed: Duration) -> Duration {
        let size = folder::size(as_path(&self.path));
        let grown = size.saturating_sub(self.size);
        self.size = size;
        if self.trim.used(size, limit) > Trim::bound(limit)
            && let Ok(file) = open(as_path(&self.path))
        {
            // What cannot be cut now is looked at again.
            let _ = self.trim.trim(&file, limit);
        }
        let room = Trim::bound(limit).saturating_sub(self.trim.used(size, limit));
        watch::pause(elapsed, grown, room)
    }

    fn finish(&mut self, limit: u64) -> Kept {
        let path = as_path(&self.path);
        let bytes = folder::size(path);
        if bytes <= limit && self.trim == Trim::default() {
            return Kept { bytes, cut: None };
        }
        let cut = open(path).and_then(|file| self.trim.finish(&file, limit)).ok().flatten();
        Kept { bytes: folder::size(path), cut }
    }
}

enum Read {
    Small(Vec<u8>),
    Large(u64),
}

fn read(folder: &OwnedFd, name: &Path) -> io::Result<Read> {
    let file = folder::open_file(folder, name, OFlag::O_RDONLY)?;
    let size = file.metadata()?.len();
    if size > SMALL_MAX {
        return Ok(Read::Large(size));
    }
    let mut bytes = Vec::new();
    // A process that was left running may write to it still.
    file.take(SMALL_MAX).read_to_end(&mut bytes)?;
    Ok(Read::Small(bytes))
}

fn open(path: &Path) -> io::Result<File> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    folder::open_file(&folder::open_task(parent)?, Path::new(name), OFlag::O_RDWR)
}

fn as_path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}
