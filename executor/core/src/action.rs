//! What the core asks the edge to do.

use core::net::SocketAddr;
use std::sync::Arc;

use marmoset_proto::{
    marmoset::v1::{Item, Output, Pull},
    mesos::v1::{CommandInfo, ContainerInfo, executor},
};

use crate::{
    bounds::Bounds,
    ids::{CallId, ConnectionId, LaneId, ProbeId, RunId, StrandId},
    note::Note,
};

/// Something to do, in the order given.
#[derive(Debug, Clone)]
pub enum Action {
    /// Give up whatever connection there is, open a new one, and send this SUBSCRIBE.
    Subscribe(ConnectionId, Box<executor::Call>),
    /// Give up the connection.
    Disconnect,
    /// Send an UPDATE over this one of the connections for calls. None is on its way there.
    Update(CallId, LaneId, Box<executor::Call>),
    /// Start a run; answered by a [`RunEvent`](crate::RunEvent).
    Spawn(Box<Spawn>),
    /// Give up a run that was asked for: no process of it is wanted any more. Answered by
    /// `Returned` or `Refused` if there is none yet, else by `Started` as if nothing had been said.
    Cancel(RunId),
    /// Send a signal to the process group and the session of a run that was started.
    Signal(RunId, Signal),
    /// Probe a run that was started; answered by [`Input::Probed`](crate::Input::Probed).
    Probe(Box<Probe>),
    /// Forget a probe and end what it has started. An answer may still come.
    Abandon(ProbeId),
    /// Say something to the operator.
    Note(Note),
    /// End the process. The last action.
    Exit(Exit),
}

/// What a run needs.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// Name of the run in everything that follows.
    pub run: RunId,
    /// What all runs of one Mesos task share.
    pub template: Arc<Template>,
    /// What the template's placeholders stand for.
    pub item: Option<Item>,
    /// Id of the task (ours): MARMOSET_TASK_ID and the name of its folder. A checked file name.
    pub task: String,
    /// PORT0, PORT1, ...
    pub ports: Vec<u16>,
    /// It starts when all that were asked for before in the same strand have ended, and not
    /// before. Without a strand, at once.
    pub strand: Option<StrandId>,
}

/// One try of a check.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its name in what follows.
    pub id: ProbeId,
    /// The run that is probed, as it was asked for.
    pub spawn: Arc<Spawn>,
    /// What to try.
    pub attempt: Arc<Attempt>,
}

/// What a probe tries. There is no time limit: a probe that takes too long is abandoned.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// Run a command where the run is, in its folder. The template is that of the run, with the
    /// check's command and user, and with its environment behind that of the run. Placeholders
    /// are not replaced.
    Command(Arc<Template>),
    /// GET a page, as `curl -L -k` does.
    Http(Page),
    /// Connect.
    Tcp(SocketAddr),
}

/// What an HTTP probe asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Whether to speak TLS. The certificate does not matter.
    pub tls: bool,
    /// Loopback address, as the run sees it, and port.
    pub address: SocketAddr,
    /// Begins with a slash.
    pub path: String,
}

/// The part of a command that does not depend on the item.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Where it runs.
    pub runtime: RuntimeKind,
    /// With placeholders.
    pub command: CommandInfo,
    /// Whether there is more than one run of it.
    pub many: bool,
    /// MESOS_ALLOCATION_ROLE.
    pub role: Option<String>,
    /// `TaskInfo.container`: image, network and volumes, or nothing but limits of the process.
    pub container: Option<Box<ContainerInfo>>,
    /// Resources of each run.
    pub bounds: Bounds,
    /// What the `TaskSpec` says besides.
    pub options: Options,
}

impl Template {
    /// Whether a run of it needs nothing before it starts but a process.
    pub(crate) fn starts_at_once(&self) -> bool {
        match self.runtime {
            RuntimeKind::Process => self.command.uris.is_empty(),
            RuntimeKind::Docker | RuntimeKind::Warm => false,
        }
    }

    /// Whether a run of it may stand behind another in a strand. By the time that one has ended, a
    /// container that they share is there.
    pub(crate) fn goes_behind(&self) -> bool {
        match self.runtime {
            RuntimeKind::Process | RuntimeKind::Warm => self.command.uris.is_empty(),
            RuntimeKind::Docker => false,
        }
    }

    /// Describes a subprocess with nothing but a command.
    pub fn process(command: CommandInfo) -> Self {
        Self {
            runtime: RuntimeKind::Process,
            command,
            many: false,
            role: None,
            container: None,
            bounds: Bounds::default(),
            options: Options::default(),
        }
    }
}

/// Wishes of a `TaskSpec` that hold for each of its runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Where the output goes, as far as the task says so.
    pub output: Output,
    /// Added to the executor's nice value.
    pub nice: i32,
    /// Bits that files are created without.
    pub umask: Option<u32>,
    /// When the image is pulled.
    pub pull: Pull,
}

/// A runtime of this executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeKind {
    /// A subprocess.
    Process,
    /// A container of its own.
    Docker,
    /// A process in a container that tasks of the same kind share.
    Warm,
}

impl RuntimeKind {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Process, Self::Docker, Self::Warm];

    /// The name in `TaskSpec.runtime`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Warm => "warm",
        }
    }

    /// Finds a runtime by its name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A signal that ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: may be handled.
    Term,
    /// SIGKILL: ends it.
    Kill,
}

/// Why the executor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The agent said SHUTDOWN, or the process was told to end.
    Ordered,
    /// The connection to the agent was lost and cannot come back.
    AgentLost(String),
    /// The agent will not have us.
    Refused(String),
}
