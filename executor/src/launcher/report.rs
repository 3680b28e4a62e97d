//! What the launcher tells.
//!
//! Owns the types of the reports. Refuses to say what an exit status means.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::RunId;
use crate::cgroup::OutOfMemory;
pub use crate::output::Cut;

/// Something that happened to a run: `Started`, then `Exited`; or `SpawnFailed` or `Returned` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Its program runs: exec(2) succeeded.
    Started {
        /// Which run.
        run: RunId,
        /// Its first process, which leads its group and its session.
        pid: i32,
        /// When it was started.
        at: SystemTime,
    },
    /// It could not be started; nothing is left of it but folders and files it got.
    SpawnFailed {
        /// Which run.
        run: RunId,
        /// Why.
        errno: i32,
        /// What failed.
        step: Step,
        /// When.
        at: SystemTime,
    },
    /// It was cancelled before it was started. Nothing is left of it.
    Returned {
        /// Which run.
        run: RunId,
    },
    /// Its first process ended.
    Exited {
        /// Which run.
        run: RunId,
        /// As wait(2) gives it.
        wait_status: i32,
        /// When it was reaped.
        at: SystemTime,
        /// What the process and those it waited for used.
        usage: Usage,
        /// Size of the file behind stdout as it is kept, 0 without one.
        stdout_bytes: u64,
        /// Size of the file behind stderr as it is kept, 0 without one.
        stderr_bytes: u64,
        /// What happened to the files.
        kept: Kept,
        /// A process of it was killed because all of them together had no memory left.
        out_of_memory: Option<OutOfMemory>,
    },
}

impl Report {
    /// Names the run that is reported.
    pub fn run(&self) -> RunId {
        match self {
            Self::Started { run, .. }
            | Self::SpawnFailed { run, .. }
            | Self::Returned { run }
            | Self::Exited { run, .. } => *run,
        }
    }
}

/// What became of the output files of a run, besides their sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// The file behind stdout was too large.
    pub stdout_cut: Option<Cut>,
    /// The file behind stderr was too large.
    pub stderr_cut: Option<Cut>,
    /// Nothing was in the folder any more, and it was removed.
    pub folder_removed: bool,
}

/// What a process used, as wait4(2) counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in its own code.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The most memory it had, in KiB.
    pub max_rss_kib: u64,
}

/// What failed when a process could not be started. Displays as the end of "cannot …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The request is larger than a frame may be, so the launcher never saw it.
    Request,
    /// Creating the working directory.
    CreateFolder,
    /// Making a cgroup, or entering it.
    Cgroup,
    /// Creating the process.
    Fork,
    /// Setting a resource limit.
    Rlimit,
    /// Setting the nice value.
    Nice,
    /// Becoming another user.
    User,
    /// Entering the working directory.
    ChangeFolder,
    /// Opening the file behind stdout.
    Stdout,
    /// Opening the file behind stderr.
    Stderr,
    /// Executing the program.
    Exec,
}

impl Step {
    /// All there are, in the order in which they are taken.
    pub const ALL: [Self; 11] = [
        Self::Request,
        Self::CreateFolder,
        Self::Cgroup,
        Self::Fork,
        Self::Rlimit,
        Self::Nice,
        Self::User,
        Self::ChangeFolder,
        Self::Stdout,
        Self::Stderr,
        Self::Exec,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "hand the command to the launcher",
            Self::CreateFolder => "create the working directory",
            Self::Cgroup => "enter a cgroup of its own",
            Self::Fork => "create a process",
            Self::Rlimit => "set a resource limit",
            Self::Nice => "set the nice value",
            Self::User => "become the user",
            Self::ChangeFolder => "enter the working directory",
            Self::Stdout => "open the file for stdout",
            Self::Stderr => "open the file for stderr",
            Self::Exec => "execute the program",
        })
    }
}

/// What arrives from a [`Launcher`](super::Launcher).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LauncherEvent {
    /// Things that happened, in their order for each run.
    Reports(Vec<Report>),
    /// The launcher ended without being told to. The last event: nothing that it
    /// ran runs any longer, and nothing more will be reported of it.
    Died {
        /// Why, as the end of a sentence.
        reason: String,
    },
}
