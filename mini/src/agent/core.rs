//! What the agent decides, without I/O, clock or task.
//!
//! Owns frameworks, executors, tasks and update streams of one agent. It takes
//! facts ([`Input`], and the calls of executors) with the current time and
//! yields [`Action`]s. Processes, sockets and files belong to the edge, which is
//! the only caller ([`super::actor`]). Behaviour: Mesos 1.11,
//! `src/slave/slave.cpp`.
//!
//! ```text
//!              Registered                    MasterGone
//! Disconnected ──────────▶ Registered ──────────────────▶ Disconnected
//!      ▲                        │ Stop (from any phase)
//!      │ executors back, or     ▼
//!      │ time-out            Stopped ──Start──▶ Booting ──pause over──▶ Recovering
//!      └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! * *Disconnected*: there is no master; updates are kept, executors go on.
//! * *Registered*: the master's messages are obeyed.
//! * *Stopped*: the agent's process is gone, its executors are not.
//! * *Booting*: it is back but answers 503 to everything.
//! * *Recovering*: executors may subscribe again, other calls get 503.

mod end;
mod kill;
mod records;
mod restart;
mod run;
mod subscribe;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    AgentId, AgentInfo, ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo, TaskInfo, TaskState,
    executor::Event,
};
use uuid::Uuid;

pub(crate) use self::{
    records::{Container, Executor, Framework, Kind, Phase, Task},
    subscribe::Subscription,
    update::Counters,
};
use super::{
    launch::Launch,
    timers::Timers,
    updates::{Forward, Retry, UpdateStreams},
};
use crate::{
    clock::Now,
    config::{CommandLine, Containerizer, DockerConfig},
    docker::Amounts,
    link::{ToAgent, ToMaster},
};

/// Finished frameworks that stay visible.
const COMPLETED_FRAMEWORKS: usize = 50;

/// One subscription of an executor; the edge knows the connection behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(crate) u64);

/// What does not change while an agent lives.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where executors reach the agent.
    pub(crate) addr: SocketAddr,
    /// Root of all sandboxes.
    pub(crate) work_dir: PathBuf,
    /// From launch to SUBSCRIBE.
    pub(crate) registration_timeout: Duration,
    /// From restart to SUBSCRIBE.
    pub(crate) reregistration_timeout: Duration,
    /// From SHUTDOWN to SIGKILL.
    pub(crate) shutdown_grace: Duration,
    /// What executors are told to wait for a lost agent.
    pub(crate) recovery_timeout: Duration,
    /// Interval of HEARTBEAT events.
    pub(crate) heartbeat: Duration,
    /// How long a restarted agent answers 503 to everything.
    pub(crate) boot_pause: Duration,
    /// When unacknowledged updates are sent again.
    pub(crate) retry: Retry,
    /// What runs tasks that carry a command.
    pub(crate) command_executor: CommandLine,
    /// In the order in which they are asked.
    pub(crate) containerizers: Vec<Containerizer>,
    /// What the Docker containerizer is told.
    pub(crate) docker: DockerConfig,
}

/// A fact that nobody waits for an answer to.
#[derive(Debug)]
pub(crate) enum Input {
    /// The agent's process runs and wants a master.
    Started,
    /// The master said something.
    Master(Box<ToAgent>),
    /// The master dropped the link.
    MasterGone,
    /// The executor's process runs.
    ContainerStarted {
        /// Its container.
        container: Container,
        /// Its first process.
        pid: u32,
    },
    /// The executor's process could not be started.
    LaunchFailed {
        /// Its container.
        container: Container,
        /// Why.
        message: String,
    },
    /// The executor's process ended and its container is empty.
    ContainerExited {
        /// Its container.
        container: Container,
        /// As wait(2) gives it; -1 if nobody knows.
        status: i32,
        /// The containerizer's words for it.
        message: &'static str,
    },
    /// A container cannot be given what its tasks may use.
    ResizeFailed {
        /// Its container.
        container: Container,
        /// Why.
        message: String,
    },
    /// The agent's process dies (emulated).
    Stop,
    /// The agent's process starts again (emulated).
    Start,
    /// All executors are to end, for good.
    ShutDown,
    /// The time of [`Core::poll_wake`] has come.
    Wake,
}

/// What the edge is to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Asks the master for an id.
    Register(AgentInfo),
    /// Tells the master what is here.
    Reregister(Box<Inventory>),
    /// Gives a message to the master.
    ToMaster(ToMaster),
    /// Writes an event to an executor.
    Send(StreamId, Box<Event>),
    /// Ends an executor's stream.
    Close(StreamId),
    /// Fetches, then starts an executor.
    Launch(Box<Launch>),
    /// Kills everything in a container with SIGKILL.
    Destroy(Container),
    /// Gives a container in Docker what its executor and tasks may use now.
    Resize(Container, Box<Amounts>),
    /// Forgets a container that a restarted agent does not recover.
    Abandon(Container),
}

