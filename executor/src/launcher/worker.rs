//! A worker: starts, reaps, signals, reports.
//!
//! Owns the processes of its link. Refuses to judge: it does what it is told in
//! the order it is told, and reports what it sees. Forked by the guard.
//!
//! One thread and no locks: a pid that is in the table is not reaped, so a
//! signal never hits a stranger.
//!
//! ```text
//!    others of its strand
//!   Spawn ──▶ behind            ┌────── transient failure, at most RETRIES times ───┐
//!     │         │ they ended    ▼                                                   │
//!     └─────────┴───────────▶ queued ──── start ──▶ live ──── reaped ──▶ Exited   later
//!                               │                  (Started)                        ▲
//!                               └──── start fails ──▶ SpawnFailed                   │
//!                                                 └─────────────────────────────────┘
//! ```
//!
//! Cancel makes `Returned` of what has no process.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        signalfd::SignalFd,
        socket::{MsgFlags, recv, send},
        time::TimeSpec,
    },
    unistd,
};

use super::{
    Kept, Report, RunId, Scope, Signal, Spawn, StrandId,
    birth::{Birthplace, Failure},
    groups::Groups,
    leftovers::Leftovers,
    live::{Live, Mark, Run},
    processes::{self, Processes},
    strands::Strands,
    sys::{self, Reaped},
    wire::{Inbox, Outbox, Request, WireError},
};
use crate::{
    cgroup::Pool,
    output::{Packs, Settled, Watch, Watched},
    slice,
};

/// Delay before the first of the retries; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(5);

/// How often a transient failure is met with another try: for about 0.3 s in all.
const RETRIES: u32 = 6;

/// How long a report may wait for company while there is something to start, and
/// that of a start for the report of its end while there are many short runs.
///
/// Each delivery wakes the executor, which costs more than all else it does for a run.
const REPORT_DELAY: Duration = Duration::from_millis(1);

/// How long reports may wait while every strand that has one goes on without the executor.
const FED_DELAY: Duration = Duration::from_millis(12);

/// There are many short runs if this many have ended within [`RECENT`].
const MANY: usize = 4;

/// What counts as a moment.
const RECENT: Duration = Duration::from_millis(10);

/// How often the members of a session are looked for when they are killed: they may
/// have children faster than one look takes.
const KILL_ROUNDS: usize = 5;

/// Why a worker ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    /// The executor has closed the link, or is no more.
    #[error("the link was closed")]
    LinkClosed,
    /// The guard is no more.
    #[error("the guard ended")]
    GuardGone,
    /// The executor has sent something that cannot be read.
    #[error("a request was refused: {0}")]
    Refused(#[from] WireError),
    /// The system has failed us.
    #[error("waiting for requests failed: {0}")]
    System(Errno),
}

/// What a worker is given.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) link: OwnedFd,
    /// Reads SIGCHLD, and SIGTERM for the end of the guard. All signals are blocked.
    pub(super) signals: SignalFd,
    pub(super) guard: i32,
    pub(super) mark: Option<CString>,
    pub(super) pool: Option<Pool>,
}

/// Works until there is a reason to end, and leaves no process behind.
pub(super) fn run(setup: Setup) -> io::Result<End> {
    slice::shorten();
    let mut worker = Worker {
        link: setup.link,
        signals: setup.signals,
        guard: setup.guard,
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        blocked: false,
        unsent_since: None,
        haste: Haste::default(),
        ends: VecDeque::with_capacity(MANY),
        behind: Strands::default(),
        queue: VecDeque::new(),
        later: VecDeque::new(),
        live: Live::default(),
        birthplace: Birthplace::new()?,
        leftovers: Leftovers::new(Mark::new(setup.mark)),
        watch: Watch::default(),
        packs: Packs::default(),
        groups: Groups::new(setup.pool),
        scratch: vec![0; 64 << 10].into_boxed_slice(),
    };
    let end = loop {
        if let Err(end) = worker.turn() {
            break end;
        }
    };
    processes::exterminate(worker.live.pids(), &[]);
    worker.groups.close();
    Ok(end)
}

