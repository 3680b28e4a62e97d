//! The cgroups of a worker's runs, used again and again.
//!
//! Owns which of them are free, what each is set to, and what its counters said before.
//! Refuses to wait and to start anything. Called by the worker.
//!
//! ```text
//!   take ──▶ made, or free and set anew ──▶ (a run is in it) ──▶ emptied? ── yes ──▶ free
//!                                                                   │ no: killed, asked again
//!                                                                   └────────────▶ emptied?
//! ```
//!
//! Making and removing a cgroup costs a multiple of entering one, and entering one is most
//! of what limits cost a short run: so with version 1 a run enters one for memory at once,
//! and one for CPU time only when it has run for [`CPU_DELAY`], if it ever does.

use std::{
    collections::HashMap,
    ffi::CString,
    fs::{self, File},
    io, mem,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Branch, Limits, PROCS, Place,
    handles::{Counter, Handles, Names},
    limits::CPU_PERIOD,
    members,
};
use crate::launcher::kill_process;

/// With version 1, shares of CPU time count from here on.
pub(crate) const CPU_DELAY: Duration = Duration::from_millis(100);

/// The file of a cgroup of version 1 for single threads. A thread that writes itself into it is moved
/// at once. A process that is written into the other file waits until no process anywhere is being
/// created or ending, which takes milliseconds on a machine that does little else.
const TASKS: &str = "tasks";

/// Free cgroups that are kept.
const FREE_MAX: usize = 256;

/// A cgroup is not used again if more than this part of its limit is taken by what earlier
/// runs have left: pages of files on a tmpfs stay counted as long as the files are there.
const LEFT_PART: u64 = 8;

/// How a process that is being created comes into its cgroup.
#[derive(Debug)]
pub(crate) enum Door {
    /// The kernel puts it there.
    Folder(OwnedFd),
    /// It writes itself into this file.
    Procs(CString),
    /// It writes itself into this file, which is open.
    Open(Arc<File>),
}

/// A run's cgroup.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    limits: Limits,
    /// What the counter of processes that were killed for want of memory said before.
    kills: u64,
    /// With version 1: whether the one for CPU time is there, and what it was set to.
    cpu: Option<Limits>,
    /// Of the one that its processes are listed in.
    handles: Option<Handles>,
}

/// A process was killed because its cgroup had no memory left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// What it was limited to, in bytes.
    pub limit: u64,
    /// The most that it had, in bytes.
    pub peak: u64,
}

fn door_by(file: PathBuf) -> io::Result<Door> {
    Ok(Door::Procs(CString::new(file.into_os_string().into_vec())?))
}

/// The cgroups of one worker.
#[derive(Debug)]
pub(crate) struct Pool {
    branch: Branch,
    worker: usize,
    made: u64,
    free: HashMap<Limits, Vec<Group>>,
    free_count: usize,
    /// The kernel may be asked to put processes into cgroups.
    direct: bool,
    open: Counter,
}

impl Pool {
    pub(crate) fn new(branch: Branch, worker: usize) -> Self {
        Self {
            branch,
            worker,
            made: 0,
            free: HashMap::new(),
            free_count: 0,
            direct: true,
            open: Counter::default(),
        }
    }

    /// Gives an empty cgroup with these limits.
    pub(crate) fn take(&mut self, limits: Limits) -> io::Result<Group> {
        if let Some(group) = self.free.get_mut(&limits).and_then(Vec::pop) {
            self.free_count -= 1;
            return Ok(group);
        }
        let other = self.free.values_mut().find_map(Vec::pop);
        if let Some(mut group) = other {
            self.free_count -= 1;
            match self.set(&mut group, limits) {
                Ok(()) => return Ok(group),
                // What earlier runs have read is still counted, and more than the limit.
                Err(_) => self.discard(&group),
            }
        }
        self.make(limits)
    }

    fn make(&mut self, limits: Limits) -> io::Result<Group> {
        let name = format!("{}.{}", self.worker, self.made);
        self.made += 1;
        let limits_before = Limits::default();
        let mut group = Group { name, limits: limits_before, kills: 0, cpu: None, handles: None };
        let folder = self.folder(&group);
        fs::create_dir(&folder)?;
        group.handles = Handles::open(&folder, self.names(), &self.open);
        if let Err(error) = self.set(&mut group, limits) {
            self.discard(&group);
            return Err(error);
        }
        Ok(group)
    }

    /// How a new process comes into the cgroup.
    pub(crate) fn door(&self, group: &Group) -> io::Result<Door> {
        if let Some(Handles { door: Some(door), .. }) = &group.handles {
            return Ok(Door::Open(Arc::clone(door)));
        }
        let folder = self.folder(group);
        match &self.branch.place {
            Place::V2(_) if self.direct => Ok(Door::Folder(File::open(folder)?.into())),
            Place::V1 { .. } => door_by(folder.join(TASKS)),
            Place::V2(_) => door_by(folder.join(PROCS)),
        }
    }

