//! System calls that have no safe wrapper, or none that fits.
#![expect(unsafe_code, reason = "direct system calls")]

use std::{
    io::{self, IoSliceMut},
    mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    process, ptr,
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, SockFlag, accept4, recvmsg},
};

use tokio::io::unix::AsyncFd;

use super::{Usage, wire::PACKET_MAX};

/// Most descriptors that are taken from one packet.
pub(super) const DESCRIPTORS_MAX: usize = 64;

/// What wait4(2) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaped {
    /// A child that ended.
    Child { pid: i32, wait_status: i32, usage: Usage },
    /// No child has ended, but there are some.
    Pending,
    /// There are no children.
    NoChildren,
}

/// Reaps a child, any one if `pid` is -1.
pub(super) fn wait(pid: i32, options: i32) -> Reaped {
    let mut wait_status = 0;
    // SAFETY: all zeroes is a valid `rusage`.
    let mut rusage = unsafe { mem::zeroed::<libc::rusage>() };
    loop {
        // SAFETY: both pointers are to locals of the right type.
        let got = unsafe { libc::wait4(pid, &raw mut wait_status, options, &raw mut rusage) };
        return match got {
            0 => Reaped::Pending,
            -1 if last_errno() == libc::EINTR => continue,
            -1 => Reaped::NoChildren,
            pid => Reaped::Child { pid, wait_status, usage: usage(&rusage) },
        };
    }
}

fn usage(rusage: &libc::rusage) -> Usage {
    Usage {
        user: duration(rusage.ru_utime),
        system: duration(rusage.ru_stime),
        max_rss_kib: u64::try_from(rusage.ru_maxrss).unwrap_or(0),
    }
}

/// CPU time of this process so far, in its own code and in the kernel.
pub(super) fn own_cpu() -> Duration {
    // SAFETY: all zeroes is a valid `rusage`, and the pointer is to a local.
    let rusage = unsafe {
        let mut rusage = mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut rusage);
        rusage
    };
    duration(rusage.ru_utime) + duration(rusage.ru_stime)
}

/// Clock ticks in a second, the unit of CPU time in `/proc`.
pub(super) fn clock_ticks() -> f64 {
    // SAFETY: no pointers.
    match unsafe { libc::sysconf(libc::_SC_CLK_TCK) } {
        ticks @ 1.. => ticks as f64,
        _ => 100.0,
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

/// Sends a signal to a process, or to the group `-pid`. Whoever is gone is no error.
pub(super) fn kill(pid: i32, signal: i32) {
    // SAFETY: no pointers. 0, 1 and -1 would mean others than one of ours.
    if !(-1..=1).contains(&pid) {
        let _gone = unsafe { libc::kill(pid, signal) };
    }
}

/// Kills a process. Whoever is gone is no error.
pub(crate) fn kill_process(pid: i32) {
    kill(pid, libc::SIGKILL);
}

/// Waits until a child changes, though not for longer than `limit`.
///
/// SIGCHLD must be blocked.
pub(super) fn await_child(limit: Duration) {
    let timeout = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: `sigemptyset` initialises the set, and all pointers are to locals.
    unsafe {
        let mut set = mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const timeout);
    }
}

/// Gives every signal its default disposition.
///
/// Directly, because the library keeps two signals to itself, which processes
/// inherit as ignored just like others. The process must have one thread.
pub(super) fn reset_dispositions() {
    /// As the kernel has it: handler, flags, restorer and mask; all zeroes is SIG_DFL.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_SIZE: usize = size_of::<u64>();
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the default disposition runs none of our code. For SIGKILL and
        // SIGSTOP, which have no other one, the call fails, which is as good.
        unsafe {
            let old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), old, MASK_SIZE);
        }
    }
}

/// Adds to the nice value of this process, which has one thread.
pub(crate) fn add_nice(more: i32) -> io::Result<()> {
    Errno::clear();
    // SAFETY: no pointers.
    let nice = unsafe { libc::nice(more) };
    // -1 is a nice value as well.
    match Errno::last_raw() {
        errno if nice == -1 && errno != 0 => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

/// Closes every descriptor but stdin, stdout and stderr.
pub(crate) fn close_inherited() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: called at the start of the process, before it has opened anything.
    let done = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if done == 0 {
        return Ok(());
    }
    // Before Linux 5.9.
    let open = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok())
        .filter(|fd| *fd > 2)
        .collect::<Vec<_>>();
    for fd in open {
        // SAFETY: as above; one of them is the folder's own, closed already.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Receives a packet and the descriptors that are attached to it. No bytes: the end.
pub(super) fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; PACKET_MAX];
    let mut space = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => break message,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just made these for us.
            descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    Ok((bytes, descriptors))
}

/// Takes a connection that waits. It does not block.
pub(super) fn accept(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let accepted = accept4(socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
}

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fork {
    Parent { child: i32 },
    Child,
}

/// Duplicates this process, which must have no other thread.
pub(super) fn fork() -> io::Result<Fork> {
    // SAFETY: without other threads the child may do whatever its parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent { child }),
    }
}

/// Ends this process without running anything that its parent left for the end.
pub(super) fn exit_now(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code.into()) };
}

/// Takes stdin out of the hands of the standard library, and leaves `/dev/null` there.
pub(super) fn take_stdin() -> io::Result<OwnedFd> {
    // For writing as well: it is also where output is thrown away.
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: descriptor 0 is open for the whole life of the process. The new
    // descriptor is nobody else's.
    unsafe {
        let taken = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3);
        if taken < 0 {
            return Err(io::Error::last_os_error());
        }
        let taken = OwnedFd::from_raw_fd(taken);
        if libc::dup2(null.as_raw_fd(), 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(taken)
    }
}

/// This process, as its children see it.
pub(super) fn own_pid() -> i32 {
    // Bounded by the kernel's PID_MAX_LIMIT.
    process::id() as i32
}

/// `errno` of the last call.
pub(super) fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Makes a socket known to the runtime.
pub(super) fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open for as long as it exists, and is not replaced
    // while the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register(socket) }?)
}
