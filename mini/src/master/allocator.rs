//! Who is offered what: the hierarchical allocator, without I/O and clock.
//!
//! Owns what is free on each agent, who wants offers, what they refused and for
//! how long, and the fair shares. Knows no offer ids, tasks or connections: the
//! master's core tells it what was charged, recovered, refused, and asks for a
//! run.
//!
//! ```text
//!  resources of an agent:   free ──run()──▶ allocated (offered, then perhaps used)
//!                             ▲────────────────┘ recover(), perhaps with a filter
//! ```
//!
//! Runs happen every allocation interval over all agents, and at once when a
//! framework or agent becomes available or a framework revives. Recovered
//! resources wait for the next interval. (Mesos 1.11,
//! src/master/allocator/mesos/hierarchical.cpp.)

mod constraints;
mod filter;
mod share;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use marmoset_proto::{
    mesos::v1::{AgentId, AgentInfo, FrameworkId, OfferFilters},
    resources::{Millis, Resources},
};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

pub(crate) use self::{constraints::Constraints, filter::refusal};
use self::{
    filter::RefusedOffers,
    share::{Quantities, Shares},
};
use super::core::Capabilities;

/// Below both of these nothing is offered: `--min_allocatable_resources=cpus:0.01|mem:32`.
const MIN_CPUS: Millis = Millis(10);
const MIN_MEM: Millis = Millis(32_000);

/// Resources of one agent that a run gave to one role of one framework.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grant {
    pub(crate) framework: FrameworkId,
    pub(crate) role: String,
    pub(crate) agent: AgentId,
    /// Not marked with the role yet.
    pub(crate) resources: Resources,
}

/// What a framework asks the allocator for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) roles: BTreeSet<String>,
    pub(crate) suppressed: BTreeSet<String>,
    pub(crate) capabilities: Capabilities,
    pub(crate) offer_filters: BTreeMap<String, OfferFilters>,
    pub(crate) constraints: Constraints,
}

#[derive(Debug)]
struct Subscriber {
    wishes: Wishes,
    active: bool,
    refused: RefusedOffers,
}

#[derive(Debug)]
struct Pool {
    info: AgentInfo,
    total: Resources,
    /// Offered or used, not marked with roles.
    allocated: Resources,
    active: bool,
}

impl Pool {
    fn free(&self) -> Resources {
        let mut free = self.total.clone();
        free -= &self.allocated;
        free
    }
}

/// Which agents wait for a run before the next interval.
#[derive(Debug, Default)]
enum Pending {
    #[default]
    None,
    Some(BTreeSet<AgentId>),
    All,
}

/// The allocator.
#[derive(Debug)]
pub(crate) struct Allocator {
    interval: Duration,
    subscribers: BTreeMap<FrameworkId, Subscriber>,
    pools: BTreeMap<AgentId, Pool>,
    shares: Shares,
    pending: Pending,
    random: StdRng,
}

