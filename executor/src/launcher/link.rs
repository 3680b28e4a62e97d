//! One link: the executor's end of the socket to a worker.
//!
//! Owns what is on its way in both directions. Refuses to understand it. Written
//! to by whoever holds the launcher, read by a task of its own.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, Shutdown, recv, send, shutdown},
};
use tokio::{
    io::unix::AsyncFd,
    select,
    sync::{Notify, mpsc},
};
use tokio_util::sync::CancellationToken;

use super::{
    LauncherEvent, Report,
    handle::Shared,
    sys,
    wire::{Inbox, Outbox, Request, WireError},
};

/// The executor's end.
#[derive(Debug)]
pub(super) struct Link {
    socket: AsyncFd<OwnedFd>,
    /// Bounded by what the caller has asked for and the worker has not taken.
    outbox: Mutex<Outbox>,
    /// The socket did not take all of `outbox`.
    stuck: Notify,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: sys::watched(socket)?,
            outbox: Mutex::new(Outbox::default()),
            stuck: Notify::new(),
        })
    }

    /// Adds a request to what is to be sent.
    pub(super) fn push(&self, request: &Request) -> Result<(), WireError> {
        self.outbox().push(request)
    }

    /// Sends as much as the socket takes, and leaves the rest to the task.
    pub(super) fn send(&self) {
        if let Err(io::ErrorKind::WouldBlock) = self.try_send().map_err(|error| error.kind()) {
            self.stuck.notify_one();
        }
    }

    /// Tells the worker to end.
    pub(super) fn shut(&self) {
        // Fails if the worker has ended.
        let _open = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// A panic leaves nothing half-done in it.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_send(&self) -> io::Result<()> {
        let mut outbox = self.outbox();
        while !outbox.is_empty() {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(self.socket.as_raw_fd(), outbox.unsent(), flags) {
                Ok(count) => outbox.advance(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                // Nobody is there, which reading tells as well.
                Err(_) => outbox.advance(usize::MAX),
            }
        }
        Ok(())
    }

    async fn send_rest(&self) -> io::Result<()> {
        loop {
            self.stuck.notified().await;
            loop {
                let mut ready = self.socket.writable().await?;
                if ready.try_io(|_| self.try_send()).is_ok() {
                    break;
                }
            }
        }
    }

    /// Waits for reports. None at all: the worker has ended.
    async fn receive(&self, inbox: &mut Inbox, scratch: &mut [u8]) -> io::Result<Vec<Report>> {
        let mut reports = Vec::new();
        while reports.is_empty() {
            let mut ready = self.socket.readable().await?;
            let Ok(received) = ready
                .try_io(|socket| Ok(recv(socket.as_raw_fd(), scratch, MsgFlags::MSG_DONTWAIT)?))
            else {
                continue;
            };
            let count = received?;
            if count == 0 {
                break;
            }
            if count < scratch.len() {
                // There is no more, which would take another call to be told.
                ready.clear_ready();
            }
            inbox.push(&scratch[..count]);
            while inbox.next(&mut reports).map_err(io::Error::other)? {}
        }
        Ok(reports)
    }
}

/// Carries requests and reports until the worker has ended.
pub(super) async fn carry(
    shared: Arc<Shared>,
    index: usize,
    events: mpsc::Sender<LauncherEvent>,
    closing: CancellationToken,
) {
    let link = &shared.links[index];
    let mut inbox = Inbox::default();
    let mut scratch = vec![0; 64 << 10];
    // One for the whole time: begun anew, it would forget that there is a rest.
    let mut send_rest = pin!(link.send_rest());
    loop {
        let received = select! {
            received = link.receive(&mut inbox, &mut scratch) => received,
            // Never ends but with an error.
            failed = &mut send_rest => failed.map(|()| Vec::new()),
        };
        let reports = match received {
            Ok(reports) if !reports.is_empty() => reports,
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => {
                tracing::error!(%error, worker = index, "a launcher's reports cannot be read");
                link.shut();
                break;
            }
        };
        shared.note(&reports);
        let event = LauncherEvent::Reports(reports);
        // Whoever closes the launcher may have stopped listening.
        select! {
            biased;
            sent = events.send(event) => if sent.is_err() { closing.cancel() },
            () = closing.cancelled() => {}
        }
    }
}
