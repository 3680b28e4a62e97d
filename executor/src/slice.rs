//! Being woken at once.
//!
//! Owns the time slice of this process. The scheduler of Linux (6.12 and later) lets a
//! process that wakes take the place of one with a longer slice: without, whoever waits
//! for a process to start waits until that process has used up its first slice, which is
//! longer than most of them run. It costs nobody CPU time: shares depend on the nice
//! value alone. Called by the executor and by the workers of its launcher.
#![expect(unsafe_code, reason = "sched_setattr(2) has no wrapper")]

use std::mem;

/// The shortest slice that there is.
const SHORTEST_NS: u64 = 100_000;

/// `struct sched_attr` of sched_setattr(2), in its first version.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Gives the calling thread the shortest slice, and the processes it starts the usual one.
///
/// Does nothing where the kernel has no such thing, and for a thread that is favoured by a
/// nice value: its children would lose that.
pub(crate) fn shorten() {
    let mut attributes = Attributes::default();
    let size = mem::size_of::<Attributes>() as u32;
    // SAFETY: the kernel writes at most `size` bytes into a value of that size.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    let usual = attributes.policy == libc::SCHED_OTHER as u32 && attributes.nice >= 0;
    if got != 0 || !usual {
        return;
    }
    attributes.size = size;
    attributes.flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    attributes.runtime = SHORTEST_NS;
    // SAFETY: the kernel reads `size` bytes of a value of that size.
    let _as_before = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