    /// Notes that the kernel, or whatever filters system calls here, does not do that.
    pub(crate) fn never_direct(&mut self) {
        self.direct = false;
    }

    /// Whether [`Self::share_cpu`] has something to do for a run in this cgroup.
    pub(crate) fn shares_cpu_later(&self, group: &Group) -> bool {
        let wanted = group.limits.cpu_shares.is_some() || group.limits.cpu_quota.is_some();
        match &self.branch.place {
            // Without one for memory it is in the one for CPU time from the start.
            Place::V1 { memory: Some(_), cpu: Some(_), .. } => wanted,
            Place::V1 { .. } | Place::V2(_) => false,
        }
    }

    /// Puts a run that lasts into a cgroup for CPU time as well.
    pub(crate) fn share_cpu(&self, group: &mut Group) -> io::Result<()> {
        let Place::V1 { memory: Some(memory), cpu: Some(cpu), .. } = &self.branch.place else {
            return Ok(());
        };
        let (memory, cpu) = (memory.join(&group.name), cpu.join(&group.name));
        if group.cpu.is_none() {
            fs::create_dir(&cpu)?;
        }
        if group.cpu != Some(group.limits) {
            set_cpu_v1(&cpu, group.limits)?;
            group.cpu = Some(group.limits);
        }
        // Whoever is born meanwhile, to a parent that was not moved yet, is found by another look.
        const ROUNDS: usize = 3;
        let mut moved = Vec::new();
        for _ in 0..ROUNDS {
            let pids = members(&memory)?;
            if pids.iter().all(|pid| moved.contains(pid)) {
                break;
            }
            for pid in &pids {
                let _ended = fs::write(cpu.join(PROCS), pid.to_string());
            }
            moved = pids;
        }
        Ok(())
    }

    /// All processes of a run.
    pub(crate) fn members(&self, group: &Group) -> Vec<i32> {
        members(&self.folder(group)).unwrap_or_default()
    }

    /// Kills all processes of a run, however fast they have children. What has not ended when
    /// this returns is about to.
    pub(crate) fn kill(&self, group: &Group) {
        const ROUNDS: usize = 5;
        let folder = self.folder(group);
        // Version 2, since Linux 5.14.
        if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for _ in 0..ROUNDS {
            let pids = self.members(group);
            if pids.is_empty() {
                return;
            }
            pids.into_iter().for_each(kill_process);
        }
        match &self.branch.place {
            Place::V1 { freezer: Some(freezer), .. } => {
                let _killed = self.kill_frozen(group, &freezer.join(&group.name));
            }
            Place::V1 { freezer: None, .. } | Place::V2(_) => {}
        }
    }

    /// Stops them first: who stands still has no children.
    fn kill_frozen(&self, group: &Group, freezer: &Path) -> io::Result<()> {
        const ROUNDS: usize = 50;
        match fs::create_dir(freezer) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let state = freezer.join("freezer.state");
        fs::write(&state, "FROZEN")?;
        let mut known = 0;
        for _ in 0..ROUNDS {
            let pids = self.members(group);
            for pid in &pids {
                let _ended = fs::write(freezer.join(PROCS), pid.to_string());
            }
            if pids.len() == known {
                break;
            }
            known = pids.len();
        }
        members(freezer)?.into_iter().for_each(kill_process);
        fs::write(&state, "THAWED")?;
        // Not before they have ended; the end of the tree removes it otherwise.
        let _in_use = fs::remove_dir(freezer);
        Ok(())
    }

    /// Tells whether processes were killed for want of memory since the last time.
    pub(crate) fn out_of_memory(&self, group: &mut Group) -> Option<OutOfMemory> {
        let limit = group.limits.memory?;
        let kills = self.kills(group)?;
        let before = mem::replace(&mut group.kills, kills);
        (kills > before).then(|| {
            let folder = self.folder(group);
            let peak = match &self.branch.place {
                Place::V1 { .. } => number(&folder.join("memory.max_usage_in_bytes")),
                // Since Linux 5.19.
                Place::V2(_) => number(&folder.join("memory.peak")),
            };
            OutOfMemory { limit, peak: peak.unwrap_or(limit).min(limit) }
        })
    }

    /// Takes a cgroup back, if no process is in it any more. `is_empty` says that this is known.
    pub(crate) fn give_back(&mut self, group: Group, is_empty: bool) -> Option<Group> {
        let empty = match &group.handles {
            _ if is_empty => Ok(true),
            Some(handles) => handles.is_empty(),
            None => members(&self.folder(&group)).map(|pids| pids.is_empty()),
        };
        match empty {
            Ok(false) => Some(group),
            Ok(true) if self.free_count < FREE_MAX && !self.is_burdened(&group) => {
                self.free_count += 1;
                self.free.entry(group.limits).or_default().push(group);
                None
            }
            Ok(true) | Err(_) => {
                self.discard(&group);
                None
            }
        }
    }