#[derive(Debug)]
struct Worker {
    link: OwnedFd,
    signals: SignalFd,
    guard: i32,
    inbox: Inbox,
    /// Holds at most two reports of each run that was asked for.
    outbox: Outbox,
    /// The link takes no more for now.
    blocked: bool,
    unsent_since: Option<Instant>,
    /// Of what is unsent.
    haste: Haste,
    /// When the last of the runs have ended, at most [`MANY`].
    ends: VecDeque<Instant>,
    /// Those that wait for others of their strand.
    behind: Strands<Queued>,
    queue: VecDeque<Queued>,
    later: VecDeque<(Instant, Queued)>,
    live: Live,
    birthplace: Birthplace,
    leftovers: Leftovers,
    /// Runs whose output must not grow too large.
    watch: Watch,
    packs: Packs,
    groups: Groups,
    scratch: Box<[u8]>,
}

/// How much the executor waits for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Haste {
    /// Not at all: there are others in the strand.
    #[default]
    None,
    /// It is told that something runs.
    Start,
    /// It may have something for the place that is free now.
    End,
}

/// A run that has no process yet.
#[derive(Debug)]
struct Queued {
    spawn: Spawn,
    failures: u32,
    /// To be delivered as soon as there is somebody.
    signals: Vec<Signal>,
}