impl Allocator {
    /// An allocator without agents; the seed decides the order in which agents are looked at.
    pub(crate) fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            subscribers: BTreeMap::new(),
            pools: BTreeMap::new(),
            shares: Shares::default(),
            pending: Pending::None,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Adds an agent, with what frameworks already use of it.
    pub(crate) fn add_agent<'a>(
        &mut self,
        info: AgentInfo,
        total: Resources,
        used: impl IntoIterator<Item = (&'a FrameworkId, &'a Resources)>,
    ) {
        let Some(id) = info.id.clone() else { return };
        self.shares.add_total(&Quantities::of(&total));
        let pool = Pool { info, total, allocated: Resources::default(), active: true };
        self.pools.insert(id.clone(), pool);
        for (framework, resources) in used {
            self.charge(framework, &id, resources);
        }
        self.ask(&id);
    }

    /// Forgets an agent and everything on it.
    pub(crate) fn remove_agent(&mut self, id: &AgentId) {
        if let Some(pool) = self.pools.remove(id) {
            self.shares.remove_total(&Quantities::of(&pool.total));
        }
        for subscriber in self.subscribers.values_mut() {
            subscriber.refused.forget_agent(id);
        }
    }

    /// Offers an agent, or stops to.
    pub(crate) fn set_agent_active(&mut self, id: &AgentId, active: bool) {
        if let Some(pool) = self.pools.get_mut(id) {
            pool.active = active;
        }
        if active {
            self.ask(id);
        }
    }

    /// Exchanges offered resources of an agent for the same amounts under other reservations.
    pub(crate) fn convert(&mut self, id: &AgentId, from: &Resources, to: &Resources) {
        if let Some(pool) = self.pools.get_mut(id) {
            for resources in [&mut pool.total, &mut pool.allocated] {
                *resources -= from;
                *resources += to;
            }
        }
    }

    /// Adds a framework or changes what it wishes; it gets offers only while active.
    pub(crate) fn set_framework(&mut self, id: &FrameworkId, wishes: Wishes, active: bool) {
        match self.subscribers.get_mut(id) {
            Some(known) => {
                known.wishes = wishes;
                known.active = active;
            }
            None => {
                let refused = RefusedOffers::default();
                self.subscribers.insert(id.clone(), Subscriber { wishes, active, refused });
            }
        }
        if active {
            self.pending = Pending::All;
        }
    }

    /// Stops offers to a framework and forgets what it refused.
    pub(crate) fn deactivate_framework(&mut self, id: &FrameworkId) {
        if let Some(subscriber) = self.subscribers.get_mut(id) {
            subscriber.active = false;
            subscriber.refused = RefusedOffers::default();
        }
    }

    /// Forgets a framework. What it used must have been recovered.
    pub(crate) fn remove_framework(&mut self, id: &FrameworkId) {
        self.subscribers.remove(id);
    }

    /// Marks resources, allocated to roles, as used without an offer.
    pub(crate) fn charge(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        resources: &Resources,
    ) {
        for (role, part) in by_role(resources) {
            self.shares.add(&role, framework, &Quantities::of(&part));
        }
        if let Some(pool) = self.pools.get_mut(agent) {
            let mut plain = resources.clone();
            plain.unallocate();
            pool.allocated += &plain;
        }
    }

    /// Takes back resources, allocated to roles; with `refuse` the framework does not want them
    /// again for that long.
    pub(crate) fn recover(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        resources: &Resources,
        refuse: Option<Duration>,
        now: Instant,
    ) {
        if resources.is_empty() {
            return;
        }
        let mut plain = resources.clone();
        plain.unallocate();
        for (role, part) in by_role(resources) {
            self.shares.remove(&role, framework, &Quantities::of(&part));
            if let (Some(refuse), Some(subscriber)) =
                (refuse.filter(|refuse| !refuse.is_zero()), self.subscribers.get_mut(framework))
            {
                let mut part = part;
                part.unallocate();
                let until = now + refuse.max(self.interval);
                subscriber.refused.add(role, agent.clone(), part, until);
            }
        }
        if let Some(pool) = self.pools.get_mut(agent) {
            pool.allocated -= &plain;
        }
    }

    /// Stops offers for roles; none of them means all.
    pub(crate) fn suppress(&mut self, framework: &FrameworkId, roles: &BTreeSet<String>) {
        if let Some(Subscriber { wishes, .. }) = self.subscribers.get_mut(framework) {
            let roles = if roles.is_empty() { &wishes.roles } else { roles };
            wishes.suppressed.extend(roles.iter().cloned());
        }
    }

    /// Wants offers for roles again, also of what was refused; none of them means all.
    pub(crate) fn revive(&mut self, framework: &FrameworkId, roles: &BTreeSet<String>) {
        let Some(Subscriber { wishes, refused, .. }) = self.subscribers.get_mut(framework) else {
            return;
        };
        let roles = if roles.is_empty() { wishes.roles.clone() } else { roles.clone() };
        wishes.suppressed.retain(|role| !roles.contains(role));
        refused.forget_roles(&roles);
        self.pending = Pending::All;
    }

    /// Whether a run is due before the next interval.
    pub(crate) fn is_asked(&self) -> bool {
        match &self.pending {
            Pending::None => false,
            Pending::Some(_) | Pending::All => true,
        }
    }

    /// Gives what is free on the agents that wait for a run.
    pub(crate) fn run_asked(&mut self, now: Instant) -> Vec<Grant> {
        let agents = match std::mem::take(&mut self.pending) {
            Pending::None => return Vec::new(),
            Pending::Some(agents) => agents.into_iter().collect(),
            Pending::All => self.pools.keys().cloned().collect(),
        };
        self.run(agents, now)
    }

    /// Gives what is free on all agents.
    pub(crate) fn run_all(&mut self, now: Instant) -> Vec<Grant> {
        self.pending = Pending::None;
        self.run(self.pools.keys().cloned().collect(), now)
    }

    /// What nobody holds of an agent.
    #[cfg(test)]
    pub(crate) fn free(&self, id: &AgentId) -> Option<Resources> {
        self.pools.get(id).map(Pool::free)
    }

    fn ask(&mut self, id: &AgentId) {
        match &mut self.pending {
            Pending::None => self.pending = Pending::Some(BTreeSet::from([id.clone()])),
            Pending::Some(agents) => {
                agents.insert(id.clone());
            }
            Pending::All => {}
        }
    }

    fn run(&mut self, mut agents: Vec<AgentId>, now: Instant) -> Vec<Grant> {
        if !self.subscribers.values().any(|subscriber| subscriber.active) {
            return Vec::new();
        }
        for subscriber in self.subscribers.values_mut() {
            subscriber.refused.expire(now);
        }
        agents.shuffle(&mut self.random);
        let mut grants = Vec::new();
        for agent in agents {
            let Some(pool) = self.pools.get(&agent).filter(|pool| pool.active) else { continue };
            let mut free = pool.free();
            if free.is_empty() {
                continue;
            }
            for (role, framework) in self.shares.order(self.candidates()) {
                let Some(resources) = self.eligible(&framework, &role, &agent, &free) else {
                    continue;
                };
                free -= &resources;
                let mut allocated = resources.clone();
                allocated.allocate(&role);
                self.charge(&framework, &agent, &allocated);
                grants.push(Grant { framework, role, agent: agent.clone(), resources });
                if free.is_empty() {
                    break;
                }
            }
        }
        grants
    }

    /// Every role that wants offers, with its frameworks.
    fn candidates(&self) -> BTreeMap<String, Vec<FrameworkId>> {
        let mut candidates = BTreeMap::<String, Vec<FrameworkId>>::new();
        for (id, subscriber) in self.subscribers.iter().filter(|(_, known)| known.active) {
            for role in subscriber.wishes.roles.difference(&subscriber.wishes.suppressed) {
                candidates.entry(role.clone()).or_default().push(id.clone());
            }
        }
        candidates
    }

    /// What of `free` is offered to a role of a framework, if anything.
    fn eligible(
        &self,
        framework: &FrameworkId,
        role: &str,
        agent: &AgentId,
        free: &Resources,
    ) -> Option<Resources> {
        let Subscriber { wishes, refused, .. } = self.subscribers.get(framework)?;
        let pool = self.pools.get(agent)?;
        let has_gpus = pool.total.gpus().is_some_and(|gpus| gpus > Millis::ZERO);
        if has_gpus && !wishes.capabilities.gpu_resources {
            return None;
        }
        if !wishes.constraints.allow(role, &pool.info) {
            return None;
        }
        let visible = visible_to(free, role, wishes.capabilities);
        let allocatable = is_allocatable(&visible, wishes.offer_filters.get(role));
        let refused = refused.covers(role, agent, &visible);
        (!visible.is_empty() && allocatable && !refused).then_some(visible)
    }
}

