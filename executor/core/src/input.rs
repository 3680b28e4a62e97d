//! Facts that the edge tells the core.

use std::fmt;

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    ContainerStatus, TaskResourceLimitation, executor, task_status::Reason,
};

use crate::{
    ids::{CallId, ConnectionId, ProbeId, RunId},
    time::WallTime,
};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The agent answered SUBSCRIBE with a stream.
    Connected(ConnectionId),
    /// An event arrived on the stream.
    Event(ConnectionId, Box<executor::Event>),
    /// There is no stream, or no longer.
    Disconnected(ConnectionId, Disconnection),
    /// The agent took an UPDATE call.
    CallDone(CallId),
    /// An UPDATE call failed; whether the agent handled it is unknown.
    CallFailed(CallId, Disconnection),
    /// A runtime reports about a run.
    Run(RunId, RunEvent),
    /// A probe is done.
    Probed(ProbeId, Answer),
    /// The process runtime's launcher died and what it ran with it. A new one is in its place.
    LauncherDied(String),
    /// The executor's own process was asked to end (SIGTERM).
    Terminate,
    /// The instant of `poll_wake` has come.
    Wake,
}

/// What a runtime tells about one run: `Waiting` any number of times; then `Started` and `Exited` or
/// `Lost`; or `Refused` or `Returned` alone.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// It is not started yet, for a reason that people want to know.
    Waiting {
        /// What it waits for: TASK_STARTING says so.
        message: String,
    },
    /// Its process runs.
    Started {
        /// When it was started.
        at: WallTime,
        /// What TASK_RUNNING tells besides.
        details: Option<Box<StartDetails>>,
    },
    /// No process was started.
    Refused {
        /// Why, for people.
        message: String,
        /// Why, for programs. [`Reason::TaskInvalid`]: its description cannot be used.
        reason: Option<Reason>,
        /// When that was known.
        at: WallTime,
    },
    /// It was cancelled before there was a process: nothing is left of it.
    Returned,
    /// Its process ended.
    Exited {
        /// As wait(2) gives it.
        wait_status: i32,
        /// When it was reaped.
        at: WallTime,
        /// Size of the stdout file.
        stdout_bytes: u64,
        /// Size of the stderr file.
        stderr_bytes: u64,
        /// What the wait status does not say.
        remark: Option<Box<Remark>>,
    },
    /// The place where it ran is gone, and its process with it.
    Lost {
        /// Why, for people.
        message: String,
        /// When that was known.
        at: WallTime,
    },
}

/// What is known of a run that has just started.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StartDetails {
    /// `TaskStatus.container_status`.
    pub container_status: Option<ContainerStatus>,
    /// `TaskStatus.data` of a single task.
    pub data: Option<Bytes>,
}

/// What the wait status of a run does not say about its end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Remark {
    /// Replaces the text of the wait status.
    pub message: Option<String>,
    /// Follows the text, after a semicolon.
    pub addition: Option<String>,
    /// Why the run ended, unless it was killed or ran for too long.
    pub reason: Option<Reason>,
    /// The limit that ended it. It then failed, whatever its wait status.
    pub limitation: Option<TaskResourceLimitation>,
    /// Nothing is left of its folder.
    pub folder_removed: bool,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The command ended.
    Exited {
        /// As wait(2) gives it.
        wait_status: i32,
    },
    /// The server answered.
    Responded {
        /// Status code of the last of its answers.
        code: u16,
    },
    /// The server took the connection.
    Connected,
    /// The server did not take the connection.
    NotConnected {
        /// Why, for people.
        reason: String,
    },
    /// There is no answer: nothing could be tried, or what came is none.
    Nothing {
        /// Why, for people.
        reason: String,
    },
}

/// Why there is no connection, or why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnection {
    /// The agent ended the stream between two records.
    Ended,
    /// It broke, or the agent is not ready for us: another try may help.
    Broken(String),
    /// The agent's answer says that no other try will help.
    Refused(String),
}

impl Disconnection {
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Ended | Self::Broken(_) => false,
            Self::Refused(_) => true,
        }
    }
}

impl fmt::Display for Disconnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the agent ended the stream"),
            Self::Broken(reason) | Self::Refused(reason) => f.write_str(reason),
        }
    }
}
