//! What the master remembers of one framework.
//!
//! ```text
//!               SUBSCRIBE                    stream ends
//!   (unknown) ─────────────▶ Connected ─────────────────────▶ Disconnected
//!       │                      ▲  ▲  └─ failover_timeout 0 ──┐    │    │
//!       │ agent re-registers   │  └───── SUBSCRIBE ──────────┼────┘    │ failover_timeout
//!       │ after a failover     │                             ▼         ▼
//!       └──────▶ Recovered ────┘          TEARDOWN ────▶ (removed: the id is remembered)
//! ```
//!
//! * *Connected*: events flow; the only state in which it gets offers.
//! * *Disconnected*: its tasks run on, updates wait at the agents.
//! * *Recovered*: known only because an agent runs something of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use marmoset_proto::{
    mesos::v1::{
        FrameworkId, FrameworkInfo, OfferId, TaskId,
        framework_info::capability::Type as CapabilityType, scheduler::OfferConstraints,
    },
    resources::Format,
};

use super::task::{Task, TaskRing};

/// Completed tasks of a framework that stay visible.
const COMPLETED_TASKS: usize = 1000;
/// Unreachable tasks of a framework that are remembered.
const UNREACHABLE_TASKS: usize = 1000;

/// Id of one subscription: the `Mesos-Stream-Id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(crate) String);

/// How a framework is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Connection {
    /// By this subscription.
    Connected {
        /// Where events go.
        stream: StreamId,
        /// When the next HEARTBEAT is due.
        heartbeat_at: Instant,
    },
    /// Not at all; removed at that instant.
    Disconnected {
        /// End of `failover_timeout`.
        remove_at: Instant,
    },
    /// Not yet: an agent told of it.
    Recovered,
}

/// What a framework said it understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Several roles; offers carry `allocation_info`.
    pub(crate) multi_role: bool,
    /// The states that otherwise are all TASK_LOST.
    pub(crate) partition_aware: bool,
    /// Reservations as a stack.
    pub(crate) reservation_refinement: bool,
    /// Agents with gpus.
    pub(crate) gpu_resources: bool,
}

impl Capabilities {
    /// Reads them out of a framework's info; unknown ones do not count.
    pub(crate) fn of(info: &FrameworkInfo) -> Self {
        let has = |wanted: CapabilityType| {
            info.capabilities.iter().any(|capability| capability.r#type == Some(wanted.into()))
        };
        Self {
            multi_role: has(CapabilityType::MultiRole),
            partition_aware: has(CapabilityType::PartitionAware),
            reservation_refinement: has(CapabilityType::ReservationRefinement),
            gpu_resources: has(CapabilityType::GpuResources),
        }
    }

    /// How this framework reads and writes reservations.
    pub(crate) fn format(self) -> Format {
        if self.reservation_refinement { Format::PostRefinement } else { Format::PreRefinement }
    }
}

/// The roles a framework subscribes to: `roles`, or the one `role` of older frameworks.
pub(crate) fn roles_of(info: &FrameworkInfo) -> BTreeSet<String> {
    if Capabilities::of(info).multi_role {
        info.roles.iter().cloned().collect()
    } else {
        BTreeSet::from([role_of(info).to_owned()])
    }
}

/// The role of a framework that has only one.
pub(crate) fn role_of(info: &FrameworkInfo) -> &str {
    info.role.as_deref().unwrap_or("*")
}

/// One framework that was not removed.
#[derive(Debug)]
pub(crate) struct Framework {
    /// Its latest info, with id.
    pub(crate) info: FrameworkInfo,
    /// Derived from the info.
    pub(crate) capabilities: Capabilities,
    /// Derived from the info.
    pub(crate) roles: BTreeSet<String>,
    /// As given with its latest SUBSCRIBE or UPDATE_FRAMEWORK; shown in the state.
    pub(crate) constraints: Option<OfferConstraints>,
    /// How it is reached.
    pub(crate) connection: Connection,
    /// Live tasks, and ended ones whose last update is not acknowledged.
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    /// Tasks on agents that are not reachable.
    pub(crate) unreachable: TaskRing,
    /// Ended and acknowledged tasks.
    pub(crate) completed: VecDeque<Task>,
    /// Offers it has not answered.
    pub(crate) offers: BTreeSet<OfferId>,
    /// First subscription, seconds since the epoch.
    pub(crate) registered_time: f64,
    /// Latest subscription if there was more than one.
    pub(crate) reregistered_time: Option<f64>,
    /// Removal; zero before.
    pub(crate) unregistered_time: f64,
}

impl Framework {
    /// A framework that has just become known.
    pub(crate) fn new(info: FrameworkInfo, connection: Connection, time: f64) -> Self {
        Self {
            capabilities: Capabilities::of(&info),
            roles: roles_of(&info),
            info,
            constraints: None,
            connection,
            tasks: BTreeMap::new(),
            unreachable: TaskRing::new(UNREACHABLE_TASKS),
            completed: VecDeque::new(),
            offers: BTreeSet::new(),
            registered_time: time,
            reregistered_time: None,
            unregistered_time: 0.0,
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> FrameworkId {
        self.info.id.clone().unwrap_or_default()
    }

    /// Takes over a new info; what cannot change keeps its old value.
    pub(crate) fn update(
        &mut self,
        mut info: FrameworkInfo,
        constraints: Option<OfferConstraints>,
    ) {
        info.user.clone_from(&self.info.user);
        info.checkpoint = self.info.checkpoint;
        info.id.clone_from(&self.info.id);
        self.capabilities = Capabilities::of(&info);
        self.roles = roles_of(&info);
        self.info = info;
        self.constraints = constraints;
    }

    /// The stream that events go to, if there is one.
    pub(crate) fn stream(&self) -> Option<&StreamId> {
        match &self.connection {
            Connection::Connected { stream, .. } => Some(stream),
            Connection::Disconnected { .. } | Connection::Recovered => None,
        }
    }

    /// Keeps an ended task for the state endpoint.
    pub(crate) fn complete(&mut self, task: Task) {
        if self.completed.len() == COMPLETED_TASKS {
            self.completed.pop_front();
        }
        self.completed.push_back(task);
    }
}
