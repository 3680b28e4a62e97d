//! Facts that the edge tells the core.

use std::fmt;

use marmoset_proto::mesos::v1::executor;

use crate::{
    ids::{CallId, ConnectionId, RunId},
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
    /// The process runtime's launcher died and what it ran with it. A new one is in its place.
    LauncherDied(String),
    /// The executor's own process was asked to end (SIGTERM).
    Terminate,
    /// The instant of `poll_wake` has come.
    Wake,
}

/// What a runtime tells about one run: `Started`, then `Exited`; or `Refused` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// Its process runs.
    Started {
        /// When it was started.
        at: WallTime,
    },
    /// No process was started.
    Refused {
        /// Why, for people.
        message: String,
        /// When that was known.
        at: WallTime,
    },
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
    },
}

/// Why there is no connection, or why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnection {
    /// The agent ended the stream between two records.
    Ended,
    /// It broke: refused, reset, silent, or not readable.
    Broken(String),
    /// The agent answered, and not as hoped.
    Refused {
        /// HTTP status.
        status: u16,
        /// Text of the answer.
        body: String,
    },
}

impl Disconnection {
    /// Whether another try can help: not for an answer that says the call itself is wrong.
    pub(crate) fn is_fatal_for_subscribe(&self) -> bool {
        match self {
            Self::Ended | Self::Broken(_) => false,
            Self::Refused { status, .. } => (400..500).contains(status) && *status != 404,
        }
    }

    /// Whether an update that got this answer can never be delivered.
    ///
    /// 400 for an unknown framework or executor, and 403 for one that is not
    /// subscribed, are what a restarted agent says: SUBSCRIBE finds out.
    pub(crate) fn is_fatal_for_update(&self) -> bool {
        match self {
            Self::Ended | Self::Broken(_) => false,
            Self::Refused { status: 404 | 403, .. } => false,
            Self::Refused { status: 400, body } => !body.contains("cannot be found"),
            Self::Refused { status, .. } => (400..500).contains(status),
        }
    }
}

impl fmt::Display for Disconnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the agent ended the stream"),
            Self::Broken(reason) => f.write_str(reason),
            Self::Refused { status, body } => write!(f, "the agent answered {status}: {body}"),
        }
    }
}
