//! Offers: each is answered when it comes, none is held.
//!
//! Owns the way from an OFFERS event to ACCEPT and DECLINE calls. What is launched is built
//! in [`launch`](super::launch).

use std::{collections::BTreeMap, time::Duration};

use marmoset_proto::{
    mesos::v1::{AgentId, ExecutorId, Offer, OfferId, TaskInfo},
    resources::{Need, Resources},
};

use super::{Core, calls::role};
use crate::{
    clock::Now,
    event::{Notice, WaitReason},
    job::JobId,
    placement::{Candidate, Demand, Grant},
};

/// Offers of one agent for one role, which can be used together.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) agent_id: AgentId,
    pub(super) role: String,
    offer_ids: Vec<OfferId>,
    executor_ids: Vec<ExecutorId>,
    /// What is left for tasks.
    pub(super) resources: Resources,
    /// What an executor is to be started with, if one is to be started.
    pub(super) executor: Option<Resources>,
    pub(super) tasks: Vec<TaskInfo>,
    /// Bytes of lines in `tasks`.
    pub(super) bytes: usize,
}

impl Core {
    pub(super) fn offers(&mut self, now: Now, offers: Vec<Offer>) {
        self.appetite.offered();
        let bundles = self.bundle(offers);
        if !self.is_hungry() {
            let ids = bundles.into_iter().flat_map(|bundle| bundle.offer_ids).collect();
            self.decline(ids, self.config.timing.refuse_idle);
            self.appetite.refused();
            return;
        }
        let mut usable = Vec::new();
        for mut bundle in bundles {
            let paused =
                self.agents.get(&bundle.agent_id).and_then(|agent| agent.pause(now.instant));
            if let Some(pause) = paused {
                self.decline(bundle.offer_ids, pause);
            } else if self.charge_executor(&mut bundle) {
                usable.push(bundle);
            } else {
                self.note_too_small(&bundle);
                self.decline(bundle.offer_ids, self.config.timing.refuse_small);
            }
        }
        let jobs = self.demands();
        let grants = self.place(&usable, &jobs);
        self.fill(now, &mut usable, &jobs, &grants);
        self.answer(usable);
    }

    /// Reads offers and puts those together that one ACCEPT can name.
    fn bundle(&mut self, offers: Vec<Offer>) -> Vec<Bundle> {
        let mut bundles: BTreeMap<(AgentId, String), Bundle> = BTreeMap::new();
        for offer in offers {
            self.counters.offers += 1;
            let resources = match Resources::from_proto(&offer.resources) {
                Ok(resources) => resources,
                Err(error) => {
                    self.notice(Notice::Malformed {
                        what: format!("offer `{}`: {error}", offer.id),
                    });
                    self.decline(vec![offer.id], self.config.timing.refuse_small);
                    continue;
                }
            };
            self.agents.learn(&offer);
            let role = role(&offer);
            self.notice(Notice::Offered {
                offer_id: offer.id.clone(),
                agent_id: offer.agent_id.clone(),
                hostname: offer.hostname,
                resources: resources.clone(),
            });
            let bundle =
                bundles.entry((offer.agent_id.clone(), role.clone())).or_insert_with(|| Bundle {
                    agent_id: offer.agent_id,
                    role,
                    offer_ids: Vec::new(),
                    executor_ids: Vec::new(),
                    resources: Resources::default(),
                    executor: None,
                    tasks: Vec::new(),
                    bytes: 0,
                });
            bundle.offer_ids.push(offer.id);
            bundle.executor_ids.extend(offer.executor_ids);
            bundle.resources += &resources;
        }
        bundles.into_values().collect()
    }

    /// Takes the executor's share out of an offer unless it runs there already.
    ///
    /// An executor that the offer does not name is charged even if it was launched before: the
    /// offer may be older than the launch, or the executor may have ended unnoticed.
    fn charge_executor(&self, bundle: &mut Bundle) -> bool {
        let own = self.agents.get(&bundle.agent_id).and_then(|agent| agent.executor(&bundle.role));
        match own {
            Some(own) if bundle.executor_ids.contains(&own.info.executor_id) => true,
            Some(own) => match bundle.resources.checked_sub(&own.resources) {
                Some(rest) => {
                    bundle.resources = rest;
                    true
                }
                None => false,
            },
            None => {
                bundle.executor = bundle.resources.take(&self.config.executor.need);
                bundle.executor.is_some()
            }
        }
    }

    /// Jobs with something to run, in the order they came.
    fn demands(&self) -> Vec<(JobId, u64)> {
        let jobs = self.jobs.values().map(|job| (job.id, job.wanted()));
        jobs.filter(|(_, wanted)| *wanted > 0).collect()
    }

