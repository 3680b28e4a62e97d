//! The guard: the first launcher process.
//!
//! Owns the start of the workers and the certainty that nothing outlives them.
//! Refuses to start or signal anything else. Entered from the hidden subcommand, or as the first
//! process of a container that tasks share.
//!
//! ```text
//!   Greeting ── hello, links ──▶ Watching ── control closed ──▶ Killing ──▶ end
//!      │                            └── a worker ended: Fault ──▶ ▲
//!      └── not understood ──▶ end
//! ```
//!
//! * **Greeting**: makes itself a place to stand: a session of its own, so that no
//!   terminal reaches it, no inherited descriptors, no signals but those it reads.
//! * **Watching**: the workers work. All that it does is to wait.
//! * **Killing**: kills what is left below it until nothing is, the workers last: they
//!   kill as well, and go on if the guard is killed meanwhile.

use std::{
    env,
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, send,
            socket, sockopt,
        },
    },
    unistd,
};

use super::{
    processes,
    sys::{self, Fork, Reaped},
    wire::{Fault, Hello, HelloAnswer, Introduction, Reader, VERSION, Wire, WireError},
    worker::{self, End, Setup},
};
use crate::{
    cgroup::{Place, Pool, Tree},
    pages,
};

/// Exit status of a worker that was sent something unreadable.
const REFUSED: u8 = 76;

/// Exit status of a worker whom the system has failed.
const FAILED: u8 = 71;

