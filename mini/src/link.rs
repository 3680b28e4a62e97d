//! The messages between the master and an agent of one mini cluster.
//!
//! In Mesos these travel over libprocess, which no framework or executor ever
//! sees; here they are values on channels. Called by `master` and `agent`; it
//! owns no state. Messages of one sender arrive in order.

use std::net::SocketAddr;

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    AgentId, AgentInfo, ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo, KillPolicy,
    TaskGroupInfo, TaskId, TaskInfo, TaskState, TaskStatus,
};
use tokio::sync::mpsc;

/// From the master to one agent.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all messages are launches, the large variant"
)]
pub enum ToAgent {
    /// The agent may work under this id.
    Registered {
        /// Id assigned by the master; the same again after a re-registration.
        agent_id: AgentId,
    },
    /// Runs one task. `task.executor` is set for a custom executor, with its framework id.
    RunTask {
        /// Framework that launches.
        framework: FrameworkInfo,
        /// The task, with allocation info on every resource.
        task: TaskInfo,
        /// Whether the master expects the executor to be started by this task.
        launch_executor: bool,
    },
    /// Runs all tasks of a group in one executor.
    RunTaskGroup {
        /// Framework that launches.
        framework: FrameworkInfo,
        /// Executor of the group.
        executor: ExecutorInfo,
        /// The tasks; each has its `executor` set.
        group: TaskGroupInfo,
        /// Whether the master expects the executor to be started by this group.
        launch_executor: bool,
    },
    /// Ends a task.
    KillTask {
        /// Owner of the task.
        framework_id: FrameworkId,
        /// The task.
        task_id: TaskId,
        /// Overrides the task's own policy.
        kill_policy: Option<KillPolicy>,
    },
    /// Ends one executor: SHUTDOWN, grace period, destroy.
    ShutdownExecutor {
        /// Owner of the executor.
        framework_id: FrameworkId,
        /// The executor.
        executor_id: ExecutorId,
    },
    /// Ends all executors of a framework that was removed; their updates are dropped.
    ShutdownFramework {
        /// The framework.
        framework_id: FrameworkId,
    },
    /// Tasks the master has on the agent that the agent did not name when it registered again.
    /// Those it still does not know it answers with TASK_DROPPED (TASK_LOST for a framework that
    /// is not PARTITION_AWARE), REASON_RECONCILIATION, `Reconciliation: task unknown to the agent`.
    ReconcileTasks {
        /// The framework that owns them; the agent may not know it.
        framework: FrameworkInfo,
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// The framework subscribed again or changed: resend the heads of its update streams.
    UpdateFramework {
        /// Its new info.
        framework: FrameworkInfo,
    },
    /// The scheduler acknowledged a status update.
    Acknowledge {
        /// Owner of the task.
        framework_id: FrameworkId,
        /// The task.
        task_id: TaskId,
        /// The update's uuid, 16 bytes.
        uuid: Bytes,
    },
    /// A MESSAGE from the scheduler for an executor.
    Message {
        /// The framework.
        framework_id: FrameworkId,
        /// The executor.
        executor_id: ExecutorId,
        /// Opaque payload.
        data: Bytes,
    },
}

/// From an agent to the master.
#[derive(Debug)]
pub enum ToMaster {
    /// A new agent asks for an id.
    Register {
        /// Without an id.
        info: AgentInfo,
        /// Where the agent listens.
        addr: SocketAddr,
        /// Where the master sends to this agent.
        link: mpsc::UnboundedSender<ToAgent>,
    },
    /// An agent that was registered before is back.
    Reregister {
        /// With its id.
        info: AgentInfo,
        /// Where the agent listens.
        addr: SocketAddr,
        /// Where the master sends to this agent from now on.
        link: mpsc::UnboundedSender<ToAgent>,
        /// Frameworks with executors or unacknowledged updates on the agent.
        frameworks: Vec<FrameworkInfo>,
        /// Executors the agent has recovered.
        executors: Vec<ExecutorInfo>,
        /// Tasks the agent knows, each with its framework and latest state.
        tasks: Vec<(FrameworkId, TaskInfo, TaskState)>,
    },
    /// The agent's process ended or its connection broke.
    Disconnected {
        /// The agent.
        agent_id: AgentId,
    },
    /// A status update for the framework, stored and retried by the agent.
    StatusUpdate {
        /// The agent.
        agent_id: AgentId,
        /// Owner of the task.
        framework_id: FrameworkId,
        /// Executor that has the task; none for a built-in one.
        executor_id: Option<ExecutorId>,
        /// The update, with uuid and agent id.
        status: Box<TaskStatus>,
        /// State of the newest update the agent has of this task, perhaps ahead of `status`.
        latest_state: TaskState,
    },
    /// A MESSAGE from an executor for its scheduler.
    Message {
        /// The agent.
        agent_id: AgentId,
        /// The framework.
        framework_id: FrameworkId,
        /// The executor.
        executor_id: ExecutorId,
        /// Opaque payload.
        data: Bytes,
    },
    /// An executor ended; its resources are free.
    ExitedExecutor {
        /// The agent.
        agent_id: AgentId,
        /// The framework.
        framework_id: FrameworkId,
        /// The executor.
        executor_id: ExecutorId,
        /// As wait(2) gives it, -1 when unknown.
        status: i32,
    },
}
