//! Where this process is in the hierarchies of cgroups, and whether more can be made there.
//!
//! Owns the reading of `/proc/self/cgroup` and `/proc/self/mountinfo`, and what version 2
//! wants before it limits anything: that a cgroup with others below it has no processes of
//! its own. Called once, when the executor starts.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process,
};

use super::{PROCS, members};

/// Where everybody of the executor's cgroup goes with version 2, so that it can have others.
const LEAF: &str = "marmoset-leaf";

/// Folders in which a launcher may make its tree: the executor's own cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Version 1: one folder for each controller that is there. `memory` or `cpu` is.
    V1 {
        /// Limits memory.
        memory: Option<PathBuf>,
        /// Shares out CPU time.
        cpu: Option<PathBuf>,
        /// Stops processes, so that they can be killed one after the other.
        freezer: Option<PathBuf>,
    },
    /// Version 2.
    V2(PathBuf),
}

/// Why no cgroup can be made. The text names what would help.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    /// There is no `/proc`.
    #[error("cannot read `{0}`: {1}")]
    Unreadable(&'static str, #[source] io::Error),
    /// Nothing to make one in.
    #[error(
        "no cgroup hierarchy with `memory` or `cpu` is mounted here: mount /sys/fs/cgroup into \
         the executor's container"
    )]
    NotMounted,
    /// Read-only, or another user's.
    #[error(
        "`{}` cannot be written: {source}; run the executor as root with /sys/fs/cgroup mounted \
         for writing, or delegate its cgroup to its user", .folder.display()
    )]
    NotWritable {
        /// Where one was to be made.
        folder: PathBuf,
        /// Why that failed.
        source: io::Error,
    },
    /// Strangers are in it.
    #[error(
        "the executor's cgroup `{}` has other processes, and with cgroup version 2 it must have \
         none to limit others below it: start the executor in a cgroup of its own", .0.display()
    )]
    NotAlone(PathBuf),
}

impl Place {
    /// Looks where this process is, and makes the place ready.
    ///
    /// # Errors
    ///
    /// When no cgroup can be made there.
    pub fn find() -> Result<Self, NoPlace> {
        let read =
            |path| fs::read_to_string(path).map_err(|error| NoPlace::Unreadable(path, error));
        let found = Self::read(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
        let place = match found.ok_or(NoPlace::NotMounted)? {
            v1 @ Self::V1 { .. } => v1.writable()?,
            Self::V2(own) => Self::V2(make_room(&own)?),
        };
        Ok(place)
    }

    /// All its folders; the first one is that of which a lock is held.
    pub(super) fn folders(&self) -> Vec<&Path> {
        match self {
            Self::V1 { memory, cpu, freezer } => {
                [memory, cpu, freezer].into_iter().flatten().map(PathBuf::as_path).collect()
            }
            Self::V2(folder) => vec![folder],
        }
    }

    fn read(cgroup: &str, mountinfo: &str) -> Option<Self> {
        let mounts = mountinfo.lines().filter_map(Mount::read).collect::<Vec<_>>();
        let v1 = |controller: &str| {
            let path = cgroup.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|name| name == controller).then_some(path)
            })?;
            let is_its = |mount: &&Mount<'_>| {
                mount.kind == "cgroup"
                    && mount.options.split(',').any(|option| option == controller)
            };
            mounts.iter().find(is_its)?.folder(path)
        };
        let (memory, cpu) = (v1("memory"), v1("cpu"));
        if memory.is_some() || cpu.is_some() {
            return Some(Self::V1 { memory, cpu, freezer: v1("freezer") });
        }
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
        mounts.iter().find(|mount| mount.kind == "cgroup2")?.folder(path).map(Self::V2)
    }

    /// Leaves out what cannot be written, if anything is left then.
    fn writable(self) -> Result<Self, NoPlace> {
        let Self::V1 { memory, cpu, freezer } = self else { return Ok(self) };
        let mut refusal = None;
        let mut keep = |folder: Option<PathBuf>| {
            let folder = folder?;
            match try_folder(&folder) {
                Ok(()) => Some(folder),
                Err(error) => {
                    refusal.get_or_insert(NoPlace::NotWritable { folder, source: error });
                    None
                }
            }
        };
        let (memory, cpu) = (keep(memory), keep(cpu));
        match (memory.is_some() || cpu.is_some(), refusal) {
            (true, _) => {
                let freezer = freezer.filter(|folder| try_folder(folder).is_ok());
                Ok(Self::V1 { memory, cpu, freezer })
            }
            (false, Some(refusal)) => Err(refusal),
            (false, None) => Err(NoPlace::NotMounted),
        }
    }
}

/// A line of `/proc/self/mountinfo`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (own, of_super) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(3);
        let (root, point) = (own.next()?, own.next()?);
        let mut of_super = of_super.split(' ');
        let (kind, options) = (of_super.next()?, of_super.nth(1)?);
        Some(Self { root, point, kind, options })
    }

    /// Where a path of `/proc/self/cgroup` is to be found. None if it is outside of what is
    /// mounted.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        let inside = Path::new(path).strip_prefix(self.root).ok()?;
        if inside.components().any(|part| part.as_os_str() == "..") {
            return None;
        }
        Some(Path::new(self.point).join(inside))
    }
}

