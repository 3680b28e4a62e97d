//! The executor's side of the launcher.
//!
//! Owns the start of the guard, the choice of a worker for each run, and what is
//! on its way to the workers. Refuses to wait: requests are written at once, and
//! what a link does not take is left to its task. Called by the dispatcher.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{CString, OsString},
    io::{self, IoSlice},
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::SystemTime,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
    },
};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    LauncherEvent, Report, RunId, Signal, Spawn, Step, StrandId,
    link::{self, Link},
    supervise::{self, Supervision},
    sys,
    wire::{Hello, PACKET_MAX, Request, VERSION, Wire},
};
use crate::cgroup::{self, Tree};

/// More workers than this do not pay: each starts more than a thousand processes a second.
const WORKERS_DEFAULT_MAX: usize = 4;

/// Batches of reports that wait for the dispatcher. While they do, workers keep theirs.
const EVENTS_MAX: usize = 64;

/// How to start a launcher.
#[derive(Debug, Clone)]
pub struct LauncherConfig {
    /// The binary whose `main` calls [`main`](super::main).
    pub program: PathBuf,
    /// Its arguments, `launcher` for our own binaries.
    pub arguments: Vec<OsString>,
    /// How many processes start runs; by default one for each CPU, at most four.
    pub workers: Option<NonZeroUsize>,
    /// Name of the environment variable whose value differs for each run. By it a
    /// process is recognised that left the session of its run.
    pub mark: Option<CString>,
    /// How the variable of `mark` begins, name and `=` included, in every run of this executor
    /// and of no other. By it processes are recognised whose launcher is gone.
    pub family: Option<CString>,
    /// Where runs with [limits](Spawn::limits) get cgroups; without, limits are ignored.
    pub cgroups: Option<cgroup::Place>,
}

impl LauncherConfig {
    /// Describes a launcher with as many workers as pay.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments, workers: None, mark: None, family: None, cgroups: None }
    }

    /// How many workers pay on this machine.
    pub(super) fn workers_default() -> NonZeroUsize {
        let cpus = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        cpus.min(NonZeroUsize::MIN.saturating_add(WORKERS_DEFAULT_MAX - 1))
    }

    /// How many workers there will be.
    pub fn worker_count(&self) -> NonZeroUsize {
        let max = NonZeroUsize::MIN.saturating_add(sys::DESCRIPTORS_MAX - 2);
        self.workers.unwrap_or_else(Self::workers_default).min(max)
    }
}

/// A launcher that runs. Dropping it ends it, and everything it started.
#[derive(Debug)]
pub struct Launcher {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    guard: i32,
    _closing: DropGuard,
}

/// What the launcher and its tasks have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) links: Vec<Link>,
    state: Mutex<State>,
    /// There is something in `refused`.
    pub(super) refused_some: Notify,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<RunId, Place>,
    /// Where the runs of a strand are, and how many there are.
    strands: HashMap<StrandId, (usize, usize)>,
    /// For each worker the runs that it has not started yet.
    waiting: Vec<usize>,
    /// Reports about requests that were never sent. As many as the caller has made.
    refused: Vec<Report>,
}

/// Where a run is.
#[derive(Debug, Clone, Copy)]
struct Place {
    worker: usize,
    strand: Option<StrandId>,
    pid: Option<i32>,
}

/// Starts a launcher. Reports arrive in the channel that is returned.
///
/// # Errors
///
/// When the program cannot be executed or there are no descriptors left, and
/// outside of a tokio runtime.
pub fn start(config: LauncherConfig) -> io::Result<(Launcher, mpsc::Receiver<LauncherEvent>)> {
    let workers = config.worker_count();
    let tree = config.cgroups.as_ref().map(Tree::create).transpose()?;
    let cgroups = tree.as_ref().map(|tree| tree.branch().clone());
    let hello = Hello { version: VERSION, mark: config.mark, cgroups };
    let (control, guards_end) = pair(SockType::SeqPacket)?;
    let links = connect(&control, &hello, workers, tree.as_ref())?;

    // Without environment or working directory: each run brings its own.
    let guard = Command::new(&config.program)
        .args(&config.arguments)
        .env_clear()
        .stdin(Stdio::from(guards_end))
        .spawn()?;
    let pid = i32::try_from(guard.id()).map_err(io::Error::other)?;
    take_over(Guard { control, process: Some(guard), pid, tree, family: config.family }, links)
}

