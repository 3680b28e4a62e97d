//! The files of a cgroup that every run needs, kept open.
//!
//! Owns their descriptors, and how many there may be. To open a file of a cgroup costs
//! several times what reading it costs. Called by the pool.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::Path,
    sync::Arc,
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

/// Cgroups of one worker whose files are kept open. The others are as good, and slower.
const OPEN_MAX: usize = 32;

/// More than the files have that are read here.
const TEXT_MAX: usize = 512;

/// Names of the files of one version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// What a process writes itself into, if it does.
    pub(super) door: Option<&'static str>,
    /// Lists the processes.
    pub(super) members: &'static str,
    /// Has a line `oom_kill`.
    pub(super) kills: Option<&'static str>,
    /// Memory that is taken, in bytes.
    pub(super) usage: &'static str,
}

/// Open files of one cgroup.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) door: Option<Arc<File>>,
    /// The cgroup itself. The list of its processes is opened anew for each look: with version 1 one
    /// that is open goes on to show what it has shown, for up to a second.
    folder: OwnedFd,
    members: &'static str,
    kills: Option<File>,
    usage: Option<File>,
    _counted: Arc<()>,
}

/// Counts those that are open.
#[derive(Debug, Default)]
pub(super) struct Counter(Arc<()>);

impl Handles {
    /// Opens the files, if there are not too many.
    pub(super) fn open(folder: &Path, names: Names, counter: &Counter) -> Option<Self> {
        let counted = Arc::clone(&counter.0);
        // The counter itself has one, we have another.
        if Arc::strong_count(&counted) > OPEN_MAX + 1 {
            return None;
        }
        let writable = |name| File::options().write(true).open(folder.join(name));
        // A controller that was not handed down has no files.
        let readable = |name| match File::open(folder.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Some(Self {
            door: names.door.map(writable).transpose().ok()?.map(Arc::new),
            folder: File::open(folder).ok()?.into(),
            members: names.members,
            kills: names.kills.map(readable).transpose().ok()?.flatten(),
            usage: readable(names.usage).ok()?,
            _counted: counted,
        })
    }

    /// Whether a process is there.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let list = File::from(openat(&self.folder, self.members, flags, Mode::empty())?);
        Ok(list.read_at(&mut [0; 1], 0)? == 0)
    }

    pub(super) fn kills(&self) -> Option<String> {
        read(self.kills.as_ref()?)
    }

    pub(super) fn usage(&self) -> Option<u64> {
        read(self.usage.as_ref()?)?.trim().parse().ok()
    }
}

fn read(file: &File) -> Option<String> {
    let mut text = [0; TEXT_MAX];
    let length = file.read_at(&mut text, 0).ok()?;
    Some(String::from_utf8_lossy(&text[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NAMES: Names =
        Names { door: Some("tasks"), members: "procs", kills: Some("oom"), usage: "usage" };

    #[test]
    fn what_is_open_shows_what_is_new_and_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let counter = Counter::default();
        assert!(Handles::open(folder.path(), NAMES, &counter).is_none(), "no files");
        for (name, text) in [("tasks", ""), ("procs", ""), ("usage", "12\n")] {
            write(name, text);
        }
        let open = || Handles::open(folder.path(), NAMES, &counter);
        let first = open().unwrap();
        assert_eq!((first.kills(), first.usage()), (None, Some(12)));
        assert!(first.is_empty().unwrap());
        write("procs", "77\n");
        write("usage", "4096\n");
        assert!(!first.is_empty().unwrap());
        assert_eq!(first.usage(), Some(4096));
        write("oom", "oom_kill 3\n");
        let more = (1..OPEN_MAX).map(|_| open().unwrap()).collect::<Vec<_>>();
        assert_eq!(more[0].kills().as_deref(), Some("oom_kill 3\n"));
        assert!(open().is_none());
        drop(first);
        assert!(open().is_some());
    }
}