impl Worker {
    /// Sees what there is to do, and starts at most one process.
    fn turn(&mut self) -> Result<(), End> {
        let ready = self.poll()?;
        if ready.signals {
            self.read_signals()?;
            self.reap();
        }
        if ready.link {
            self.read_link()?;
        }
        let now = Instant::now();
        while self.later.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, queued)) = self.later.pop_front()
        {
            self.queue.push_back(queued);
        }
        if let Some(queued) = self.queue.pop_front() {
            self.start(queued);
        }
        self.leftovers.look(&self.live, now);
        self.look_at_output(now);
        self.groups.look(&mut self.live, now);
        let due = self.flush_at().is_some_and(|at| at <= Instant::now());
        if due && (!self.blocked || ready.writable) {
            self.flush();
        }
        Ok(())
    }

    /// When the reports are to be sent.
    fn flush_at(&self) -> Option<Instant> {
        let since = self.unsent_since?;
        let busy =
            self.ends.len() == MANY && self.ends.front().is_some_and(|end| end.elapsed() < RECENT);
        Some(match self.haste {
            Haste::None => since + FED_DELAY,
            Haste::Start if busy || !self.queue.is_empty() => since + REPORT_DELAY,
            Haste::End if !self.queue.is_empty() => since + REPORT_DELAY,
            Haste::Start | Haste::End => since,
        })
    }

    fn poll(&self) -> Result<Ready, End> {
        let mut interest = PollFlags::POLLIN;
        interest.set(PollFlags::POLLOUT, self.blocked);
        let mut descriptors = [
            PollFd::new(self.link.as_fd(), interest),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut descriptors, self.timeout(), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(End::System(errno)),
        }
        let [link, signals] =
            descriptors.map(|descriptor| descriptor.revents().unwrap_or(PollFlags::empty()));
        Ok(Ready {
            link: link.intersects(!PollFlags::POLLOUT),
            writable: link.intersects(PollFlags::POLLOUT),
            signals: !signals.is_empty(),
        })
    }

    /// How long nothing is to be done unless something happens.
    fn timeout(&self) -> Option<TimeSpec> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO.into());
        }
        let retry = self.later.front().map(|(at, _)| *at);
        // A link that takes nothing says when it does.
        let flush = if self.blocked { None } else { self.flush_at() };
        let next = [retry, flush, self.leftovers.due(), self.watch.due(), self.groups.due()];
        let next = next.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()).into())
    }

    fn read_signals(&mut self) -> Result<(), End> {
        // If there is another one, the next look says so.
        let signal = self.signals.read_signal().ok().flatten();
        let is_term = signal.is_some_and(|signal| signal.ssi_signo == libc::SIGTERM as u32);
        // A SIGTERM from anybody else is none of our business.
        if is_term && unistd::getppid().as_raw() != self.guard {
            return Err(End::GuardGone);
        }
        Ok(())
    }

    fn read_link(&mut self) -> Result<(), End> {
        let count = match recv(self.link.as_raw_fd(), &mut self.scratch, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET) => {
                self.inbox.is_clean()?;
                return Err(End::LinkClosed);
            }
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(End::System(errno)),
        };
        self.inbox.push(&self.scratch[..count]);
        let mut requests = Vec::new();
        while self.inbox.next(&mut requests)? {}
        let mut signals = Vec::new();
        for request in requests {
            match request {
                Request::Spawn(spawn) => {
                    let strand = spawn.strand;
                    let queued = Queued { spawn, failures: 0, signals: Vec::new() };
                    self.queue.extend(self.behind.enter(strand, queued));
                }
                Request::Signal(signal) => signals.push(signal),
                Request::Cancel(run) => self.cancel(run),
            }
        }
        self.signal(signals);
        Ok(())
    }

    fn start(&mut self, queued: Queued) {
        match self.groups.start(&mut self.birthplace, &queued.spawn) {
            Ok((pid, group)) => {
                let run = Run::new(queued.spawn, self.leftovers.mark(), group);
                let fed = self.behind.has_more(run.strand);
                let haste = if fed { Haste::None } else { Haste::Start };
                self.report(&Report::Started { run: run.id, pid, at: SystemTime::now() }, haste);
                if run.files.are_bounded() {
                    self.watch.add(Instant::now(), Watched { pid, run: run.id });
                }
                self.live.insert(pid, run);
                self.signal(queued.signals);
            }
            Err(failure) if failure.is_transient() && queued.failures < RETRIES => {
                let at = Instant::now() + RETRY_FIRST * 2_u32.pow(queued.failures);
                let queued = Queued { failures: queued.failures + 1, ..queued };
                let position = self.later.partition_point(|(other, _)| *other <= at);
                self.later.insert(position, (at, queued));
            }
            Err(Failure { step, errno }) => {
                let Spawn { run, strand, .. } = queued.spawn;
                let haste = self.leave(strand);
                let at = SystemTime::now();
                self.report(&Report::SpawnFailed { run, errno, step, at }, haste);
            }
        }
    }

    /// The place of a run in its strand is free: the next one may have it. Tells how much the
    /// executor waits for that.
    fn leave(&mut self, strand: Option<StrandId>) -> Haste {
        self.queue.extend(self.behind.leave(strand));
        if self.behind.has_more(strand) { Haste::None } else { Haste::End }
    }

    /// Gives a run up that has no process.
    fn cancel(&mut self, run: RunId) {
        let is = |queued: &Queued| queued.spawn.run == run;
        if self.behind.take(is).is_none() {
            let queue = self.queue.iter().position(is).and_then(|at| self.queue.remove(at));
            let later = || {
                let at = self.later.iter().position(|(_, queued)| is(queued))?;
                self.later.remove(at).map(|(_, queued)| queued)
            };
            // Otherwise it runs, or has ended: that is told.
            let Some(queued) = queue.or_else(later) else { return };
            self.leave(queued.spawn.strand);
        }
        self.report(&Report::Returned { run }, Haste::End);
    }

    fn reap(&mut self) {
        let mut ended = Vec::new();
        let nobody_left = loop {
            match sys::wait(-1, libc::WNOHANG) {
                Reaped::Child { pid, wait_status, usage } => ended.push((pid, wait_status, usage)),
                Reaped::Pending => break false,
                // Whoever descends from us would be our child by now: we are its subreaper.
                Reaped::NoChildren => break true,
            }
        };
        for (pid, wait_status, usage) in ended {
            let Some(mut run) = self.live.remove(pid) else {
                self.leftovers.orphan_ended(pid);
                continue;
            };
            // The number of a group is not given away while the group has members,
            // nor, in this moment, when it has none: numbers are handed out in turn.
            if !nobody_left {
                sys::kill(-pid, libc::SIGKILL);
            }
            let now = Instant::now();
            if self.ends.len() == MANY {
                self.ends.pop_front();
            }
            self.ends.push_back(now);
            self.leftovers.run_ended(pid, now);
            let (run_id, strand) = (run.id, run.strand);
            let out_of_memory = self.groups.ended(&mut run, nobody_left);
            let Settled { stdout, stderr, folder_removed } = run.files.settle(&mut self.packs);
            let haste = self.leave(strand);
            let report = Report::Exited {
                run: run_id,
                wait_status,
                at: SystemTime::now(),
                usage,
                stdout_bytes: stdout.bytes,
                stderr_bytes: stderr.bytes,
                kept: Kept { stdout_cut: stdout.cut, stderr_cut: stderr.cut, folder_removed },
                out_of_memory,
            };
            self.report(&report, haste);
        }
    }

    /// Cuts the output of runs that write much.
    fn look_at_output(&mut self, now: Instant) {
        let live = &self.live;
        self.watch.forget_ended(|watched| live.is(watched.pid, watched.run));
        while let Some(watched) = self.watch.next(now) {
            if let Some(run) = self.live.get_mut(watched.pid).filter(|run| run.id == watched.run) {
                let pause = run.files.look(now);
                self.watch.again(now, watched, pause);
            }
        }
    }

    fn signal(&mut self, signals: Vec<Signal>) {
        // One look at the machine for all of them, by the signal that they are to get.
        let mut sessions = BTreeMap::<i32, BTreeSet<i32>>::new();
        for signal in signals {
            let Some(leader) = self.live.pid(signal.run) else {
                if let Some(queued) = self.queued(signal.run) {
                    queued.signals.push(signal);
                }
                continue;
            };
            sys::kill(-leader, signal.signal);
            match signal.scope {
                Scope::Group => {}
                Scope::Session if self.groups.signal(&self.live, leader, signal.signal) => {}
                Scope::Session => {
                    sessions.entry(signal.signal).or_default().insert(leader);
                }
            }
        }
        for (signal, leaders) in sessions {
            let rounds = if signal == libc::SIGKILL { KILL_ROUNDS } else { 1 };
            for _ in 0..rounds {
                let Ok(processes) = Processes::scan() else { break };
                let members = self.leftovers.members(&processes, &self.live, &leaders);
                let pids = members.into_values().flatten().collect::<BTreeSet<_>>();
                if pids.is_empty() {
                    break;
                }
                for pid in pids {
                    sys::kill(pid, signal);
                }
            }
        }
    }

    fn queued(&mut self, run: RunId) -> Option<&mut Queued> {
        self.queue
            .iter_mut()
            .chain(self.later.iter_mut().map(|(_, queued)| queued))
            .find(|queued| queued.spawn.run == run)
            .or_else(|| self.behind.find(|queued| queued.spawn.run == run))
    }

    fn report(&mut self, report: &Report, haste: Haste) {
        // A report has a fixed size far below a frame's.
        let _fits = self.outbox.push(report);
        self.unsent_since.get_or_insert_with(Instant::now);
        self.haste = self.haste.max(haste);
    }

    fn flush(&mut self) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        self.blocked = false;
        while !self.outbox.is_empty() {
            let sent = send(self.link.as_raw_fd(), self.outbox.unsent(), flags);
            match sent {
                Ok(count) => self.outbox.advance(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.blocked = true;
                    return;
                }
                // Nobody listens: reading will say so.
                Err(_) => self.outbox.advance(usize::MAX),
            }
        }
        self.unsent_since = None;
        self.haste = Haste::None;
    }
}

#[derive(Debug, Clone, Copy)]
struct Ready {
    link: bool,
    writable: bool,
    signals: bool,
}
