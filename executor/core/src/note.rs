//! What an operator is told. The edge turns notes into log lines; the core never logs.

use std::time::Duration;

use marmoset_proto::mesos::v1::TaskId;

use crate::ids::UpdateId;

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The agent accepted the subscription.
    Subscribed {
        /// Id of the agent.
        agent: String,
        /// Tasks that the subscription named as not acknowledged.
        tasks: usize,
        /// Updates that the subscription repeated.
        updates: usize,
    },
    /// There is no connection now.
    Disconnected {
        /// Why.
        reason: String,
        /// When the next try is made.
        retry_in: Duration,
    },
    /// All tasks are killed, then the executor ends.
    ShuttingDown {
        /// Who wants it.
        reason: String,
        /// When it ends at the latest.
        within: Duration,
    },
    /// A Mesos task was taken in.
    TaskReceived {
        /// Its id.
        task: TaskId,
        /// How many items it has; 1 for a single task.
        items: u64,
    },
    /// A Mesos task ended.
    TaskEnded {
        /// Its id.
        task: TaskId,
        /// Name of its state.
        state: &'static str,
        /// The message of its last update.
        message: String,
    },
    /// A Mesos task was refused: its description cannot be used, or there is no place.
    TaskRefused {
        /// Its id.
        task: TaskId,
        /// The message of its last update.
        message: String,
    },
    /// A probe says that a task is not healthy, and the framework was told.
    Unhealthy {
        /// Its id.
        task: TaskId,
        /// Failures in a row.
        failures: u32,
        /// As many in a row end it.
        limit: u32,
        /// What the probe has shown.
        reason: String,
    },
    /// A probe failed in the grace period of a task that never was healthy.
    FailureIgnored {
        /// Its id.
        task: TaskId,
        /// What the probe has shown.
        reason: String,
    },
    /// A probe of a task's `check` gave nothing.
    CheckFailed {
        /// Its id.
        task: TaskId,
        /// Why.
        reason: String,
    },
    /// A LAUNCH for a task that is here already, or one that comes while the executor ends.
    LaunchIgnored {
        /// Its id.
        task: TaskId,
        /// Why.
        reason: &'static str,
    },
    /// A KILL for a task that is not here, or has ended.
    KillIgnored {
        /// Its id.
        task: TaskId,
    },
    /// An acknowledgement of an update that is not waiting for one.
    AcknowledgementIgnored {
        /// The task it names.
        task: TaskId,
        /// The update it names; absent if it is not a uuid.
        update: Option<UpdateId>,
    },
    /// A MESSAGE that cannot be read, or that names no batch here.
    MessageIgnored {
        /// Why.
        reason: String,
    },
    /// An event that this executor does not know.
    EventIgnored {
        /// Its type, as far as it can be told.
        kind: String,
    },
    /// An update waits for its acknowledgement for so long that the stream must be dead.
    AcknowledgementOverdue {
        /// The task.
        task: TaskId,
        /// The update.
        update: UpdateId,
    },
    /// The launcher died, and with it everything that ran.
    LauncherDied {
        /// Why.
        reason: String,
        /// How many runs were lost.
        runs: usize,
    },
}