/// Why the guard could not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    /// A person has called it.
    #[error(
        "the launcher is a part of the executor, which starts it: \
         stdin is not the socket that it expects"
    )]
    NotASocket,
    /// The executor speaks another language.
    #[error("the executor's greeting was refused: {0}")]
    Greeting(#[from] WireError),
    /// The executor has attached nothing.
    #[error("the executor's greeting has no links")]
    NoLinks,
    /// The executor is another version of us.
    #[error("the executor speaks version {0} of the launcher's protocol, this launcher {VERSION}")]
    Version(u16),
    /// Something that cannot be done without failed.
    #[error("cannot {what}: {source}")]
    System {
        /// The end of "cannot …".
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Somebody stops the container.
    #[error("it was told to stop by SIGTERM, which `docker stop` sends")]
    Stopped,
    /// A worker has ended. The executor was told.
    #[error("{0}")]
    WorkerEnded(String),
}

fn cannot<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> GuardError {
    move |source| GuardError::System { what, source: source.into() }
}

/// Does all that a launcher does. The process must have one thread.
pub(super) fn run() -> Result<(), GuardError> {
    match getsockopt(&io::stdin(), sockopt::SockType) {
        Ok(SockType::SeqPacket) => {}
        Ok(_) | Err(_) => return Err(GuardError::NotASocket),
    }
    let (control, signals) = settle(&[Signal::SIGCHLD])?;
    serve(control, &signals, Stand::Child)
}

/// Does the same as the first process of a container, for the executor behind a socket's path.
pub(super) fn run_as_init(path: &Path) -> Result<(), GuardError> {
    let environment = env::vars_os().filter_map(|(name, value)| {
        CString::new([name.as_bytes(), value.as_bytes()].join(&b'=')).ok()
    });
    let environment = environment.collect::<Vec<_>>();
    // Whoever stops the container sends the second one.
    let (stdin, signals) = settle(&[Signal::SIGCHLD, Signal::SIGTERM])?;
    drop(stdin);
    let kind = SockFlag::SOCK_CLOEXEC;
    let control = socket(AddressFamily::Unix, SockType::SeqPacket, kind, None)
        .map_err(cannot("make a socket"))?;
    let address = UnixAddr::new(path).map_err(cannot("connect to the executor"))?;
    connect(control.as_raw_fd(), &address).map_err(cannot("connect to the executor"))?;
    // Mostly the cgroups of a container can be read and not written.
    let tree = Place::find().ok().and_then(|place| Tree::create(&place).ok());
    let cgroups = tree.is_some();
    let mut packet = Vec::new();
    Introduction { version: VERSION, cgroups, environment }.put(&mut packet);
    send(control.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL)
        .map_err(cannot("introduce itself to the executor"))?;
    serve(control, &signals, Stand::Init(tree))
}

/// What this process is.
#[derive(Debug)]
enum Stand {
    /// The executor's child: the executor makes the tree of cgroups.
    Child,
    /// The first process of a container, with a tree of its own where one can be made.
    Init(Option<Tree>),
}

/// Greets the executor, and works until it closes the control socket.
fn serve(control: OwnedFd, signals: &SignalFd, stand: Stand) -> Result<(), GuardError> {
    let (packet, mut links) = sys::receive(control.as_fd()).map_err(cannot("read the greeting"))?;
    if packet.is_empty() {
        return Ok(());
    }
    let mut hello = Reader::whole::<Hello>(&packet)?;
    tell(&control, &HelloAnswer { version: VERSION });
    if hello.version != VERSION {
        return Err(GuardError::Version(hello.version));
    }
    // Closed in no launcher process: the lock lasts as long as one of them.
    let lock = hello.cgroups.is_some().then(|| links.pop()).flatten();
    if links.is_empty() {
        return Err(GuardError::NoLinks);
    }
    if let Stand::Init(Some(own)) = &stand {
        hello.cgroups = Some(own.branch().clone());
    }
    let workers = hire(&control, &links, &hello)?;
    drop(links);
    // All that is to come is to wait.
    pages::give_back();
    let result = watch(&control, signals, &workers);
    if let Err(error) = &result {
        let reason = CString::new(error.to_string()).unwrap_or_default();
        tell(&control, &Fault { reason });
    }
    if matches!(stand, Stand::Init(_)) && result.is_err() {
        // They would tell of runs that this kills as if those had ended by themselves. Whatever
        // kills this process meanwhile ends all others as well.
        workers.iter().for_each(|worker| sys::kill(*worker, libc::SIGKILL));
    }
    processes::exterminate([], &workers);
    if let Some(branch) = &hello.cgroups {
        branch.remove();
    }
    drop(lock);
    result
}

/// Makes the surroundings what guard and workers, and so all runs, expect.
///
/// Yields what was stdin, and where the signals are read.
fn settle(wanted: &[Signal]) -> Result<(OwnedFd, SignalFd), GuardError> {
    sys::close_inherited().map_err(cannot("close inherited descriptors"))?;
    let control = sys::take_stdin().map_err(cannot("take the control socket"))?;
    // Fails for the leader of a session, who has what is wanted.
    let _leads = unistd::setsid();
    unistd::chdir(c"/").map_err(cannot("enter the root folder"))?;
    prctl::set_name(c"marmoset-guard").map_err(cannot("take a name"))?;
    become_subreaper()?;
    SigSet::all().thread_block().map_err(cannot("block signals"))?;
    sys::reset_dispositions();
    Ok((control, signals(wanted)?))
}

fn become_subreaper() -> Result<(), GuardError> {
    prctl::set_child_subreaper(true).map_err(cannot("become a subreaper"))
}

fn signals(signals: &[Signal]) -> Result<SignalFd, GuardError> {
    let set = signals.iter().copied().collect::<SigSet>();
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(cannot("read signals"))
}

/// Forks a worker for each link.
fn hire(control: &OwnedFd, links: &[OwnedFd], hello: &Hello) -> Result<Vec<i32>, GuardError> {
    let guard = sys::own_pid();
    let mut workers = Vec::new();
    for (index, link) in links.iter().enumerate() {
        match sys::fork().map_err(cannot("start a worker"))? {
            Fork::Parent { child } => workers.push(child),
            Fork::Child => {
                let code = match work(index, guard, control, links, link, hello) {
                    Ok(End::LinkClosed | End::GuardGone) => 0,
                    Ok(End::Refused(error)) => {
                        eprintln!("marmoset launcher: a request was refused: {error}");
                        REFUSED
                    }
                    Ok(end @ End::System(_)) => {
                        eprintln!("marmoset launcher: {end}");
                        FAILED
                    }
                    Err(error) => {
                        eprintln!("marmoset launcher: {error}");
                        FAILED
                    }
                };
                sys::exit_now(code)
            }
        }
    }
    Ok(workers)
}

/// What a worker does from its first breath.
fn work(
    index: usize,
    guard: i32,
    control: &OwnedFd,
    links: &[OwnedFd],
    link: &OwnedFd,
    hello: &Hello,
) -> Result<End, GuardError> {
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(cannot("be told of the end of the guard"))?;
    if unistd::getppid().as_raw() != guard {
        return Ok(End::GuardGone);
    }
    become_subreaper()?;
    if let Ok(name) = CString::new(format!("marmoset-work-{index}")) {
        prctl::set_name(&name).map_err(cannot("take a name"))?;
    }
    let link = link.try_clone().map_err(cannot("keep its link"))?;
    // Whoever holds a link keeps it open: the others' must be closed here, and
    // the guard's copies of them are ours to close because we never return.
    for inherited in links.iter().chain([control]) {
        let _closed = unistd::close(inherited.as_raw_fd());
    }
    let signals = signals(&[Signal::SIGCHLD, Signal::SIGTERM])?;
    let pool = hello.cgroups.clone().map(|branch| Pool::new(branch, index));
    let setup = Setup { link, signals, guard, mark: hello.mark.clone(), pool };
    worker::run(setup).map_err(cannot("work"))
}

/// Waits until the executor closes the control socket, or a worker ends.
fn watch(control: &OwnedFd, signals: &SignalFd, workers: &[i32]) -> Result<(), GuardError> {
    loop {
        let mut descriptors = [
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(cannot("wait")(errno)),
        }
        let closed = descriptors[0].any().unwrap_or(true);
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 && !closed {
                return Err(GuardError::Stopped);
            }
        }
        let mut ended = closed;
        while let Reaped::Child { pid, wait_status, .. } = sys::wait(-1, libc::WNOHANG) {
            let Some(index) = workers.iter().position(|worker| *worker == pid) else { continue };
            // 0: its link was closed, as the control socket is about to be.
            if wait_status != 0 && !closed {
                let how = describe(wait_status);
                return Err(GuardError::WorkerEnded(format!("worker {index} {how}")));
            }
            ended = true;
        }
        if ended {
            // Nothing is ever sent to a guard that watches, so whatever arrives is the end.
            return Ok(());
        }
    }
}

/// How a process of ours ended.
pub(super) fn describe(wait_status: i32) -> String {
    if libc::WIFSIGNALED(wait_status) {
        format!("was killed by signal {}", libc::WTERMSIG(wait_status))
    } else {
        match libc::WEXITSTATUS(wait_status) {
            code if code == i32::from(REFUSED) => "refused a malformed request".to_owned(),
            code => format!("exited with status {code}"),
        }
    }
}

fn tell(control: &OwnedFd, message: &impl Wire) {
    let mut packet = Vec::new();
    message.put(&mut packet);
    // Whoever does not listen is no more, which polling says.
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let _sent = send(control.as_raw_fd(), &packet, flags);
}