    fn place(&mut self, usable: &[Bundle], jobs: &[(JobId, u64)]) -> Vec<Grant> {
        let candidates = usable
            .iter()
            .filter_map(|bundle| {
                let agent = self.agents.get(&bundle.agent_id)?;
                Some(Candidate {
                    agent_id: &bundle.agent_id,
                    hostname: &agent.hostname,
                    attributes: &agent.attributes,
                    resources: &bundle.resources,
                    running: agent.slots,
                })
            })
            .collect::<Vec<_>>();
        let demands = jobs
            .iter()
            .filter_map(|(id, wanted)| {
                let spec = &self.jobs.get(id)?.spec;
                Some(Demand { job: *id, name: &spec.name, need: &spec.need, wanted: *wanted })
            })
            .collect::<Vec<_>>();
        self.placement.place(&candidates, &demands)
    }

    /// Launches what was granted, as far as it fits.
    fn fill(&mut self, now: Now, usable: &mut [Bundle], jobs: &[(JobId, u64)], grants: &[Grant]) {
        for (position, (job_id, _)) in jobs.iter().enumerate() {
            let Some(need) = self.jobs.get(job_id).map(|job| job.spec.need) else { continue };
            let mut granted = Vec::new();
            for grant in grants.iter().filter(|grant| grant.demand == position) {
                if let Some(bundle) = usable.get(grant.candidate) {
                    let slots = grant.slots.min(bundle.resources.count_of(&need));
                    granted.push((grant.candidate, slots));
                }
            }
            let new_slots = granted.iter().map(|(_, slots)| *slots).sum();
            for (candidate, slots) in granted {
                self.launch(now, &mut usable[candidate], *job_id, slots, new_slots);
            }
            self.note_obstacles(*job_id, &need, usable, new_slots);
        }
    }

    fn answer(&mut self, usable: Vec<Bundle>) {
        let wanting = self.demands();
        let needs = wanting
            .iter()
            .filter_map(|(id, _)| self.jobs.get(id).map(|job| job.spec.need))
            .collect::<Vec<_>>();
        for bundle in usable {
            let refuse = self.refuse(&bundle, &needs);
            if bundle.tasks.is_empty() {
                self.decline(bundle.offer_ids, refuse);
            } else {
                self.accept(bundle.offer_ids, bundle.tasks, refuse);
            }
        }
    }

    /// How long the rest of an offer is not wanted.
    fn refuse(&mut self, bundle: &Bundle, needs: &[Need]) -> Duration {
        if needs.is_empty() {
            self.appetite.refused();
            return self.config.timing.refuse_idle;
        }
        let useful = needs.iter().any(|need| bundle.resources.fits(need));
        match (useful, bundle.tasks.is_empty()) {
            // More could run there: limits are in the way, and they pass.
            (true, false) => Duration::ZERO,
            // The filter ends early when more comes free there, and with every REVIVE.
            (false, _) | (true, true) => self.config.timing.refuse_small,
        }
    }

    fn note_too_small(&mut self, bundle: &Bundle) {
        let jobs = self.demands();
        for (job_id, _) in jobs {
            let Some(job) = self.jobs.get(&job_id) else { continue };
            let reason = self.too_small(&job.spec.need, bundle);
            self.note(job_id, bundle, reason);
        }
    }

    /// Remembers why offers were of no use to a job.
    fn note_obstacles(&mut self, job_id: JobId, need: &Need, usable: &[Bundle], new_slots: u64) {
        if new_slots > 0 {
            return;
        }
        for bundle in usable {
            let reason = if bundle.resources.fits(need) {
                WaitReason::NotPlaced
            } else {
                self.too_small(need, bundle)
            };
            self.note(job_id, bundle, reason);
        }
    }

    fn note(&mut self, job_id: JobId, bundle: &Bundle, reason: WaitReason) {
        let size = bundle.resources.cpus().map_or(0, |cpus| cpus.0);
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if job.stall.seen.as_ref().is_none_or(|(largest, _)| *largest <= size) {
            job.stall.seen = Some((size, reason));
        }
    }

    fn too_small(&self, need: &Need, bundle: &Bundle) -> WaitReason {
        let agent = self.agents.get(&bundle.agent_id);
        let mut offered = bundle.resources.clone();
        let mut asked = describe(need);
        let runs = agent.is_some_and(|agent| agent.executor(&bundle.role).is_some());
        if !runs {
            asked =
                format!("{asked} and the executor for {}", describe(&self.config.executor.need));
        }
        if let Some(share) = &bundle.executor {
            offered += share;
        }
        offered.unallocate();
        let offered = match offered.is_empty() {
            true => "nothing".to_owned(),
            false => offered.to_string(),
        };
        let hostname = agent.map(|agent| agent.hostname.clone()).unwrap_or_default();
        WaitReason::TooSmall { asked, offered, hostname }
    }
}

/// As Mesos writes resources: `cpus:0.1; mem:16`.
fn describe(need: &Need) -> String {
    let scalars =
        [("cpus", need.cpus), ("mem", need.mem), ("disk", need.disk), ("gpus", need.gpus)];
    let mut parts = scalars
        .into_iter()
        .filter(|(_, amount)| amount.0 > 0)
        .map(|(name, amount)| format!("{name}:{amount}"))
        .collect::<Vec<_>>();
    if need.ports > 0 {
        parts.push(format!("{} ports", need.ports));
    }
    parts.join("; ")
}
