//! What the core tells whoever watches: how items end, and why nothing moves.
//!
//! Owns plain data. Nothing here has to be answered.

use std::{fmt, sync::Arc, time::Duration};

use marmoset_proto::{
    item,
    mesos::v1::{
        AgentId, ExecutorId, FrameworkId, OfferId, TaskId, TaskState, task_status::Reason,
    },
    resources::Resources,
    status,
};

/// News of one job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    /// A Mesos task was sent to an agent.
    Launched {
        /// Where it is to run.
        location: Arc<Location>,
        /// Items it carries.
        items: u64,
        /// Items that run at a time.
        width: u64,
    },
    /// The process of an item was started. Told for Mesos tasks of one item only: a batch
    /// tells it with the item's end.
    TaskStarted(TaskStart),
    /// An item will be tried again.
    TaskRetried(TaskRetry),
    /// An item ended for good. Exactly one for each item, here or in `NeverStarted`.
    TaskEnded(TaskEnd),
    /// These items ended as [`EndState::Killed`] without ever being sent.
    NeverStarted {
        /// First of them.
        begin: u64,
        /// Last of them.
        end: u64,
    },
    /// There is work, and nothing moves.
    Waiting {
        /// Since when.
        waited: Duration,
        /// What is missing.
        why: WaitReason,
    },
    /// Every item has ended, and no Mesos task of the job is left. The last event of a job.
    Ended,
}

/// Where a Mesos task runs: enough to find a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The framework.
    pub framework_id: FrameworkId,
    /// The agent.
    pub agent_id: AgentId,
    /// The agent's host name.
    pub hostname: String,
    /// Where the agent's own HTTP server is reached: an IP address if the agent told one.
    pub address: String,
    /// The port of that server.
    pub port: u16,
    /// The executor on that agent.
    pub executor_id: ExecutorId,
    /// The Mesos task.
    pub task_id: TaskId,
}

/// The process of an item was started.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStart {
    /// Position in the job.
    pub index: u64,
    /// How often it was tried before.
    pub attempt: u32,
    /// Where it runs.
    pub location: Arc<Location>,
    /// From ACCEPT to the start of its process.
    pub launch: Duration,
}

/// An item will be tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRetry {
    /// Position in the job.
    pub index: u64,
    /// Which try ended.
    pub attempt: u32,
    /// Which budget pays.
    pub why: RetryReason,
    /// How the try ended, as [`TaskEnd::text`] would say it.
    pub text: String,
    /// Where it ran.
    pub location: Arc<Location>,
}

/// Why an item is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// It failed: `retries` pays.
    Failed,
    /// It was lost with its executor or agent: `lost_retries` pays.
    Lost,
    /// It never reached an executor: nobody pays.
    NotStarted,
}

/// How an item ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndState {
    /// Exit status 0.
    Finished,
    /// Any other end of its own.
    Failed,
    /// Because it was asked for.
    Killed,
    /// Lost with executor or agent more often than the budget allows.
    Lost,
    /// Its description is unusable.
    Error,
}

impl fmt::Display for EndState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Lost => "lost",
            Self::Error => "error",
        })
    }
}

/// An item ended for good.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEnd {
    /// Position in the job.
    pub index: u64,
    /// How often it was tried before.
    pub attempt: u32,
    /// How it ended.
    pub state: EndState,
    /// As wait(2) gives it, if there was a process.
    pub wait_status: Option<i32>,
    /// What `wait_status` does not say.
    pub message: Option<String>,
    /// Why, in Mesos' terms.
    pub reason: Option<Reason>,
    /// From ACCEPT to the start of its process, if that is known.
    pub launch: Option<Duration>,
    /// From ACCEPT to its end.
    pub total: Duration,
    /// Sizes of its output files in bytes: stdout, stderr.
    pub output_bytes: (u64, u64),
    /// Where its last try ran; nothing when it was never sent.
    pub location: Option<Arc<Location>>,
}

impl TaskEnd {
    /// Tells how it ended in one line.
    pub fn text(&self) -> String {
        let text = match (&self.message, self.wait_status) {
            (Some(message), _) => message.clone(),
            (None, Some(wait_status)) => status::describe(wait_status),
            (None, None) => format!("Task {}", self.state),
        };
        match self.reason {
            // The text alone could be that of anybody's signal.
            Some(Reason::MaxCompletionTimeReached) => format!("{text}: it reached its time limit"),
            Some(_) | None => text,
        }
    }

    /// The task id of its last try, which is the name of its sandbox folder.
    pub fn task_id(&self, job: &str) -> String {
        item::task_id(job, self.index, self.attempt)
    }
}

/// Why nothing moves.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitReason {
    /// There is no subscription to a master.
    NotSubscribed,
    /// The master has offered nothing: it has no agents, or others hold all they have.
    NoOffers,
    /// What was offered is too small.
    TooSmall {
        /// What one item, and the executor if none runs there, asks for.
        asked: String,
        /// The largest offer seen since.
        offered: String,
        /// Whose offer.
        hostname: String,
    },
    /// Executors keep ending: their agents are left alone for a while.
    ExecutorsFail {
        /// What the last one's end was told as.
        message: String,
        /// Where.
        hostname: String,
    },
    /// The placement takes none of the offers.
    NotPlaced,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSubscribed => f.write_str("not connected to a master"),
            Self::NoOffers => {
                f.write_str("connected to the master, but no agent has offered anything")
            }
            Self::TooSmall { asked, offered, hostname } => {
                write!(
                    f,
                    "offers are too small: a task asks for {asked}, {hostname} offered {offered}"
                )
            }
            Self::ExecutorsFail { message, hostname } => {
                write!(f, "the executor on {hostname} keeps ending: {message}")
            }
            Self::NotPlaced => f.write_str("no offer suits the placement"),
        }
    }
}

/// What an operator reads line by line. Of the framework, not of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Registered with a master.
    Subscribed {
        /// Under this id.
        framework_id: FrameworkId,
        /// The leader, as `host:port`, if it said so.
        master: Option<String>,
    },
    /// The subscription is over; another attempt follows.
    Unsubscribed {
        /// Why.
        why: String,
    },
    /// The master forgot the framework: everything that ran is lost.
    FrameworkRemoved,
    /// An offer came.
    Offered {
        /// Its id.
        offer_id: OfferId,
        /// Whose.
        agent_id: AgentId,
        /// Its host name.
        hostname: String,
        /// What it holds.
        resources: Resources,
    },
    /// An offer was not used.
    Declined {
        /// Its id.
        offer_id: OfferId,
    },
    /// An offer was taken back by the master.
    Rescinded {
        /// Its id.
        offer_id: OfferId,
    },
    /// A Mesos task told its state.
    Updated {
        /// Which.
        task_id: TaskId,
        /// Its state.
        state: TaskState,
        /// What it said.
        message: Option<String>,
    },
    /// An executor ended.
    ExecutorEnded {
        /// Where.
        agent_id: AgentId,
        /// Which.
        executor_id: ExecutorId,
    },
    /// A call was not taken.
    CallFailed {
        /// Its type, as in `ACCEPT`.
        call: &'static str,
        /// Why.
        why: String,
    },
    /// Something in an event or update could not be read.
    Malformed {
        /// What, and why.
        what: String,
    },
}
