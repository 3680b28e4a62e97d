//! The master's decisions, without I/O and clock.
//!
//! Owns every truth the master has: frameworks, agents, tasks, offers. Takes facts
//! with the current time (`handle_*`) and yields [`Action`]s (`poll_action`) that
//! the actor performs; `poll_wake` says when it wants to be called without a
//! fact. Refuses sockets, encodings and randomness of its own (ids of streams and
//! of the master come from outside, the allocator is seeded).
//!
//! ```text
//!  scheduler ──calls──▶ ┌──────┐ ──events──▶ scheduler
//!                       │ core │
//!  agent ───messages──▶ └──────┘ ──messages─▶ agent
//!                        time ▲ offers, heartbeats, time-outs
//! ```
//!
//! Life of a framework: `framework`; of an agent: `agent`; of a task: `task`; of an
//! offer: `offers`.

mod accept;
mod agent;
mod agents;
mod calls;
mod events;
mod framework;
mod launch;
mod offers;
mod operations;
mod reconcile;
mod statuses;
mod subscribe;
mod task;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use marmoset_proto::mesos::v1::{
    AgentId, FrameworkId, MasterInfo, OfferId, TaskState,
    scheduler::{Call, Event, call::Type as CallType},
};

pub(crate) use self::{
    agent::{Agent, AgentLink, Executor, LinkId},
    agents::Registration,
    framework::{Capabilities, Connection, Framework, StreamId, role_of, roles_of},
    offers::Offer,
    task::Task,
};
use super::{allocator::Allocator, metrics::Counters};
use crate::{config::MasterTimers, link::ToAgent};

/// Removed frameworks that stay visible, and whose ids are refused.
const COMPLETED_FRAMEWORKS: usize = 50;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For intervals.
    pub(crate) instant: Instant,
    /// For people: seconds since the epoch.
    pub(crate) time: f64,
}

/// What the actor is to do.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all messages are launches, the large variant"
)]
pub(crate) enum Action {
    /// Sends an event to a scheduler.
    SendEvent { stream: StreamId, event: Box<Event> },
    /// Ends a scheduler's stream after what was sent.
    CloseStream { stream: StreamId },
    /// Sends a message to an agent.
    SendAgent { link: LinkId, message: ToAgent },
    /// Gives up a channel to an agent.
    CloseLink { link: LinkId },
}

/// The answer to a call other than SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// 202: what comes of it is told by events.
    Accepted,
    /// 200: done.
    Done,
    /// 400, with a text.
    BadRequest(String),
    /// 403, with a text.
    Forbidden(String),
    /// 501: the type is UNKNOWN.
    NotImplemented,
}

/// Who calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The `Mesos-Stream-Id` header.
    pub(crate) stream: Option<String>,
    /// Set when the caller has authenticated.
    pub(crate) principal: Option<String>,
}

/// When an agent was given up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unreachable {
    /// Nanoseconds since the epoch.
    pub(crate) since_nanos: i64,
}

/// All the master knows.
#[derive(Debug)]
pub(crate) struct Core {
    info: MasterInfo,
    timers: MasterTimers,
    started: Now,
    frameworks: BTreeMap<FrameworkId, Framework>,
    streams: BTreeMap<StreamId, FrameworkId>,
    /// Newest last.
    completed: VecDeque<Framework>,
    agents: BTreeMap<AgentId, Agent>,
    /// Agents of the registry that have not registered with this master yet.
    recovered: BTreeSet<AgentId>,
    unreachable: BTreeMap<AgentId, Unreachable>,
    offers: BTreeMap<OfferId, Offer>,
    allocator: Allocator,
    next_framework: u64,
    next_agent: u64,
    next_offer: u64,
    next_run: Instant,
    counters: Counters,
    actions: VecDeque<Action>,
}

