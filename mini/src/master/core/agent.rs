//! What the master remembers of one agent.
//!
//! ```text
//!               Register                link ends                 agent_timeout
//!   (unknown) ───────────▶ Connected ──────────────▶ Disconnected ─────────────▶ (unreachable)
//!                             ▲  └───────────────────────┘                            │
//!                             └──────────────── Reregister ───────────────────────────┘
//! ```
//!
//! * *Connected*: gets tasks, is offered.
//! * *Disconnected*: its offers are rescinded, its tasks are believed to run; kills are kept for it.
//! * *removed*: an agent without an id asks for one at its address; its tasks are gone or lost.
//! * *unreachable*: forgotten but for its id; its tasks are told to be unreachable or lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use marmoset_proto::{
    mesos::v1::{
        AgentId, AgentInfo, ExecutorId, ExecutorInfo, FrameworkId, KillPolicy, OfferId, TaskId,
    },
    resources::Resources,
};

/// The channel an agent is reached by; the edge knows what is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// How an agent is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentLink {
    /// By this channel.
    Connected(LinkId),
    /// Not at all; given up at that instant.
    Disconnected {
        /// End of the agent time-out.
        give_up_at: Instant,
    },
}

/// One agent that is registered.
#[derive(Debug)]
pub(crate) struct Agent {
    /// With id.
    pub(crate) info: AgentInfo,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// How it is reached.
    pub(crate) link: AgentLink,
    /// Everything it has, as it told.
    pub(crate) total: Resources,
    /// What tasks and executors of a framework use, allocated to roles.
    pub(crate) used: BTreeMap<FrameworkId, Resources>,
    /// Sum of the resources in outstanding offers, allocated to roles.
    pub(crate) offered: Resources,
    /// Outstanding offers of it.
    pub(crate) offers: BTreeSet<OfferId>,
    /// Executors believed to run.
    pub(crate) executors: BTreeMap<(FrameworkId, ExecutorId), Executor>,
    /// Tasks that are on it, ended but unacknowledged ones included.
    pub(crate) tasks: BTreeMap<FrameworkId, BTreeSet<TaskId>>,
    /// Kills that came while it was disconnected.
    pub(crate) kills: BTreeMap<(FrameworkId, TaskId), Option<KillPolicy>>,
    /// First registration, seconds since the epoch.
    pub(crate) registered_time: f64,
    /// Latest registration if there was more than one.
    pub(crate) reregistered_time: Option<f64>,
}

/// One executor on an agent.
#[derive(Debug, Clone)]
pub(crate) struct Executor {
    /// As launched, with framework id and allocated resources.
    pub(crate) info: ExecutorInfo,
    /// What it is charged with.
    pub(crate) resources: Resources,
}

impl Agent {
    /// An agent that has just registered.
    pub(crate) fn new(
        info: AgentInfo,
        addr: SocketAddr,
        link: LinkId,
        total: Resources,
        time: f64,
    ) -> Self {
        Self {
            info,
            addr,
            link: AgentLink::Connected(link),
            total,
            used: BTreeMap::new(),
            offered: Resources::default(),
            offers: BTreeSet::new(),
            executors: BTreeMap::new(),
            tasks: BTreeMap::new(),
            kills: BTreeMap::new(),
            registered_time: time,
            reregistered_time: None,
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> AgentId {
        self.info.id.clone().unwrap_or_default()
    }

    /// The channel to it, if there is one.
    pub(crate) fn connected(&self) -> Option<LinkId> {
        match self.link {
            AgentLink::Connected(link) => Some(link),
            AgentLink::Disconnected { .. } => None,
        }
    }

    /// Charges a framework.
    pub(crate) fn charge(&mut self, framework: &FrameworkId, resources: &Resources) {
        *self.used.entry(framework.clone()).or_default() += resources;
    }

    /// Gives back what a framework was charged with.
    pub(crate) fn release(&mut self, framework: &FrameworkId, resources: &Resources) {
        if let Some(used) = self.used.get_mut(framework) {
            *used -= resources;
            if used.is_empty() {
                self.used.remove(framework);
            }
        }
    }

    /// Forgets a task's place on it.
    pub(crate) fn forget_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        if let Some(tasks) = self.tasks.get_mut(framework) {
            tasks.remove(task);
            if tasks.is_empty() {
                self.tasks.remove(framework);
            }
        }
    }

    /// The executors of one framework.
    pub(crate) fn executors_of(
        &self,
        framework: &FrameworkId,
    ) -> impl Iterator<Item = (&ExecutorId, &Executor)> {
        let first = (framework.clone(), ExecutorId::default());
        let framework = framework.clone();
        self.executors
            .range(first..)
            .take_while(move |((owner, _), _)| *owner == framework)
            .map(|((_, id), executor)| (id, executor))
    }
}