/// Splits allocated resources by the role they are allocated to.
fn by_role(resources: &Resources) -> Vec<(String, Resources)> {
    let roles = resources
        .iter()
        .map(|entry| entry.allocated_to().unwrap_or_default().to_owned())
        .collect::<BTreeSet<_>>();
    roles
        .into_iter()
        .map(|role| {
            let part = resources.filter(|entry| entry.allocated_to().unwrap_or_default() == role);
            (role, part)
        })
        .collect()
}

/// What is unreserved, or reserved to the role or to one above it.
fn visible_to(free: &Resources, role: &str, capabilities: Capabilities) -> Resources {
    let refined = capabilities.reservation_refinement;
    free.allocatable_to(role).filter(|entry| refined || entry.reservations().len() < 2)
}

/// Whether resources are worth an offer: by the framework's own rule for the role, or the master's.
fn is_allocatable(resources: &Resources, filters: Option<&OfferFilters>) -> bool {
    let own = filters.and_then(|filters| filters.min_allocatable_resources.as_ref());
    let Some(own) = own else {
        return resources.cpus().is_some_and(|cpus| cpus >= MIN_CPUS)
            || resources.mem().is_some_and(|mem| mem >= MIN_MEM);
    };
    let amount = |name: &str| match name {
        "ports" => Millis(resources.ports().count().saturating_mul(1000)),
        _ => resources.scalar(name).unwrap_or(Millis::ZERO),
    };
    own.quantities.is_empty()
        || own.quantities.iter().any(|all| {
            all.quantities.iter().all(|(name, wanted)| {
                Millis::from_f64(wanted.value).is_some_and(|wanted| amount(name) >= wanted)
            })
        })
}

#[cfg(test)]
mod tests;
