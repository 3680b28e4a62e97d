//! Doing one thing with the permissions of somebody else.
//!
//! Owns a thread for each such thing: Linux keeps the identity for file access by thread, and a
//! thread that has ended cannot forget to change back.

use std::{io, thread};

use nix::unistd::{setfsgid, setfsuid};

use crate::fetch::Owner;

/// Runs `work` with the file access rights of `owner` alone; needs root.
pub(super) fn acting_as<T: Send>(
    owner: Owner,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let become_and_work = move || {
            become_owner(owner)?;
            work()
        };
        let thread = thread::Builder::new()
            .name("fetch-as-user".into())
            .spawn_scoped(scope, become_and_work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

/// Changes the calling thread alone. With the user the kernel takes away the capabilities of
/// root that bypass permissions.
#[expect(unsafe_code, reason = "the library's `setgroups` changes all threads, the kernel's one")]
fn become_owner(owner: Owner) -> io::Result<()> {
    let gid: libc::gid_t = owner.gid.as_raw();
    // SAFETY: the kernel reads one group id from the pointer, which outlives the call.
    if unsafe { libc::syscall(libc::SYS_setgroups, 1usize, &raw const gid) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // These tell of no failure; the second call of each answers with what is in force.
    setfsgid(owner.gid);
    setfsuid(owner.uid);
    if setfsgid(owner.gid) != owner.gid || setfsuid(owner.uid) != owner.uid {
        return Err(io::Error::other(format!("cannot act as user {}", owner.uid)));
    }
    Ok(())
}
