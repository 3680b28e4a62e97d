//! The life and the end of a launcher, as the executor sees it.
//!
//! Owns the control socket and the guard's process. Refuses requests and
//! reports. One task for each launcher.
//!
//! ```text
//!   Running ── control ended, fault ──▶ Draining ── links ended, guard reaped ──▶ Died
//!      └────── told to close ──▶ Closing ── links ended, guard reaped ──▶ (silence)
//! ```

use std::{
    collections::BTreeSet,
    ffi::CString,
    io,
    os::fd::{AsRawFd, OwnedFd},
    process::Child,
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use tokio::{
    io::unix::AsyncFd,
    select,
    sync::mpsc,
    task,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    LauncherEvent,
    handle::Shared,
    processes,
    wire::{Fault, HelloAnswer, PACKET_MAX, Reader, VERSION},
};
use crate::cgroup::Tree;

/// How long the processes of a launcher may take to end before they are given up.
/// Longer than any process takes that is not stuck in the kernel.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// How often what a dead launcher has left is looked for until nothing is found.
const SWEEP_ROUNDS: usize = 50;

/// What the task owns.
#[derive(Debug)]
pub(super) struct Supervision {
    pub(super) control: AsyncFd<OwnedFd>,
    /// Absent where the guard is in a container: whatever is left of it is the engine's affair, and
    /// its process ids mean something else here.
    pub(super) guard: Option<Child>,
    pub(super) shared: Arc<Shared>,
    pub(super) tree: Option<Tree>,
    pub(super) family: Option<CString>,
    pub(super) links: TaskTracker,
    pub(super) events: mpsc::Sender<LauncherEvent>,
    pub(super) closing: CancellationToken,
}

/// Why a launcher ends.
#[derive(Debug)]
enum Ending {
    /// It was told to.
    Closed,
    /// It said why.
    Fault(String),
    /// It said nothing.
    Silent,
}

/// Watches a launcher until none of its processes is left.
pub(super) async fn supervise(supervision: Supervision) {
    let Supervision { control, guard, shared, tree, family, links, events, closing } = supervision;
    let ending = watch(&control, &shared, &events, &closing).await;
    let _connected = shutdown(control.as_raw_fd(), Shutdown::Both);
    for link in &shared.links {
        link.shut();
    }
    let drained = timeout(END_TIMEOUT, links.wait()).await.is_ok();
    let is_here = guard.is_some();
    let reason = match (end_of(guard).await, ending) {
        (_, Ending::Closed) => None,
        (_, Ending::Fault(reason)) => Some(reason),
        (how, Ending::Silent) => Some(how),
    };
    if !drained {
        tracing::error!("a launcher did not end in time: its processes may still run");
    }
    if let Some(tree) = tree {
        // Mostly the guard has done it.
        let _done = task::spawn_blocking(move || tree.branch().remove()).await;
    }
    let Some(reason) = reason else { return };
    let sessions = if is_here { shared.sessions() } else { BTreeSet::new() };
    for _ in 0..SWEEP_ROUNDS {
        let in_session = !sessions.is_empty() && processes::kill_sessions(&sessions);
        let marked =
            family.as_ref().is_some_and(|family| processes::kill_marked(family.as_bytes()));
        if !in_session && !marked {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    // Whoever does not listen does not mind.
    let _heard = events.send(LauncherEvent::Died { reason }).await;
}

async fn watch(
    control: &AsyncFd<OwnedFd>,
    shared: &Shared,
    events: &mpsc::Sender<LauncherEvent>,
    closing: &CancellationToken,
) -> Ending {
    let mut greeted = false;
    loop {
        let packet = select! {
            () = closing.cancelled() => return Ending::Closed,
            () = events.closed() => return Ending::Closed,
            () = shared.refused_some.notified() => {
                let refused = LauncherEvent::Reports(shared.take_refused());
                if events.send(refused).await.is_err() {
                    return Ending::Closed;
                }
                continue;
            }
            packet = receive(control) => packet,
        };
        let packet = match packet {
            Ok(packet) if packet.is_empty() => return Ending::Silent,
            Ok(packet) => packet,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ending::Silent,
            Err(error) => return Ending::Fault(error.to_string()),
        };
        if greeted {
            return Ending::Fault(match Reader::whole::<Fault>(&packet) {
                Ok(fault) => fault.reason.to_string_lossy().into_owned(),
                Err(error) => error.to_string(),
            });
        }
        match Reader::whole::<HelloAnswer>(&packet) {
            Ok(HelloAnswer { version: VERSION }) => greeted = true,
            Ok(HelloAnswer { version }) => {
                return Ending::Fault(format!(
                    "its binary speaks version {version} of the launcher's protocol, not \
                     {VERSION}: it was replaced while the executor ran"
                ));
            }
            Err(error) => return Ending::Fault(error.to_string()),
        }
    }
}

async fn receive(control: &AsyncFd<OwnedFd>) -> io::Result<Vec<u8>> {
    loop {
        let mut ready = control.readable().await?;
        let mut packet = vec![0; PACKET_MAX];
        let received = ready
            .try_io(|control| Ok(recv(control.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT)?));
        if let Ok(count) = received {
            packet.truncate(count?);
            return Ok(packet);
        }
    }
}

/// Waits for the guard, which has closed its sockets and so is about to end.
async fn end_of(guard: Option<Child>) -> String {
    let Some(mut guard) = guard else { return "it has closed the connection".to_owned() };
    let wait = task::spawn_blocking(move || guard.wait());
    match timeout(END_TIMEOUT, wait).await {
        Ok(Ok(Ok(status))) => match status.code() {
            Some(code) => format!("its process exited with status {code}"),
            None => format!("its process ended: {status}"),
        },
        Ok(Ok(Err(error))) => format!("its process is gone: {error}"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its process hangs".to_owned(),
    }
}
