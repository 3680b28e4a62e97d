//! Agents as offers tell of them, and the one resident executor on each.
//!
//! Owns the ExecutorInfo that each executor was launched with: Mesos wants it byte for byte
//! the same for all tasks of one executor id on one agent, for ever. Refuses to decide what
//! is launched.
//!
//! ```text
//!             launch                     ended (update or FAILURE)
//!   (none) ───────────▶ Executor n ───────────────────────────────▶ (none), n + 1 next
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use marmoset_proto::{
    mesos::v1::{
        AgentId, Attribute, DurationInfo, ExecutorId, ExecutorInfo, FrameworkId, Offer,
        executor_info,
    },
    resources::Resources,
};

use crate::config::{ExecutorTemplate, Timing};

/// An agent that offered something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agent {
    pub(crate) hostname: String,
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) attributes: Vec<Attribute>,
    /// The executor for each role.
    executors: BTreeMap<String, Executor>,
    /// How many executor ids were used.
    used: u32,
    /// Ids that the agent has from elsewhere, such as an earlier life of this framework.
    foreign: BTreeSet<ExecutorId>,
    /// Mesos tasks that are with it.
    pub(crate) mesos_tasks: u64,
    /// Slots of these.
    pub(crate) slots: u64,
    /// Executors in a row that ended without a single result.
    failures: u32,
    /// Times in a row that launches were dropped, and when last.
    drops: Option<(u32, Instant)>,
    /// Nothing is launched until then, and why.
    pub(crate) paused: Option<(Instant, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Executor {
    pub(crate) info: ExecutorInfo,
    pub(crate) resources: Resources,
    /// Whether it ever ran something to its end.
    useful: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    by_id: BTreeMap<AgentId, Agent>,
}

impl Agents {
    pub(crate) fn get(&self, agent_id: &AgentId) -> Option<&Agent> {
        self.by_id.get(agent_id)
    }

    pub(crate) fn get_mut(&mut self, agent_id: &AgentId) -> Option<&mut Agent> {
        self.by_id.get_mut(agent_id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&AgentId, &Agent)> {
        self.by_id.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
    }

    /// Drops an agent that is gone, unless Mesos tasks are still to be told of.
    pub(crate) fn remove(&mut self, agent_id: &AgentId) {
        if let Some(agent) = self.by_id.get_mut(agent_id) {
            agent.executors.clear();
            if agent.mesos_tasks == 0 {
                self.by_id.remove(agent_id);
            }
        }
    }

    /// Learns what an offer tells about its agent.
    pub(crate) fn learn(&mut self, offer: &Offer) -> &mut Agent {
        let agent = self.by_id.entry(offer.agent_id.clone()).or_default();
        agent.hostname.clone_from(&offer.hostname);
        let address = offer.url.as_ref().map(|url| &url.address);
        agent.address = address
            .and_then(|address| address.ip.clone().or_else(|| address.hostname.clone()))
            .unwrap_or_else(|| offer.hostname.clone());
        agent.port =
            address.and_then(|address| u16::try_from(address.port).ok()).unwrap_or(DEFAULT_PORT);
        agent.attributes.clone_from(&offer.attributes);
        for executor_id in &offer.executor_ids {
            let known = agent.executors.values().any(|own| own.info.executor_id == *executor_id);
            if !known {
                agent.foreign.insert(executor_id.clone());
            }
        }
        agent
    }
}

impl Agent {
    pub(crate) fn executor(&self, role: &str) -> Option<&Executor> {
        self.executors.get(role)
    }

    /// Takes an executor into use, with resources cut out of an offer.
    pub(crate) fn start_executor(
        &mut self,
        role: &str,
        template: &ExecutorTemplate,
        framework_id: &FrameworkId,
        resources: Resources,
    ) -> ExecutorInfo {
        let executor_id = loop {
            self.used += 1;
            let id = match self.used {
                1 => template.id.clone(),
                again => format!("{}-{again}", template.id),
            };
            let id = ExecutorId::from(id);
            if !self.foreign.contains(&id) {
                break id;
            }
        };
        let info = ExecutorInfo {
            executor_id,
            r#type: Some(executor_info::Type::Custom.into()),
            framework_id: Some(framework_id.clone()),
            name: Some(template.name.clone()),
            command: Some(template.command.clone()),
            container: template.container.clone(),
            data: template.data.clone(),
            resources: resources.to_proto(),
            shutdown_grace_period: template.shutdown_grace_period.map(duration_info),
            ..ExecutorInfo::default()
        };
        let executor = Executor { info: info.clone(), resources, useful: false };
        self.executors.insert(role.to_owned(), executor);
        info
    }

    /// Learns that an executor ran something to its end.
    pub(crate) fn executor_useful(&mut self, executor_id: &ExecutorId) {
        let own = self.executors.values_mut().find(|own| own.info.executor_id == *executor_id);
        if let Some(executor) = own {
            executor.useful = true;
            self.failures = 0;
            self.drops = None;
            self.paused = None;
        }
    }

    /// Learns that an executor ended: the next one gets another id. Says whether that was news.
    pub(crate) fn executor_ended(
        &mut self,
        now: Instant,
        executor_id: &ExecutorId,
        message: &str,
        timing: &Timing,
    ) -> bool {
        let role = self
            .executors
            .iter()
            .find(|(_, own)| own.info.executor_id == *executor_id)
            .map(|(role, _)| role.clone());
        let Some(executor) = role.and_then(|role| self.executors.remove(&role)) else {
            return false;
        };
        if !executor.useful {
            self.pause_for(now, self.failures, message, timing);
            self.failures = self.failures.saturating_add(1);
        }
        true
    }

    /// Learns that the agent did not take what was launched. That happens once when something
    /// changed there meanwhile; an agent that drops again and again is left alone for a while.
    pub(crate) fn dropped(&mut self, now: Instant, message: &str, timing: &Timing) {
        let times = match self.drops {
            None => 1,
            // One ACCEPT is told of Mesos task by Mesos task.
            Some((_, last)) if last + timing.agent_backoff > now => return,
            Some((times, _)) => times.saturating_add(1),
        };
        self.drops = Some((times, now));
        if let Some(again) = times.checked_sub(2) {
            self.pause_for(now, again, message, timing);
        }
    }

    fn pause_for(&mut self, now: Instant, doublings: u32, message: &str, timing: &Timing) {
        let doubled = 2_u32.saturating_pow(doublings.min(16));
        let pause = timing.agent_backoff.saturating_mul(doubled).min(timing.agent_backoff_max);
        self.paused = Some((now + pause, message.to_owned()));
    }

    /// How much longer nothing is to be launched.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        let (until, _) = self.paused.as_ref()?;
        until.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }
}

pub(crate) fn duration_info(duration: Duration) -> DurationInfo {
    DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}

/// Where agents listen unless they are told otherwise.
const DEFAULT_PORT: u16 = 5051;