/// What a returning agent has.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// With its id.
    pub(crate) info: AgentInfo,
    /// Frameworks with executors or updates.
    pub(crate) frameworks: Vec<FrameworkInfo>,
    /// Custom executors.
    pub(crate) executors: Vec<ExecutorInfo>,
    /// Tasks with their newest states.
    pub(crate) tasks: Vec<(FrameworkId, TaskInfo, TaskState)>,
}

/// Why an executor's call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The agent is restarting.
    #[error("Agent has not finished recovery")]
    Recovering,
    /// No such framework on this agent.
    #[error("Framework cannot be found")]
    UnknownFramework,
    /// No such executor of the framework.
    #[error("Executor cannot be found")]
    UnknownExecutor,
    /// It never subscribed in this agent's life.
    #[error("Executor is not subscribed")]
    NotSubscribed,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Disconnected,
    Registered,
    Stopped,
    Booting,
    Recovering,
}

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The pause after a restart is over, or the time for executors to come back is.
    Life,
    /// An executor should have subscribed.
    Registration(Container),
    /// An executor should have ended.
    Shutdown(Container),
    /// A HEARTBEAT is due.
    Heartbeat(Container),
}

/// The decisions of one agent.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    info: AgentInfo,
    started: f64,
    seed: Ids,
    life: Life,
    frameworks: BTreeMap<FrameworkId, Framework>,
    completed: VecDeque<Framework>,
    /// Whose container it is; also of executors that are forgotten but not dead yet.
    containers: BTreeMap<Container, (FrameworkId, ExecutorId)>,
    /// Ends that happened while the agent was stopped.
    missed: Vec<(Container, i32, &'static str)>,
    timers: Timers<Timer>,
    updates: UpdateStreams,
    counters: Counters,
    actions: VecDeque<Action>,
}

/// Where ids come from; a seed replays them.
#[derive(Debug)]
struct Ids(rand::rngs::StdRng);

impl Ids {
    fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        rand::Rng::fill_bytes(&mut self.0, &mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn update_uuid(&mut self) -> Bytes {
        Bytes::copy_from_slice(self.uuid().as_bytes())
    }
}

impl Core {
    /// Makes an agent that has no id yet.
    pub(crate) fn new(settings: Settings, info: AgentInfo, seed: u64) -> Self {
        let updates = UpdateStreams::new(settings.retry);
        Self {
            settings,
            info,
            started: 0.0,
            seed: Ids(rand::SeedableRng::seed_from_u64(seed)),
            life: Life::Disconnected,
            frameworks: BTreeMap::new(),
            completed: VecDeque::new(),
            containers: BTreeMap::new(),
            missed: Vec::new(),
            timers: Timers::new(),
            updates,
            counters: Counters::default(),
            actions: VecDeque::new(),
        }
    }