/// Employs a guard that has come from elsewhere, by the socket that it has connected to. `pid` is
/// only told.
///
/// # Errors
///
/// When there are no descriptors left, when it is gone, and outside of a tokio runtime.
pub(super) fn employ(
    control: OwnedFd,
    pid: i32,
    workers: NonZeroUsize,
    mark: Option<CString>,
) -> io::Result<(Launcher, mpsc::Receiver<LauncherEvent>)> {
    let links = connect(&control, &Hello { version: VERSION, mark, cgroups: None }, workers, None)?;
    take_over(Guard { control, process: None, pid, tree: None, family: None }, links)
}

/// A guard that was greeted.
struct Guard {
    control: OwnedFd,
    /// Absent where it is nobody's child.
    process: Option<Child>,
    pid: i32,
    tree: Option<Tree>,
    family: Option<CString>,
}

/// Greets a guard, and gives it a link for each of its workers. Yields our ends.
fn connect(
    control: &OwnedFd,
    hello: &Hello,
    workers: NonZeroUsize,
    tree: Option<&Tree>,
) -> io::Result<Vec<Link>> {
    let mut packet = Vec::new();
    hello.put(&mut packet);
    if packet.len() > PACKET_MAX {
        let what = "the name of the variable in `mark` is longer than a greeting may be";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let (links, workers_ends): (Vec<_>, Vec<_>) = (0..workers.get())
        .map(|_| pair(SockType::Stream))
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    greet(control, &packet, &workers_ends, tree)?;
    links.into_iter().map(Link::new).collect()
}

/// Starts the tasks around a guard.
fn take_over(
    guard: Guard,
    links: Vec<Link>,
) -> io::Result<(Launcher, mpsc::Receiver<LauncherEvent>)> {
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    let Guard { control, process, pid, tree, family } = guard;
    let control = sys::watched(control)?;
    let workers = links.len();
    let shared = Arc::new(Shared {
        links,
        state: Mutex::new(State { waiting: vec![0; workers], ..State::default() }),
        refused_some: Notify::new(),
    });
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let closing = CancellationToken::new();
    let tasks = TaskTracker::new();
    let link_tasks = TaskTracker::new();
    for index in 0..workers {
        let work = link::carry(Arc::clone(&shared), index, events.clone(), closing.clone());
        link_tasks.spawn_on(work, &runtime);
    }
    link_tasks.close();
    let supervision = Supervision {
        control,
        guard: process,
        shared: Arc::clone(&shared),
        tree,
        family,
        links: link_tasks,
        events,
        closing: closing.clone(),
    };
    tasks.spawn_on(supervise::supervise(supervision), &runtime);
    tasks.close();
    let launcher = Launcher { shared, tasks, guard: pid, _closing: closing.drop_guard() };
    Ok((launcher, receiver))
}

/// A pair of sockets, ours first, which does not block.
fn pair(kind: SockType) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
    // Of the open file, which each end has its own of.
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

fn greet(
    control: &OwnedFd,
    hello: &[u8],
    links: &[OwnedFd],
    tree: Option<&Tree>,
) -> io::Result<()> {
    let lock = tree.map(|tree| tree.lock().as_raw_fd());
    let links = links.iter().map(AsRawFd::as_raw_fd).chain(lock).collect::<Vec<RawFd>>();
    let attached = [ControlMessage::ScmRights(&links)];
    let socket = control.as_fd().as_raw_fd();
    sendmsg::<()>(socket, &[IoSlice::new(hello)], &attached, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

impl Launcher {
    /// Starts processes. Never blocks.
    ///
    /// What the launcher has not taken yet is kept: the caller bounds it by the
    /// number of runs that it has asked for and that have not started.
    pub fn spawn(&self, spawns: Vec<Spawn>) {
        let mut touched = vec![false; self.shared.links.len()];
        let mut state = self.shared.state();
        for spawn in spawns {
            let run = spawn.run;
            let strand = spawn.strand;
            let worker = state.worker_for(strand);
            let request = Request::Spawn(spawn);
            if self.shared.links[worker].push(&request).is_ok() {
                state.insert(run, Place { worker, strand, pid: None });
                touched[worker] = true;
            } else {
                let (errno, step, at) = (libc::E2BIG, Step::Request, SystemTime::now());
                state.refused.push(Report::SpawnFailed { run, errno, step, at });
                self.shared.refused_some.notify_one();
            }
        }
        drop(state);
        self.send(&touched);
    }

    /// Sends signals. Never blocks.
    pub fn signal(&self, signals: Vec<Signal>) {
        let mut touched = vec![false; self.shared.links.len()];
        let state = self.shared.state();
        for signal in signals {
            // Without a place it has ended.
            if let Some(Place { worker, .. }) = state.runs.get(&signal.run)
                && self.shared.links[*worker].push(&Request::Signal(signal)).is_ok()
            {
                touched[*worker] = true;
            }
        }
        drop(state);
        self.send(&touched);
    }

    /// Gives runs up that have not started: they are reported as returned. Never blocks.
    pub fn cancel(&self, runs: Vec<RunId>) {
        let mut touched = vec![false; self.shared.links.len()];
        let state = self.shared.state();
        for run in runs {
            if let Some(Place { worker, pid: None, .. }) = state.runs.get(&run)
                && self.shared.links[*worker].push(&Request::Cancel(run)).is_ok()
            {
                touched[*worker] = true;
            }
        }
        drop(state);
        self.send(&touched);
    }

    /// The first of the launcher's processes, which all others descend from.
    pub fn pid(&self) -> i32 {
        self.guard
    }

    /// Ends the launcher and everything it started, and waits until it has ended.
    pub async fn close(self) {
        let Self { shared: _, tasks, guard: _, _closing } = self;
        drop(_closing);
        tasks.wait().await;
    }

    fn send(&self, touched: &[bool]) {
        for (link, touched) in self.shared.links.iter().zip(touched) {
            if *touched {
                link.send();
            }
        }
    }
}

impl Shared {
    /// Poisoned only by a panic between two assignments, none of which can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps up with what is known of each run.
    pub(super) fn note(&self, reports: &[Report]) {
        let mut state = self.state();
        for report in reports {
            let run = report.run();
            match report {
                Report::Started { pid, .. } => {
                    if let Some(place) = state.runs.get_mut(&run) {
                        place.pid = Some(*pid);
                        let worker = place.worker;
                        state.waiting[worker] -= 1;
                    }
                }
                Report::SpawnFailed { .. } | Report::Returned { .. } => {
                    if let Some(place) = state.remove(run) {
                        state.waiting[place.worker] -= 1;
                    }
                }
                Report::Exited { .. } => {
                    state.remove(run);
                }
            }
        }
    }

    pub(super) fn take_refused(&self) -> Vec<Report> {
        std::mem::take(&mut self.state().refused)
    }

    /// The sessions of all runs that have started and, for all we know, not ended.
    pub(super) fn sessions(&self) -> BTreeSet<i32> {
        self.state().runs.values().filter_map(|place| place.pid).collect()
    }
}

impl State {
    fn insert(&mut self, run: RunId, place: Place) {
        self.waiting[place.worker] += 1;
        if let Some(strand) = place.strand {
            self.strands.entry(strand).or_insert((place.worker, 0)).1 += 1;
        }
        self.runs.insert(run, place);
    }

    fn remove(&mut self, run: RunId) -> Option<Place> {
        let place = self.runs.remove(&run)?;
        if let Some(strand) = place.strand
            && let Some((_, count)) = self.strands.get_mut(&strand)
        {
            *count -= 1;
            if *count == 0 {
                self.strands.remove(&strand);
            }
        }
        Some(place)
    }

    /// Runs of one strand have one worker.
    fn worker_for(&self, strand: Option<StrandId>) -> usize {
        let known = strand.and_then(|strand| self.strands.get(&strand));
        known.map_or_else(|| self.least_busy(), |(worker, _)| *worker)
    }

    fn least_busy(&self) -> usize {
        let least = self.waiting.iter().enumerate().min_by_key(|(_, waiting)| **waiting);
        // There is at least one worker.
        least.map_or(0, |(worker, _)| worker)
    }
}
