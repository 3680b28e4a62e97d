//! Messages.

use std::{
    ffi::{CString, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use marmoset_executor_core::{RunId, StrandId};

use super::{Reader, Wire, WireError};
use crate::{
    cgroup::{Branch, Limits, OutOfMemory, Place},
    launcher::{
        Cut, Keeping, Kept, Output, Report, Rlimit, Scope, Signal, Spawn, Step, Usage, User,
    },
};

/// What both ends must have in common.
pub(crate) const VERSION: u16 = 3;

/// The most a packet on the control socket has.
pub(crate) const PACKET_MAX: usize = 4096;

const MAGIC: u32 = u32::from_le_bytes(*b"MRML");

/// The first packet to the guard. The links are attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    /// See [`LauncherConfig::mark`](crate::launcher::LauncherConfig::mark).
    pub(crate) mark: Option<CString>,
    /// Where runs get cgroups. The lock of the tree is attached behind the links.
    pub(crate) cgroups: Option<Branch>,
}

impl Wire for Hello {
    fn put(&self, out: &mut Vec<u8>) {
        MAGIC.put(out);
        self.version.put(out);
        self.mark.put(out);
        self.cgroups.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        take_magic(from)?;
        let version = u16::take(from)?;
        if version != VERSION {
            // What follows is unknown here, and the version is all that matters.
            *from = Reader::new(&[]);
            return Ok(Self { version, mark: None, cgroups: None });
        }
        Ok(Self { version, mark: Wire::take(from)?, cgroups: Wire::take(from)? })
    }
}

/// What a guard says of itself that has come from a container, before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Introduction {
    pub(crate) version: u16,
    /// It makes cgroups for runs with limits.
    pub(crate) cgroups: bool,
    /// What the engine gave it: the environment of the image, and what was asked for.
    pub(crate) environment: Vec<CString>,
}

impl Wire for Introduction {
    fn put(&self, out: &mut Vec<u8>) {
        MAGIC.put(out);
        self.version.put(out);
        self.cgroups.put(out);
        self.environment.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        take_magic(from)?;
        let version = u16::take(from)?;
        if version != VERSION {
            *from = Reader::new(&[]);
            return Ok(Self { version, cgroups: false, environment: Vec::new() });
        }
        Ok(Self { version, cgroups: Wire::take(from)?, environment: Wire::take(from)? })
    }
}

/// The first packet from the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HelloAnswer {
    pub(crate) version: u16,
}

impl Wire for HelloAnswer {
    fn put(&self, out: &mut Vec<u8>) {
        MAGIC.put(out);
        self.version.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        take_magic(from)?;
        Ok(Self { version: u16::take(from)? })
    }
}

/// Why the guard gives up: its last packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: CString,
}

impl Wire for Fault {
    fn put(&self, out: &mut Vec<u8>) {
        self.reason.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { reason: CString::take(from)? })
    }
}

fn take_magic(from: &mut Reader<'_>) -> Result<(), WireError> {
    if u32::take(from)? == MAGIC { Ok(()) } else { Err(WireError::Magic) }
}

/// A message to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are spawns")]
pub(crate) enum Request {
    Spawn(Spawn),
    Signal(Signal),
    /// Gives a run up that has not started.
    Cancel(RunId),
}

impl Wire for Request {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Spawn(spawn) => {
                out.push(1);
                spawn.put(out);
            }
            Self::Signal(signal) => {
                out.push(2);
                signal.put(out);
            }
            Self::Cancel(run) => {
                out.push(3);
                run.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            1 => Spawn::take(from).map(Self::Spawn),
            2 => Signal::take(from).map(Self::Signal),
            3 => RunId::take(from).map(Self::Cancel),
            tag => Err(WireError::Tag { what: "request", tag }),
        }
    }
}

/// The encoding of a struct: its fields in the order given.
macro_rules! fields {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
                // In the order written, which is the order on the wire.
                Ok(Self { $($field: Wire::take(from)?),* })
            }
        }
    };
}