impl Core {
    /// A master that knows nothing but the ids of agents its predecessor had.
    pub(crate) fn new(
        info: MasterInfo,
        timers: MasterTimers,
        seed: u64,
        recovered: impl IntoIterator<Item = AgentId>,
        now: Now,
    ) -> Self {
        Self {
            info,
            allocator: Allocator::new(timers.allocation_interval, seed),
            next_run: now.instant + timers.allocation_interval,
            timers,
            started: now,
            frameworks: BTreeMap::new(),
            streams: BTreeMap::new(),
            completed: VecDeque::new(),
            agents: BTreeMap::new(),
            recovered: recovered.into_iter().collect(),
            unreachable: BTreeMap::new(),
            offers: BTreeMap::new(),
            next_framework: 0,
            next_agent: 0,
            next_offer: 0,
            counters: Counters::default(),
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do. Call until it yields nothing, after every `handle_*`.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_wake`](Self::handle_wake) at the latest.
    pub(crate) fn poll_wake(&self) -> Instant {
        let frameworks =
            self.frameworks.values().filter_map(|framework| match framework.connection {
                Connection::Connected { heartbeat_at, .. } => Some(heartbeat_at),
                Connection::Disconnected { remove_at } => Some(remove_at),
                Connection::Recovered => None,
            });
        let agents = self.agents.values().filter_map(|agent| match agent.link {
            AgentLink::Connected(_) => None,
            AgentLink::Disconnected { give_up_at } => Some(give_up_at),
        });
        // Offers of one time-out expire in the order in which they were made, which is that of
        // their numbers; the scan is short-circuited when there is no time-out at all.
        let offers = self
            .timers
            .offer_timeout
            .and_then(|_| self.offers.values().filter_map(|offer| offer.expires_at).min());
        let recovered = (!self.recovered.is_empty())
            .then(|| self.started.instant + self.timers.agent_reregister_timeout);
        frameworks.chain(agents).chain(offers).chain(recovered).fold(self.next_run, Instant::min)
    }

    /// Does what is due.
    pub(crate) fn handle_wake(&mut self, now: Now) {
        self.send_heartbeats(now);
        self.remove_overdue_frameworks(now);
        self.give_up_overdue_agents(now);
        self.give_up_recovered_agents(now);
        self.rescind_overdue_offers(now);
        if now.instant >= self.next_run {
            self.next_run = now.instant + self.timers.allocation_interval;
            let grants = self.allocator.run_all(now.instant);
            self.send_offers(grants, now);
        }
        self.run_asked(now);
    }

    /// Takes a call other than SUBSCRIBE that passed [validation](super::call::validate).
    pub(crate) fn handle_call(&mut self, call: Call, caller: &Caller, now: Now) -> Reply {
        let id = call.framework_id.unwrap_or_default();
        if let Err(refusal) = self.admit(&id, caller) {
            return refusal;
        }
        let Some(kind) = call.r#type.and_then(|kind| CallType::try_from(kind).ok()) else {
            return Reply::NotImplemented;
        };
        self.counters.count_call(kind);
        match kind {
            CallType::Unknown | CallType::Subscribe => return Reply::NotImplemented,
            CallType::Teardown => self.teardown(&id, now),
            CallType::Accept => self.accept(&id, call.accept.unwrap_or_default(), now),
            CallType::Decline => self.decline(&id, &call.decline.unwrap_or_default(), now),
            CallType::Revive => self.revive(&id, call.revive.unwrap_or_default().roles),
            CallType::Suppress => self.suppress(&id, call.suppress.unwrap_or_default().roles),
            CallType::Kill => self.kill(&id, call.kill.unwrap_or_default(), now),
            CallType::Shutdown => self.shutdown(&id, call.shutdown.unwrap_or_default()),
            CallType::Acknowledge => self.acknowledge(&id, call.acknowledge.unwrap_or_default()),
            CallType::Reconcile => {
                self.reconcile(&id, &call.reconcile.unwrap_or_default().tasks, now);
            }
            CallType::ReconcileOperations => {
                let operations = call.reconcile_operations.unwrap_or_default().operations;
                self.reconcile_operations(&id, operations);
            }
            CallType::Message => self.message(&id, call.message.unwrap_or_default()),
            CallType::UpdateFramework => {
                let update = call.update_framework.unwrap_or_default();
                let reply = self.update_framework(&id, update, now);
                self.run_asked(now);
                return reply;
            }
            // There is no maintenance here, so no inverse offer exists to be answered; the
            // built-in allocator of Mesos ignores REQUEST; operations are answered without uuid.
            CallType::AcceptInverseOffers
            | CallType::DeclineInverseOffers
            | CallType::Request
            | CallType::AcknowledgeOperationStatus => {}
        }
        self.run_asked(now);
        Reply::Accepted
    }

    /// Checks that a call comes from the subscribed scheduler of its framework.
    fn admit(&self, id: &FrameworkId, caller: &Caller) -> Result<(), Reply> {
        let Some(framework) = self.frameworks.get(id) else {
            return Err(Reply::BadRequest("Framework cannot be found".to_owned()));
        };
        let expected = framework.info.principal();
        if let Some(principal) = caller.principal.as_deref().filter(|who| *who != expected) {
            return Err(Reply::BadRequest(format!(
                "Authenticated principal '{principal}' does not match principal '{expected}' set in \
                 `FrameworkInfo`"
            )));
        }
        let Some(stream) = framework.stream() else {
            return Err(Reply::Forbidden("Framework is not subscribed".to_owned()));
        };
        let Some(given) = &caller.stream else {
            return Err(Reply::BadRequest(
                "All non-subscribe calls should include the 'Mesos-Stream-Id' header".to_owned(),
            ));
        };
        if *given != stream.0 {
            return Err(Reply::BadRequest(format!(
                "The stream ID '{given}' included in this request didn't match the stream ID \
                 currently associated with framework ID {id}"
            )));
        }
        Ok(())
    }

    /// Runs the allocator if something asked for it.
    fn run_asked(&mut self, now: Now) {
        if self.allocator.is_asked() {
            let grants = self.allocator.run_asked(now.instant);
            self.send_offers(grants, now);
        }
    }

    fn send_heartbeats(&mut self, now: Now) {
        let interval = self.timers.heartbeat_interval;
        let mut due = Vec::new();
        for (id, framework) in &mut self.frameworks {
            if let Connection::Connected { heartbeat_at, .. } = &mut framework.connection
                && *heartbeat_at <= now.instant
            {
                // From the moment it was due, or the interval would drift.
                *heartbeat_at = (*heartbeat_at + interval).max(now.instant + interval / 2);
                due.push(id.clone());
            }
        }
        for id in due {
            self.send(&id, events::heartbeat());
        }
    }

    /// Sends an event to a framework if it is connected.
    fn send(&mut self, id: &FrameworkId, event: Event) {
        if let Some(stream) = self.frameworks.get(id).and_then(Framework::stream) {
            let stream = stream.clone();
            self.counters.count_event(&event);
            self.actions.push_back(Action::SendEvent { stream, event: Box::new(event) });
        }
    }

    /// Sends a message to an agent if it is connected. False if it is not.
    fn send_agent(&mut self, id: &AgentId, message: ToAgent) -> bool {
        let Some(link) = self.agents.get(id).and_then(Agent::connected) else { return false };
        self.actions.push_back(Action::SendAgent { link, message });
        true
    }

    /// What views read: see `view`.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            info: &self.info,
            timers: &self.timers,
            started: self.started,
            frameworks: &self.frameworks,
            completed: &self.completed,
            agents: &self.agents,
            unreachable: self.unreachable.len(),
            offers: &self.offers,
            counters: &self.counters,
        }
    }

    /// Ids of all agents a successor would find in the registry.
    pub(crate) fn agent_ids(&self) -> Vec<AgentId> {
        self.agents.keys().chain(self.recovered.iter()).cloned().collect()
    }
}

/// Everything a view may look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) info: &'a MasterInfo,
    pub(crate) timers: &'a MasterTimers,
    pub(crate) started: Now,
    pub(crate) frameworks: &'a BTreeMap<FrameworkId, Framework>,
    pub(crate) completed: &'a VecDeque<Framework>,
    pub(crate) agents: &'a BTreeMap<AgentId, Agent>,
    pub(crate) unreachable: usize,
    pub(crate) offers: &'a BTreeMap<OfferId, Offer>,
    pub(crate) counters: &'a Counters,
}

/// A refusal of `failover_timeout` can be years; an instant cannot.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// TASK_LOST stands for all the states that only a PARTITION_AWARE framework knows.
fn state_for(capabilities: Capabilities, aware: TaskState) -> TaskState {
    if capabilities.partition_aware { aware } else { TaskState::TaskLost }
}

#[cfg(test)]
mod tests;
