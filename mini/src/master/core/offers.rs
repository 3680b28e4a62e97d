//! Offers: made of what the allocator grants, ended by an answer or by the master.
//!
//! ```text
//!            grant                 ACCEPT, DECLINE
//!  (free) ─────────▶ outstanding ─────────────────▶ used, or free again (perhaps filtered)
//!                        │  agent lost, role left, --offer_timeout: RESCIND, free again
//!                        └─ framework gone or failed over: free again, nobody is told
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use marmoset_proto::{
    mesos::v1::{
        self, AgentId, FrameworkId, OfferId, Url, resource::AllocationInfo,
        scheduler::call::Decline,
    },
    resources::Resources,
};

use super::{Core, Now, events};
use crate::master::allocator::{Grant, refusal};

/// An offer that was sent and not answered.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) framework_id: FrameworkId,
    pub(crate) agent_id: AgentId,
    pub(crate) role: String,
    /// Allocated to the role.
    pub(crate) resources: Resources,
    /// With `--offer_timeout` only.
    pub(crate) expires_at: Option<Instant>,
}

impl Core {
    /// Makes one offer of each grant and sends one event per framework.
    pub(super) fn send_offers(&mut self, grants: Vec<Grant>, now: Now) {
        let mut by_framework = BTreeMap::<FrameworkId, Vec<v1::Offer>>::new();
        for grant in grants {
            let framework = grant.framework.clone();
            if let Some(offer) = self.make_offer(grant, now) {
                by_framework.entry(framework).or_default().push(offer);
            }
        }
        for (framework, offers) in by_framework {
            self.counters.offers_sent += offers.len() as u64;
            self.send(&framework, events::offers(offers));
        }
    }

    fn make_offer(&mut self, grant: Grant, now: Now) -> Option<v1::Offer> {
        let Grant { framework: framework_id, role, agent: agent_id, resources } = grant;
        let framework = self.frameworks.get_mut(&framework_id)?;
        let agent = self.agents.get_mut(&agent_id)?;
        let id = OfferId::from(format!("{}-O{}", self.info.id, self.next_offer));
        self.next_offer += 1;

        let mut allocated = in_order(&resources);
        allocated.allocate(&role);
        let multi_role = framework.capabilities.multi_role;
        let sent = if multi_role { &allocated } else { &in_order(&resources) };
        let hostname = agent.info.hostname.clone();
        let offer = v1::Offer {
            id: id.clone(),
            framework_id: framework_id.clone(),
            agent_id: agent_id.clone(),
            hostname: hostname.clone(),
            url: Some(Url {
                scheme: "http".to_owned(),
                address: v1::Address {
                    hostname: Some(hostname),
                    ip: Some(agent.addr.ip().to_string()),
                    port: agent.addr.port().into(),
                },
                path: Some("/slave(1)".to_owned()),
                ..Url::default()
            }),
            resources: sent.to_proto_in(framework.capabilities.format()),
            attributes: agent.info.attributes.clone(),
            executor_ids: agent.executors_of(&framework_id).map(|(id, _)| id.clone()).collect(),
            allocation_info: multi_role.then(|| AllocationInfo { role: Some(role.clone()) }),
            domain: agent.info.domain.clone(),
            ..v1::Offer::default()
        };
        agent.offered += &allocated;
        agent.offers.insert(id.clone());
        framework.offers.insert(id.clone());
        let expires_at = self.timers.offer_timeout.map(|timeout| now.instant + timeout);
        let record = Offer { framework_id, agent_id, role, resources: allocated, expires_at };
        self.offers.insert(id, record);
        Some(offer)
    }

    pub(super) fn decline(&mut self, id: &FrameworkId, decline: &Decline, now: Now) {
        let refuse = refusal(decline.filters.as_ref());
        for offer_id in &decline.offer_ids {
            // Ids that are not (or no longer) offers of this framework do no harm.
            if self.offers.get(offer_id).is_some_and(|offer| offer.framework_id == *id) {
                self.counters.offers_declined += 1;
                self.free_offer(offer_id, Some(refuse), now);
            }
        }
    }

    /// Ends an offer without giving its resources back.
    pub(super) fn take_offer(&mut self, id: &OfferId) -> Option<Offer> {
        let offer = self.offers.remove(id)?;
        if let Some(framework) = self.frameworks.get_mut(&offer.framework_id) {
            framework.offers.remove(id);
        }
        if let Some(agent) = self.agents.get_mut(&offer.agent_id) {
            agent.offers.remove(id);
            agent.offered -= &offer.resources;
        }
        Some(offer)
    }

    /// Ends an offer and gives its resources back.
    pub(super) fn free_offer(&mut self, id: &OfferId, refuse: Option<Duration>, now: Now) {
        if let Some(offer) = self.take_offer(id) {
            self.allocator.recover(
                &offer.framework_id,
                &offer.agent_id,
                &offer.resources,
                refuse,
                now.instant,
            );
        }
    }

    /// Ends all offers of a framework without telling it.
    pub(super) fn discard_offers(&mut self, id: &FrameworkId, now: Now) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        for offer in std::mem::take(&mut framework.offers) {
            self.free_offer(&offer, None, now);
        }
    }

    /// Ends offers and tells their frameworks.
    pub(super) fn rescind(&mut self, offers: impl IntoIterator<Item = OfferId>, now: Now) {
        for id in offers {
            let Some(framework) = self.offers.get(&id).map(|offer| offer.framework_id.clone())
            else {
                continue;
            };
            self.free_offer(&id, None, now);
            self.send(&framework, events::rescind(id));
        }
    }

    pub(super) fn rescind_offers_of_roles(
        &mut self,
        id: &FrameworkId,
        roles: &BTreeSet<String>,
        now: Now,
    ) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let offers = framework
            .offers
            .iter()
            .filter(|offer| {
                self.offers.get(*offer).is_some_and(|known| roles.contains(&known.role))
            })
            .cloned()
            .collect::<Vec<_>>();
        self.rescind(offers, now);
    }

    pub(super) fn rescind_overdue_offers(&mut self, now: Now) {
        if self.timers.offer_timeout.is_none() {
            return;
        }
        let overdue = self
            .offers
            .iter()
            .filter(|(_, offer)| offer.expires_at.is_some_and(|at| at <= now.instant))
            .map(|(id, _)| id.clone())
            .collect::<Vec<_>>();
        self.rescind(overdue, now);
    }
}

/// Puts resources in the order in which Mesos' offers have them.
fn in_order(resources: &Resources) -> Resources {
    const NAMES: [&str; 4] = ["ports", "cpus", "mem", "disk"];
    let mut ordered = Resources::default();
    for name in NAMES {
        ordered += &resources.filter(|entry| entry.name() == name);
    }
    ordered += &resources.filter(|entry| !NAMES.contains(&entry.name()));
    ordered
}