fields!(Spawn {
    run,
    strand,
    program,
    argv,
    env,
    cwd,
    create_cwd,
    stdout,
    stderr,
    keeping,
    user,
    umask,
    nice,
    rlimits,
    limits,
});
fields!(Limits { memory, cpu_shares, cpu_quota });
fields!(OutOfMemory { limit, peak });
fields!(Branch { place });
fields!(User { uid, gid, groups });
fields!(Rlimit { resource, soft, hard });
fields!(Signal { run, signal, scope });
fields!(Usage { user, system, max_rss_kib });
fields!(Keeping { limit, remove_empty, pack });
fields!(Kept { stdout_cut, stderr_cut, folder_removed });
fields!(Cut { written, kept });

impl Wire for PathBuf {
    fn put(&self, out: &mut Vec<u8>) {
        // A path of this machine has no NUL.
        CString::new(self.as_os_str().as_bytes()).unwrap_or_default().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(OsString::from_vec(CString::take(from)?.into_bytes()).into())
    }
}

impl Wire for Place {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V1 { memory, cpu, freezer } => {
                out.push(1);
                memory.put(out);
                cpu.put(out);
                freezer.put(out);
            }
            Self::V2(folder) => {
                out.push(2);
                folder.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            1 => {
                let (memory, cpu) = (Wire::take(from)?, Wire::take(from)?);
                Ok(Self::V1 { memory, cpu, freezer: Wire::take(from)? })
            }
            2 => PathBuf::take(from).map(Self::V2),
            tag => Err(WireError::Tag { what: "place", tag }),
        }
    }
}

impl Wire for RunId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        u64::take(from).map(Self)
    }
}

impl Wire for StrandId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        u64::take(from).map(Self)
    }
}

impl Wire for Output {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::File(path) => {
                out.push(1);
                path.put(out);
            }
            Self::Inherit => out.push(2),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Ok(Self::Null),
            1 => CString::take(from).map(Self::File),
            2 => Ok(Self::Inherit),
            tag => Err(WireError::Tag { what: "output", tag }),
        }
    }
}

impl Wire for Scope {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Group => 0,
            Self::Session => 1,
        });
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Ok(Self::Group),
            1 => Ok(Self::Session),
            tag => Err(WireError::Tag { what: "scope", tag }),
        }
    }
}

impl Wire for Step {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let tag = u8::take(from)?;
        Self::ALL.get(usize::from(tag)).copied().ok_or(WireError::Tag { what: "step", tag })
    }
}

impl Wire for Report {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Started { run, pid, at } => {
                out.push(1);
                run.put(out);
                pid.put(out);
                at.put(out);
            }
            Self::SpawnFailed { run, errno, step, at } => {
                out.push(2);
                run.put(out);
                errno.put(out);
                step.put(out);
                at.put(out);
            }
            Self::Returned { run } => {
                out.push(4);
                run.put(out);
            }
            Self::Exited {
                run,
                wait_status,
                at,
                usage,
                stdout_bytes,
                stderr_bytes,
                kept,
                out_of_memory,
            } => {
                out.push(3);
                run.put(out);
                wait_status.put(out);
                at.put(out);
                usage.put(out);
                stdout_bytes.put(out);
                stderr_bytes.put(out);
                kept.put(out);
                out_of_memory.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            1 => Ok(Self::Started {
                run: Wire::take(from)?,
                pid: Wire::take(from)?,
                at: Wire::take(from)?,
            }),
            2 => Ok(Self::SpawnFailed {
                run: Wire::take(from)?,
                errno: Wire::take(from)?,
                step: Wire::take(from)?,
                at: Wire::take(from)?,
            }),
            3 => Ok(Self::Exited {
                run: Wire::take(from)?,
                wait_status: Wire::take(from)?,
                at: Wire::take(from)?,
                usage: Wire::take(from)?,
                stdout_bytes: Wire::take(from)?,
                stderr_bytes: Wire::take(from)?,
                kept: Wire::take(from)?,
                out_of_memory: Wire::take(from)?,
            }),
            4 => Ok(Self::Returned { run: Wire::take(from)? }),
            tag => Err(WireError::Tag { what: "report", tag }),
        }
    }
}