    /// Whether what earlier runs have left takes much of the limit.
    fn is_burdened(&self, group: &Group) -> bool {
        let left = || {
            let usage = match &group.handles {
                Some(handles) => handles.usage(),
                None => number(&self.folder(group).join(self.names().usage)),
            };
            usage.unwrap_or(0)
        };
        group.limits.memory.is_some_and(|limit| left() > limit / LEFT_PART)
    }

    /// Removes all of this worker's, in which nothing may be left, and the tree if nobody else
    /// has anything in it.
    pub(crate) fn close(self) {
        let prefix = format!("{}.", self.worker);
        for folder in self.branch.place.folders() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                    let _in_use = fs::remove_dir(entry.path());
                }
            }
        }
        self.branch.remove_empty();
    }

    fn set(&self, group: &mut Group, limits: Limits) -> io::Result<()> {
        let folder = self.folder(group);
        match &self.branch.place {
            Place::V1 { memory: Some(_), .. } => {
                if group.limits.memory != limits.memory {
                    let bytes = limits.memory.map_or("-1".to_owned(), |bytes| bytes.to_string());
                    write(&folder.join("memory.limit_in_bytes"), &bytes)?;
                }
            }
            Place::V1 { memory: None, .. } => set_cpu_v1(&folder, limits)?,
            Place::V2(_) => set_v2(&folder, group.limits, limits)?,
        }
        group.limits = limits;
        group.kills = self.kills(group).unwrap_or(0);
        Ok(())
    }

    /// How many processes were killed for want of memory, ever.
    fn kills(&self, group: &Group) -> Option<u64> {
        let text = match &group.handles {
            Some(handles) => handles.kills()?,
            None => fs::read_to_string(self.folder(group).join(self.names().kills?)).ok()?,
        };
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    /// Files of the cgroup that a run's processes are listed in.
    fn names(&self) -> Names {
        match &self.branch.place {
            Place::V1 { memory, .. } => Names {
                door: Some(TASKS),
                members: PROCS,
                kills: memory.is_some().then_some("memory.oom_control"),
                usage: "memory.usage_in_bytes",
            },
            Place::V2(_) => Names {
                door: None,
                members: PROCS,
                kills: Some("memory.events.local"),
                usage: "memory.current",
            },
        }
    }

    /// Where a run's processes are listed.
    fn folder(&self, group: &Group) -> PathBuf {
        match &self.branch.place {
            Place::V1 { memory: Some(folder), .. }
            | Place::V1 { memory: None, cpu: Some(folder), .. }
            | Place::V2(folder) => folder.join(&group.name),
            Place::V1 { memory: None, cpu: None, .. } => {
                unreachable!("a place of version 1 has one of the two")
            }
        }
    }

    fn discard(&self, group: &Group) {
        // What is not empty is removed with the tree.
        let _in_use = fs::remove_dir(self.folder(group));
        if let (Place::V1 { cpu: Some(cpu), .. }, Some(_)) = (&self.branch.place, &group.cpu) {
            let _in_use = fs::remove_dir(cpu.join(&group.name));
        }
    }
}

fn set_cpu_v1(folder: &Path, limits: Limits) -> io::Result<()> {
    const SHARES_DEFAULT: u64 = 1024;
    let shares = limits.cpu_shares.unwrap_or(SHARES_DEFAULT);
    write(&folder.join("cpu.shares"), &shares.to_string())?;
    let quota = limits.cpu_quota.map_or(-1, |quota| quota.as_micros() as i64);
    // A kernel without quotas has no such file, and no use for it when there is no quota.
    match write(&folder.join("cpu.cfs_quota_us"), &quota.to_string()) {
        Err(_) if limits.cpu_quota.is_none() => Ok(()),
        result => result,
    }
}

fn set_v2(folder: &Path, before: Limits, limits: Limits) -> io::Result<()> {
    let word = |value: Option<u64>| value.map_or("max".to_owned(), |value| value.to_string());
    if before.memory != limits.memory {
        write(&folder.join("memory.max"), &word(limits.memory))?;
        // All of a run or nothing of it.
        let _older = fs::write(folder.join("memory.oom.group"), "1");
    }
    if before.cpu_shares != limits.cpu_shares {
        const WEIGHT_DEFAULT: u64 = 100;
        let weight = limits.cpu_weight().unwrap_or(WEIGHT_DEFAULT);
        write(&folder.join("cpu.weight"), &weight.to_string())?;
    }
    if before.cpu_quota != limits.cpu_quota {
        let quota = word(limits.cpu_quota.map(|quota| quota.as_micros() as u64));
        write(&folder.join("cpu.max"), &format!("{quota} {}", CPU_PERIOD.as_micros()))?;
    }
    Ok(())
}

/// Writes to a file that the kernel made. One that is not there belongs to a controller that
/// was not handed down, which was said at the start.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = File::options().write(true).open(path);
    match file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