/// Tells whether a cgroup can be made in a folder.
fn try_folder(folder: &Path) -> io::Result<()> {
    let attempt = folder.join(format!("marmoset-probe-{}", process::id()));
    fs::create_dir(&attempt)?;
    fs::remove_dir(attempt)
}

/// Makes a cgroup of version 2 one that may limit others below it.
fn make_room(own: &Path) -> Result<PathBuf, NoPlace> {
    // Another executor was here first, and our parent went there with everybody else.
    if own.file_name().is_some_and(|name| name == LEAF)
        && let Some(parent) = own.parent()
    {
        return enable(parent).map(|()| parent.to_owned());
    }
    let refused = |error: io::Error| NoPlace::NotWritable { folder: own.to_owned(), source: error };
    // Only the root of all has no type, and the root may have processes.
    if own.join("cgroup.type").exists() {
        try_folder(own).map_err(refused)?;
        let leaf = own.join(LEAF);
        let inhabitants = members(own).map_err(refused)?;
        if !inhabitants.iter().all(|pid| relatives().contains(pid)) {
            return Err(NoPlace::NotAlone(own.to_owned()));
        }
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused(error));
            }
            Ok(()) | Err(_) => {}
        }
        for pid in inhabitants {
            match fs::write(leaf.join(PROCS), pid.to_string()) {
                // It has ended.
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                    return Err(refused(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
    enable(own).map(|()| own.to_owned())
}

/// Hands the controllers down that there are. One of them must be.
fn enable(folder: &Path) -> Result<(), NoPlace> {
    let control = folder.join("cgroup.subtree_control");
    let mut last = None;
    for controller in ["+memory", "+cpu"] {
        last = fs::write(&control, controller).err().or(last);
    }
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    if enabled.split_ascii_whitespace().any(|name| name == "memory" || name == "cpu") {
        return Ok(());
    }
    Err(last.map_or(NoPlace::NotMounted, |source| NoPlace::NotWritable { folder: control, source }))
}

/// This process and those that it descends from.
fn relatives() -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut next = i32::try_from(process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0 && found.insert(*pid)) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        next = fields.split_ascii_whitespace().nth(1).and_then(|parent| parent.parse().ok());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "32 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        33 32 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
        36 32 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        37 32 0:34 / /sys/fs/cgroup/freezer rw shared:7 - cgroup cgroup rw,freezer\n\
        41 32 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_1_is_found_controller_by_controller() {
        let own = "8:freezer:/mesos/c1\n4:memory:/mesos/c1\n2:cpu,cpuacct:/\n0::/system.slice\n";
        let expected = Place::V1 {
            memory: Some("/sys/fs/cgroup/memory/mesos/c1".into()),
            cpu: Some("/sys/fs/cgroup/cpu,cpuacct".into()),
            freezer: Some("/sys/fs/cgroup/freezer/mesos/c1".into()),
        };
        assert_eq!(Place::read(own, V1), Some(expected));
        // `cpuset` is not `cpu`.
        assert_eq!(
            Place::read("1:cpuset:/\n0::/a\n", V1),
            Some(Place::V2("/sys/fs/cgroup/unified/a".into()))
        );
    }

    #[test]
    fn a_container_sees_its_own_part() {
        let mounts = "36 32 0:33 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let place = Place::read("4:memory:/docker/abc\n", mounts);
        let memory = Some("/sys/fs/cgroup/memory/".into());
        assert_eq!(place, Some(Place::V1 { memory, cpu: None, freezer: None }));
        // Somewhere else, or above what is mounted.
        assert_eq!(Place::read("4:memory:/other\n", mounts), None);
        assert_eq!(Place::read("4:memory:/docker/abc/../x\n", mounts), None);
    }

    #[test]
    fn version_2_is_one_folder() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let place = Place::read("0::/system.slice/agent.service\n", mounts);
        let own = "/sys/fs/cgroup/system.slice/agent.service".into();
        assert_eq!(place, Some(Place::V2(own)));
        assert_eq!(Place::read("0::/\n", "broken\n"), None);
        assert_eq!(Place::read("", mounts), None);
    }

    #[test]
    fn what_cannot_be_written_is_named_with_what_helps() {
        let memory = Some(PathBuf::from("/proc/self"));
        let error = Place::V1 { memory, cpu: None, freezer: None }.writable().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("`/proc/self` cannot be written: "), "{text}");
        assert!(text.contains("mounted for writing"), "{text}");
    }

    #[test]
    fn relatives_are_us_and_those_before_us() {
        let relatives = relatives();
        assert!(relatives.contains(&(process::id() as i32)));
        assert!(relatives.contains(&nix::unistd::getppid().as_raw()));
    }
}
