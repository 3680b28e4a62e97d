//! What the launcher is asked to do.
//!
//! Owns the types of the requests. Refuses to read a `CommandInfo`: whoever
//! calls the launcher has already made argv, environment and paths of it.

use std::ffi::CString;

use super::{RunId, StrandId};
use crate::cgroup::Limits;
pub use crate::output::Keeping;

/// A process to start, the first of its own session.
///
/// Its stdin is `/dev/null`, every signal has its default disposition and none
/// is blocked, and no descriptor but 0, 1 and 2 is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spawn {
    /// Name of the run in reports and signals. Never used twice.
    pub run: RunId,
    /// Runs of one strand run one after the other, in the order in which they are asked for; their
    /// ends are told late while there are others behind them. A run without starts at once.
    pub strand: Option<StrandId>,
    /// The file to execute; without a slash it is searched in the `PATH` of `env`, where the
    /// launcher is. One without a format the kernel knows is given to `/bin/sh`, as execvp(3) does.
    pub program: CString,
    /// All of argv, the name of the program first.
    pub argv: Vec<CString>,
    /// All of the environment, as `NAME=value`.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: CString,
    /// Whether to create `cwd` and the folders above it where they are missing.
    /// The last of them is given to `user`.
    pub create_cwd: bool,
    /// Where stdout goes.
    pub stdout: Output,
    /// Where stderr goes.
    pub stderr: Output,
    /// What becomes of files that stdout and stderr go to.
    pub keeping: Keeping,
    /// Who it runs as; the launcher's user if absent.
    pub user: Option<User>,
    /// Bits that files are created without; the launcher's if absent.
    pub umask: Option<u32>,
    /// Added to the launcher's own nice value.
    pub nice: i32,
    /// Limits that differ from the launcher's.
    pub rlimits: Vec<Rlimit>,
    /// Limits of all its processes together, where there are cgroups.
    pub limits: Option<Limits>,
}

impl Spawn {
    /// Describes a process without arguments or environment, in `/`, with its
    /// output thrown away.
    pub fn new(run: RunId, program: CString) -> Self {
        Self {
            run,
            strand: None,
            argv: vec![program.clone()],
            program,
            env: Vec::new(),
            cwd: c"/".to_owned(),
            create_cwd: false,
            stdout: Output::Null,
            stderr: Output::Null,
            keeping: Keeping::default(),
            user: None,
            umask: None,
            nice: 0,
            rlimits: Vec::new(),
            limits: None,
        }
    }
}

/// Where a stream of a process goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// `/dev/null`.
    Null,
    /// A file, created or truncated, written at its end. A relative path begins at `cwd`.
    File(CString),
    /// Where the same stream of the launcher goes.
    Inherit,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups: these and no others.
    pub groups: Vec<u32>,
}

/// One resource limit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_…` of setrlimit(2).
    pub resource: u32,
    /// What is enforced; `u64::MAX` for no limit.
    pub soft: u64,
    /// What `soft` may be raised to; `u64::MAX` for no limit.
    pub hard: u64,
}

/// A signal for the processes of a run.
///
/// One that arrives before the run has started is delivered when it has; one
/// that arrives after its end is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Which run.
    pub run: RunId,
    /// Number of the signal.
    pub signal: i32,
    /// Which of its processes.
    pub scope: Scope,
}

/// Which processes of a run get a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The process group of its first process.
    Group,
    /// Everything that can be found of it: the group, the session, descendants,
    /// and processes that left all of those but still carry the mark of the run
    /// in their environment. Walks `/proc`.
    Session,
}
