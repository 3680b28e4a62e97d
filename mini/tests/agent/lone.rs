//! An agent whose master is the test.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use marmoset_mini::{
    AgentConfig, AgentHandle, AgentTimers, CommandLine,
    link::{ToAgent, ToMaster},
    start_agent,
};
use marmoset_proto::mesos::v1::{
    CommandInfo, ExecutorInfo, FrameworkInfo, Resource, TaskId, TaskInfo, TaskState, TaskStatus,
    framework_info::{Capability, capability},
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

use crate::http::PATIENCE;

/// See the module.
pub(crate) struct Lone {
    pub(crate) agent: AgentHandle,
    pub(crate) addr: SocketAddr,
    to_agent: mpsc::UnboundedSender<ToAgent>,
    from_agent: mpsc::UnboundedReceiver<ToMaster>,
    work_dir: TempDir,
}

impl Lone {
    /// With little patience for executors that do not listen.
    pub(crate) async fn start() -> Self {
        let executor_shutdown_grace_period = Duration::from_millis(300);
        let timers = AgentTimers { executor_shutdown_grace_period, ..AgentTimers::default() };
        Self::start_with(timers).await
    }

    pub(crate) async fn start_with(timers: AgentTimers) -> Self {
        Self::start_as(AgentConfig { timers, ..AgentConfig::default() }).await
    }

    /// With timers and containerizers of a kind; the rest is always the same.
    pub(crate) async fn start_as(config: AgentConfig) -> Self {
        let work_dir = tempfile::tempdir().unwrap();
        let config = AgentConfig {
            hostname: Some("agent.example".to_owned()),
            resources: "cpus:8;mem:8192;disk:10000;ports:[8000-8100]".to_owned(),
            attributes: "rack:r1;zone:a".to_owned(),
            work_dir: work_dir.path().to_owned(),
            command_executor: CommandLine {
                program: PathBuf::from(env!("CARGO_BIN_EXE_marmoset-mini-command-executor")),
                arguments: Vec::new(),
            },
            ..config
        };
        let (to_master, mut from_agent) = mpsc::unbounded_channel();
        let agent = start_agent(config, to_master).await.unwrap();
        let Some(ToMaster::Register { info, addr, link }) = from_agent.recv().await else {
            panic!("an agent registers first");
        };
        assert_eq!(addr, agent.addr());
        assert_eq!(info.hostname, "agent.example");
        link.send(ToAgent::Registered { agent_id: "S0".into() }).unwrap();
        Self { addr, agent, to_agent: link, from_agent, work_dir }
    }

    pub(crate) fn send(&self, message: ToAgent) {
        self.to_agent.send(message).unwrap();
    }

    /// Runs a task; the framework's executor runs `command`.
    pub(crate) fn run(&self, task: TaskInfo, launch_executor: bool) {
        self.send(ToAgent::RunTask { framework: framework(false), task, launch_executor });
    }

    /// The agent's next message.
    pub(crate) async fn next(&mut self) -> ToMaster {
        let next = timeout(PATIENCE, self.from_agent.recv());
        next.await.expect("a message in time").expect("the agent lives")
    }

    /// The next message, which must be an update.
    pub(crate) async fn update(&mut self) -> (TaskStatus, TaskState) {
        match self.next().await {
            ToMaster::StatusUpdate { status, latest_state, .. } => (*status, latest_state),
            other => panic!("{other:?}"),
        }
    }

    /// The next update, acknowledged, in words.
    pub(crate) async fn told(&mut self) -> String {
        let (status, _) = self.update().await;
        self.acknowledge(&status);
        tell(&status)
    }

    pub(crate) fn acknowledge(&self, status: &TaskStatus) {
        self.send(ToAgent::Acknowledge {
            framework_id: "f".into(),
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        });
    }

    /// The executor ended; its wait status.
    pub(crate) async fn exited(&mut self) -> i32 {
        match self.next().await {
            ToMaster::ExitedExecutor { status, .. } => status,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn kill(&self, task: &str) {
        self.send(ToAgent::KillTask {
            framework_id: "f".into(),
            task_id: task.into(),
            kill_policy: None,
        });
    }

    pub(crate) fn message(&self, data: &'static [u8]) {
        self.send(ToAgent::Message {
            framework_id: "f".into(),
            executor_id: "e".into(),
            data: Bytes::from_static(data),
        });
    }

    /// Takes the new link of an agent that came back.
    pub(crate) async fn accept_again(&mut self) -> Vec<(TaskId, TaskState)> {
        match self.next().await {
            ToMaster::Reregister { info, link, tasks, .. } => {
                self.to_agent = link;
                self.send(ToAgent::Registered { agent_id: info.id.unwrap() });
                tasks.into_iter().map(|(_, task, state)| (task.task_id, state)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Where all sandboxes are.
    pub(crate) fn work_dir(&self) -> PathBuf {
        self.work_dir.path().canonicalize().unwrap()
    }

    /// The newest sandbox of an executor.
    pub(crate) fn sandbox(&self, executor: &str) -> PathBuf {
        let latest = format!("slaves/S0/frameworks/f/executors/{executor}/runs/latest");
        self.work_dir().join(latest).canonicalize().unwrap()
    }
}

/// An update in words.
pub(crate) fn tell(status: &TaskStatus) -> String {
    let mut told = format!("{} {}", status.task_id, status.state().as_str_name());
    told += &format!(" {}", status.source().as_str_name());
    if status.reason.is_some() {
        told += &format!(" {}", status.reason().as_str_name());
    }
    if let Some(message) = &status.message {
        told += &format!(" '{message}'");
    }
    if let Some(healthy) = status.healthy {
        told += &format!(" healthy={healthy}");
    }
    told
}

/// Framework `f`, which knows every state.
pub(crate) fn framework(checkpoint: bool) -> FrameworkInfo {
    let kinds = [capability::Type::PartitionAware, capability::Type::TaskKillingState];
    FrameworkInfo {
        user: "root".to_owned(),
        name: "test".to_owned(),
        id: Some("f".into()),
        checkpoint: Some(checkpoint),
        roles: vec!["*".to_owned()],
        capabilities: kinds.map(|kind| Capability { r#type: Some(kind.into()) }).into(),
        ..FrameworkInfo::default()
    }
}

/// A command for the shell.
pub(crate) fn shell(value: &str) -> CommandInfo {
    CommandInfo { value: Some(value.to_owned()), ..CommandInfo::default() }
}

/// A task of executor `e`, which runs this command.
pub(crate) fn task(id: &str, executor: CommandInfo) -> TaskInfo {
    let resources = || {
        let allocated = |mut resource: Resource| {
            resource.allocation_info.get_or_insert_default().role = Some("*".to_owned());
            resource
        };
        vec![allocated(Resource::scalar("cpus", 0.1)), allocated(Resource::scalar("mem", 32.0))]
    };
    TaskInfo {
        name: id.to_owned(),
        task_id: id.into(),
        agent_id: "S0".into(),
        resources: resources(),
        executor: Some(ExecutorInfo {
            executor_id: "e".into(),
            command: Some(executor),
            resources: resources(),
            ..ExecutorInfo::default()
        }),
        ..TaskInfo::default()
    }
}

/// A task of an executor that does nothing but live.
pub(crate) fn idle(id: &str) -> TaskInfo {
    task(id, shell("exec sleep 1000"))
}