    /// Takes a fact in.
    pub(crate) fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Started => {
                self.started = now.epoch;
                self.register();
            }
            Input::Master(message) => self.handle_master(now, *message),
            Input::MasterGone => self.handle_master_gone(),
            Input::ContainerStarted { container, pid } => {
                if let Some(executor) = self.executor_in(&container) {
                    executor.pid = Some(pid);
                }
            }
            Input::LaunchFailed { container, message } => {
                self.handle_launch_failed(now, &container, &message);
            }
            Input::ContainerExited { container, status, message } => {
                self.handle_exited(now, container, status, message);
            }
            Input::ResizeFailed { container, message } => {
                self.handle_resize_failed(&container, &message);
            }
            Input::Stop => self.handle_stop(),
            Input::Start => self.handle_start(now),
            Input::ShutDown => self.shut_down_all(now),
            Input::Wake => self.handle_wake(now),
        }
    }

    /// Yields what is to be done next.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Containers that an agent which starts again will know.
    pub(crate) fn recovered(&self) -> BTreeSet<Container> {
        self.frameworks
            .values()
            .filter(|framework| framework.checkpoints() && !framework.terminating)
            .flat_map(|framework| framework.executors.values())
            .filter(|executor| executor.is_recovered())
            .map(|executor| executor.container.clone())
            .collect()
    }

    /// Tells when [`Input::Wake`] is due.
    pub(crate) fn poll_wake(&self) -> Option<Instant> {
        [self.timers.next(), self.updates.poll_wake()].into_iter().flatten().min()
    }

    /// Whether the agent answers 503 to everything.
    pub(crate) fn is_booting(&self) -> bool {
        matches!(self.life, Life::Booting | Life::Stopped)
    }

    /// Whether a master knows this agent.
    pub(crate) fn is_registered(&self) -> bool {
        self.life == Life::Registered
    }

    /// The agent's info, with its id once it has one.
    pub(crate) fn info(&self) -> &AgentInfo {
        &self.info
    }

    /// When it started, in seconds since 1970.
    pub(crate) fn started(&self) -> f64 {
        self.started
    }

    /// Settings the agent runs with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Frameworks with executors here.
    pub(crate) fn frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.frameworks.values()
    }

    /// Frameworks that are over, oldest first.
    pub(crate) fn completed_frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.completed.iter()
    }

    /// What happened so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn register(&mut self) {
        self.life = Life::Disconnected;
        if self.info.id.is_none() {
            self.actions.push_back(Action::Register(self.info.clone()));
            return;
        }
        let inventory = self.inventory();
        self.actions.push_back(Action::Reregister(Box::new(inventory)));
    }

    fn handle_master(&mut self, now: Now, message: ToAgent) {
        if let ToAgent::Registered { agent_id } = message {
            self.handle_registered(now, agent_id);
            return;
        }
        if self.life != Life::Registered {
            tracing::warn!(life = ?self.life, "message of the master ignored");
            return;
        }
        match message {
            ToAgent::Registered { .. } => {}
            ToAgent::RunTask { framework, task, launch_executor } => {
                self.run_task(now, framework, task, launch_executor);
            }
            ToAgent::RunTaskGroup { framework, executor, group, launch_executor } => {
                self.run_group(now, framework, executor, group, launch_executor);
            }
            ToAgent::KillTask { framework_id, task_id, kill_policy } => {
                self.kill_task(now, &framework_id, &task_id, kill_policy);
            }
            ToAgent::ShutdownExecutor { framework_id, executor_id } => {
                self.handle_shutdown_executor(now, &framework_id, &executor_id);
            }
            ToAgent::ShutdownFramework { framework_id } => {
                self.handle_shutdown_framework(now, &framework_id);
            }
            ToAgent::UpdateFramework { framework } => self.handle_update_framework(now, framework),
            ToAgent::Acknowledge { framework_id, task_id, uuid } => {
                self.handle_acknowledge(now, framework_id, task_id, &uuid);
            }
            ToAgent::Message { framework_id, executor_id, data } => {
                self.handle_message(&framework_id, &executor_id, data);
            }
            ToAgent::ReconcileTasks { framework, tasks } => {
                self.handle_reconcile(now, &framework, tasks);
            }
        }
    }

    fn handle_registered(&mut self, now: Now, agent_id: AgentId) {
        match self.life {
            Life::Disconnected => {}
            Life::Registered | Life::Stopped | Life::Booting | Life::Recovering => return,
        }
        tracing::info!(agent = %agent_id, "registered");
        self.info.id = Some(agent_id);
        self.life = Life::Registered;
        let heads = self.updates.resume(now.instant);
        self.forward_all(heads);
    }

    fn handle_master_gone(&mut self) {
        match self.life {
            Life::Disconnected | Life::Registered => {
                self.updates.pause();
                self.register();
            }
            Life::Stopped | Life::Booting | Life::Recovering => {}
        }
    }

    fn handle_update_framework(&mut self, now: Now, framework: FrameworkInfo) {
        let Some(id) = framework.id.clone() else { return };
        if let Some(known) = self.frameworks.get_mut(&id) {
            if known.is_terminating() {
                return;
            }
            known.info = framework;
        }
        let heads = self.updates.resend(now.instant, &id);
        self.forward_all(heads);
    }

    fn handle_wake(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop_due(now.instant) {
            match timer {
                Timer::Life => self.handle_life_timer(now),
                Timer::Registration(container) => self.handle_no_registration(&container),
                Timer::Shutdown(container) => self.actions.push_back(Action::Destroy(container)),
                Timer::Heartbeat(container) => self.send_heartbeat(now, container),
            }
        }
        let due = self.updates.handle_wake(now.instant);
        self.forward_all(due);
    }

    fn forward_all(&mut self, updates: Vec<Forward>) {
        for update in updates {
            self.forward(update);
        }
    }

    fn agent_id(&self) -> AgentId {
        self.info.id.clone().unwrap_or_default()
    }

    fn executor_in(&mut self, container: &Container) -> Option<&mut Executor> {
        let (framework, executor) = self.containers.get(container)?;
        let executor = self.frameworks.get_mut(framework)?.executors.get_mut(executor)?;
        (executor.container == *container).then_some(executor)
    }

    fn executor(&mut self, framework: &FrameworkId, id: &ExecutorId) -> Option<&mut Executor> {
        self.frameworks.get_mut(framework)?.executors.get_mut(id)
    }
}

#[cfg(test)]
mod tests;
