//! What happens in a child between fork and exec.

use std::{io, os::unix::process::CommandExt as _, process::Command};

/// A user with all that a process needs to become it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user's id.
    pub(crate) uid: u32,
    /// Its primary group.
    pub(crate) gid: u32,
    /// All of its groups.
    pub(crate) groups: Vec<u32>,
}

/// Makes the child the leader of a session (so of a process group, too), as this user.
#[expect(unsafe_code, reason = "setsid and the change of user happen between fork and exec")]
pub(crate) fn in_own_session(command: &mut Command, identity: Option<&Identity>) {
    let identity = identity.cloned();
    // SAFETY: the closure runs in the forked child and makes system calls only;
    // it allocates nothing and touches no lock. `setgroups` gets a pointer to
    // and the length of a vector that lives in the closure.
    unsafe {
        command.pre_exec(move || {
            check(libc::setsid())?;
            if let Some(identity) = &identity {
                check(libc::setgroups(identity.groups.len(), identity.groups.as_ptr()))?;
                check(libc::setgid(identity.gid))?;
                check(libc::setuid(identity.uid))?;
            }
            Ok(())
        });
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
