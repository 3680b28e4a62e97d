//! Counters since the master started, and `/metrics/snapshot` made of them.
//!
//! The names are those of Mesos 1.11 that dashboards read; metrics of parts that
//! do not exist here (registrar, quota, operators' streams) are left out.

use std::collections::BTreeMap;

use marmoset_proto::{
    mesos::v1::{
        TaskState, TaskStatus,
        offer::operation::Type as OperationType,
        scheduler::{Event, call::Type as CallType, event::Type as EventType},
        task_status::{Reason, Source},
    },
    resources::Resources,
};
use serde_json::{Map, Value, json};

use super::core::{Facts, Now};

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: BTreeMap<CallType, u64>,
    events: BTreeMap<EventType, u64>,
    operations: BTreeMap<OperationType, u64>,
    /// By terminal state.
    ended: BTreeMap<&'static str, u64>,
    /// By state, source and reason.
    reasons: BTreeMap<String, u64>,
    pub(crate) offers_sent: u64,
    pub(crate) offers_accepted: u64,
    pub(crate) offers_declined: u64,
    pub(crate) valid_status_updates: u64,
    pub(crate) invalid_status_updates: u64,
    pub(crate) valid_acknowledgements: u64,
    pub(crate) invalid_acknowledgements: u64,
    pub(crate) agent_registrations: u64,
    pub(crate) agent_reregistrations: u64,
    pub(crate) agent_removals: u64,
}

impl Counters {
    pub(crate) fn count_call(&mut self, kind: CallType) {
        *self.calls.entry(kind).or_default() += 1;
    }

    pub(crate) fn count_event(&mut self, event: &Event) {
        if let Some(kind) = event.r#type.and_then(|kind| EventType::try_from(kind).ok()) {
            *self.events.entry(kind).or_default() += 1;
        }
    }

    pub(crate) fn count_operation(&mut self, kind: OperationType) {
        *self.operations.entry(kind).or_default() += 1;
    }

    /// An update that the master made.
    pub(crate) fn count_update(&mut self, status: &TaskStatus) {
        self.count_end(status.state(), status);
    }

    /// A task has reached a state of which it does not leave.
    pub(crate) fn count_end(&mut self, state: TaskState, status: &TaskStatus) {
        if !state.is_terminal() {
            return;
        }
        *self.ended.entry(state.short_name()).or_default() += 1;
        let Some(reason) = status.reason.and_then(|reason| Reason::try_from(reason).ok()) else {
            return;
        };
        let source = match status.source() {
            Source::Master => "source_master",
            Source::Agent => "source_slave",
            Source::Executor => "source_executor",
        };
        let reason = reason.as_str_name().to_lowercase();
        let name = format!("master/task_{}/{source}/{reason}", state.short_name());
        *self.reasons.entry(name).or_default() += 1;
    }

    fn calls(&self, kind: CallType) -> u64 {
        self.calls.get(&kind).copied().unwrap_or_default()
    }
}

