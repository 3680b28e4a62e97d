//! A process watched through a descriptor: it becomes readable when the process ends.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Opens one.
#[expect(unsafe_code, reason = "the reactor must be told that the descriptor stays open")]
pub(super) fn watch(pid: u32) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `OwnedFd` moves in and is neither closed nor replaced before the `AsyncFd` is
    // dropped, which takes it out of the reactor first.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd(pid)?, Interest::READABLE) }?)
}

#[expect(unsafe_code, reason = "neither std nor nix opens a pidfd")]
fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor was just opened and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
