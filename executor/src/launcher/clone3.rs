//! clone3(2), which the C library has no wrapper for.
//!
//! Owns the few instructions between the system call and the first function of the
//! new process. Refuses to know what that function does. Called by `birth`, and by
//! the bench that compares ways to start a process.
//!
//! The new process shares our memory and has a stack of its own; we stand still
//! until it has executed a program or ended (`CLONE_VM | CLONE_VFORK`). It returns
//! from the system call with our registers, but on a stack that is empty: so the
//! same few instructions must call its function, and nothing may come back.
#![expect(unsafe_code, reason = "a system call that returns on another stack")]

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;
use std::{
    ffi::c_void,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The first function of a new process.
pub(crate) type Entry = extern "C" fn(*mut c_void) -> !;

/// `struct clone_args` of the kernel, as of Linux 5.7.
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Starts a process, in a cgroup of the unified hierarchy if one is given. A pidfd
/// is stored where `pidfd` says, for which `flags` must have `CLONE_PIDFD`.
///
/// Gives its pid, or `-errno`: `-ENOSYS` where the system call is not to be had.
///
/// # Safety
///
/// `stack` is memory that nobody else uses until this returns, and its end is aligned
/// to 16 bytes. `entry` allocates nothing, does not panic, and ends in execve(2) or
/// _exit(2).
pub(crate) unsafe fn clone3(
    stack: *mut [u8],
    entry: Entry,
    argument: *mut c_void,
    cgroup: Option<BorrowedFd<'_>>,
    pidfd: Option<&mut i32>,
) -> i64 {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let mut arguments = CloneArgs {
        flags: (libc::CLONE_VM | libc::CLONE_VFORK) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.cast::<u8>() as u64,
        stack_size: stack.len() as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        // An open descriptor is not negative.
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    if let Some(pidfd) = pidfd {
        arguments.flags |= libc::CLONE_PIDFD as u64;
        arguments.pidfd = (&raw mut *pidfd) as u64;
    }
    // SAFETY: the arguments are complete, and the caller vouches for stack and entry.
    unsafe { call(&raw const arguments, entry, argument) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn call(arguments: *const CloneArgs, entry: Entry, argument: *mut c_void) -> i64 {
    let result: i64;
    // SAFETY: in this process it is a plain system call, which destroys rcx and r11.
    // In the new one rax is 0, rsp is the end of the new stack, aligned to 16 bytes as
    // a call wants it, and every other register is as it was here.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            // No caller, for whoever unwinds.
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {entry}",
            "ud2",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(arguments: *const CloneArgs, entry: Entry, argument: *mut c_void) -> i64 {
    let result: i64;
    // SAFETY: in this process it is a plain system call, which changes x0 only. In the
    // new one x0 is 0, sp is the end of the new stack, and every other register is as
    // it was here.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            // No caller, for whoever unwinds.
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, {argument}",
            "blr {entry}",
            "brk #1",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            in("x8") libc::SYS_clone3,
            inlateout("x0") arguments => result,
            in("x1") size_of::<CloneArgs>(),
        );
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call(_: *const CloneArgs, _: Entry, _: *mut c_void) -> i64 {
    -i64::from(libc::ENOSYS)
}