/// The flat JSON object of all metrics.
pub(crate) fn snapshot(facts: Facts<'_>, now: Now) -> Value {
    let mut all = Map::new();
    let mut put = |name: &str, value: f64| all.insert(name.to_owned(), json!(value));
    let count = |count: u64| count as f64;
    let counters = facts.counters;

    put("master/elected", 1.0);
    put("master/uptime_secs", now.time - facts.started.time);
    let connected = facts.agents.values().filter(|agent| agent.connected().is_some()).count();
    let disconnected = facts.agents.len() - connected;
    for (name, value) in [
        ("active", connected),
        ("connected", connected),
        ("disconnected", disconnected),
        ("inactive", disconnected),
        ("unreachable", facts.unreachable),
    ] {
        put(&format!("master/slaves_{name}"), value as f64);
    }
    let subscribed = facts.frameworks.values().filter(|known| known.stream().is_some()).count();
    let away = facts.frameworks.len() - subscribed;
    for (name, value) in [
        ("active", subscribed),
        ("connected", subscribed),
        ("disconnected", away),
        ("inactive", away),
    ] {
        put(&format!("master/frameworks_{name}"), value as f64);
    }
    put("master/outstanding_offers", facts.offers.len() as f64);
    put("master/offers_sent", count(counters.offers_sent));
    put("master/offers_accepted", count(counters.offers_accepted));
    put("master/offers_declined", count(counters.offers_declined));

    let mut total = Resources::default();
    let mut used = Resources::default();
    for agent in facts.agents.values() {
        total += &agent.total;
        for resources in agent.used.values() {
            let mut plain = resources.clone();
            plain.unallocate();
            used += &plain;
        }
    }
    for name in ["cpus", "gpus", "mem", "disk"] {
        let amount =
            |resources: &Resources| resources.scalar(name).map_or(0.0, |amount| amount.to_f64());
        let (total, used) = (amount(&total), amount(&used));
        put(&format!("master/{name}_total"), total);
        put(&format!("master/{name}_used"), used);
        put(&format!("master/{name}_percent"), if total > 0.0 { used / total } else { 0.0 });
        for kind in ["total", "used", "percent"] {
            put(&format!("master/{name}_revocable_{kind}"), 0.0);
        }
    }

    let mut states = BTreeMap::<&str, u64>::new();
    for name in ["staging", "starting", "running", "killing", "unreachable"] {
        states.insert(name, 0);
    }
    for framework in facts.frameworks.values() {
        *states.entry("unreachable").or_default() += framework.unreachable.len() as u64;
        for task in framework.tasks.values().filter(|task| !task.state.is_terminal()) {
            *states.entry(task.state.short_name()).or_default() += 1;
        }
    }
    for name in
        ["finished", "failed", "killed", "lost", "error", "dropped", "gone", "gone_by_operator"]
    {
        states.insert(name, counters.ended.get(name).copied().unwrap_or_default());
    }
    for (name, value) in states {
        put(&format!("master/tasks_{name}"), count(value));
    }
    for (name, value) in &counters.reasons {
        put(name, count(*value));
    }

    for (name, value) in [
        ("valid_status_updates", counters.valid_status_updates),
        ("invalid_status_updates", counters.invalid_status_updates),
        ("valid_status_update_acknowledgements", counters.valid_acknowledgements),
        ("invalid_status_update_acknowledgements", counters.invalid_acknowledgements),
        ("messages_status_update", counters.valid_status_updates + counters.invalid_status_updates),
        ("messages_status_update_acknowledgement", counters.calls(CallType::Acknowledge)),
        ("messages_launch_tasks", counters.calls(CallType::Accept)),
        ("messages_decline_offers", counters.calls(CallType::Decline)),
        ("messages_kill_task", counters.calls(CallType::Kill)),
        ("messages_reconcile_tasks", counters.calls(CallType::Reconcile)),
        ("messages_revive_offers", counters.calls(CallType::Revive)),
        ("messages_suppress_offers", counters.calls(CallType::Suppress)),
        ("messages_framework_to_executor", counters.calls(CallType::Message)),
        ("messages_unregister_framework", counters.calls(CallType::Teardown)),
        ("messages_register_slave", counters.agent_registrations),
        ("messages_reregister_slave", counters.agent_reregistrations),
        ("slave_registrations", counters.agent_registrations),
        ("slave_reregistrations", counters.agent_reregistrations),
        ("slave_removals", counters.agent_removals),
    ] {
        put(&format!("master/{name}"), count(value));
    }
    for (kind, value) in &counters.events {
        put(&format!("master/events/{}", kind.as_str_name().to_lowercase()), count(*value));
    }
    for (kind, value) in &counters.operations {
        let name = kind.as_str_name().to_lowercase();
        put(&format!("master/operations/{name}/total"), count(*value));
    }
    Value::Object(all)
}
