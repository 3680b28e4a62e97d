//! The documents themselves.

use std::time::Duration;

use marmoset_proto::{
    duration, json::to_value, mesos::v1::framework_info::capability, resources::Resources,
};
use serde_json::{Map, Value, json};

use super::{
    resources::{attributes, full, labels, reserved, resources},
    task::{executor, task},
};
use crate::master::{
    core::{Agent, Connection, Facts, Framework, role_of},
    version,
};

/// Capabilities of agents as a 1.11 agent tells them; the link carries none.
const AGENT_CAPABILITIES: [&str; 8] = [
    "MULTI_ROLE",
    "HIERARCHICAL_ROLE",
    "RESERVATION_REFINEMENT",
    "RESOURCE_PROVIDER",
    "RESIZE_VOLUME",
    "AGENT_OPERATION_FEEDBACK",
    "AGENT_DRAINING",
    "TASK_RESOURCE_LIMITS",
];

/// `/state`
pub(crate) fn state(facts: Facts<'_>) -> Value {
    let info = facts.info;
    let connected = facts.agents.values().filter(|agent| agent.connected().is_some()).count();
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("version", json!(info.version()));
    for (name, value) in version::build() {
        put(name, value);
    }
    put("start_time", json!(facts.started.time));
    put("elected_time", json!(facts.started.time));
    put("id", json!(info.id));
    put("pid", json!(info.pid()));
    put("hostname", json!(info.hostname()));
    put(
        "capabilities",
        info.capabilities.iter().map(|known| json!(known.r#type().as_str_name())).collect(),
    );
    put("activated_slaves", json!(connected as f64));
    put("deactivated_slaves", json!((facts.agents.len() - connected) as f64));
    put("unreachable_slaves", json!(facts.unreachable as f64));
    put("leader", json!(info.pid()));
    put(
        "leader_info",
        json!({"id": info.id, "pid": info.pid(), "port": info.port, "hostname": info.hostname()}),
    );
    put("flags", flags(facts));
    put("slaves", all_slaves(facts));
    put("recovered_slaves", json!([]));
    put("frameworks", facts.frameworks.values().map(|known| framework(known, facts)).collect());
    put("completed_frameworks", facts.completed.iter().map(|old| framework(old, facts)).collect());
    put("orphan_tasks", json!([]));
    put("unregistered_frameworks", json!([]));
    Value::Object(shown)
}

/// `/flags` and the `flags` of the state: name to text.
pub(crate) fn flags(facts: Facts<'_>) -> Value {
    let time = |time: Duration| json!(duration::format(time));
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("agent_ping_timeout", time(facts.timers.agent_timeout / 5));
    put("allocation_interval", time(facts.timers.allocation_interval));
    put("allocator", json!("hierarchical"));
    put("framework_sorter", json!("drf"));
    put("hostname", json!(facts.info.hostname()));
    put("max_agent_ping_timeouts", json!("5"));
    put("max_completed_frameworks", json!("50"));
    put("max_completed_tasks_per_framework", json!("1000"));
    put("max_unreachable_tasks_per_framework", json!("1000"));
    put("min_allocatable_resources", json!("cpus:0.01|mem:32"));
    if let Some(timeout) = facts.timers.offer_timeout {
        put("offer_timeout", time(timeout));
    }
    put("port", json!(facts.info.port.to_string()));
    put("role_sorter", json!("drf"));
    put("root_submissions", json!("true"));
    Value::Object(shown)
}

/// `/slaves`
pub(crate) fn slaves(facts: Facts<'_>) -> Value {
    json!({"slaves": all_slaves(facts), "recovered_slaves": []})
}

/// `/frameworks`
pub(crate) fn frameworks(facts: Facts<'_>) -> Value {
    let live = facts.frameworks.values().map(|known| framework(known, facts));
    let completed = facts.completed.iter().map(|known| framework(known, facts));
    json!({
        "frameworks": live.collect::<Value>(),
        "completed_frameworks": completed.collect::<Value>(),
        "unregistered_frameworks": [],
    })
}

/// `/tasks`: newest first unless `ascending`, from `offset` on, `limit` at most.
pub(crate) fn tasks(facts: Facts<'_>, limit: usize, offset: usize, ascending: bool) -> Value {
    let frameworks = || facts.frameworks.values().chain(facts.completed.iter());
    let mut all = frameworks()
        .flat_map(|known| {
            known.tasks.values().chain(known.completed.iter()).chain(known.unreachable.iter())
        })
        .collect::<Vec<_>>();
    all.sort_by(|one, other| {
        let started = |task: &crate::master::core::Task| {
            task.statuses.first().and_then(|status| status.timestamp).unwrap_or_default()
        };
        let order = started(one).total_cmp(&started(other));
        if ascending { order } else { order.reverse() }
    });
    json!({"tasks": all.into_iter().skip(offset).take(limit).map(task).collect::<Value>()})
}

/// `/state-summary`: the state without the tasks, with their counts.
pub(crate) fn summary(facts: Facts<'_>) -> Value {
    let counts = |tasks: &mut dyn Iterator<Item = &crate::master::core::Task>| {
        let mut counts = Map::new();
        for name in [
            "staging",
            "starting",
            "running",
            "killing",
            "finished",
            "killed",
            "failed",
            "lost",
            "error",
            "unreachable",
            "dropped",
            "gone",
            "gone_by_operator",
        ] {
            counts.insert(format!("TASK_{}", name.to_uppercase()), json!(0));
        }
        for task in tasks {
            let name = task.state.as_str_name();
            let count = counts.get(name).and_then(Value::as_u64).unwrap_or_default() + 1;
            counts.insert(name.to_owned(), json!(count));
        }
        counts
    };
    let all = |known: &'_ Framework| {
        counts(
            &mut known.tasks.values().chain(known.unreachable.iter()).chain(known.completed.iter()),
        )
    };
    let slaves = facts.agents.values().map(|known| {
        let mut shown = slave(known);
        let id = known.id();
        let on = |task: &&crate::master::core::Task| task.agent_id == id;
        let mut tasks = facts
            .frameworks
            .values()
            .flat_map(|known| known.tasks.values().chain(known.completed.iter()))
            .filter(on);
        shown.extend(counts(&mut tasks));
        let frameworks = known.tasks.keys().map(|id| json!(id.value)).collect::<Value>();
        shown.insert("framework_ids".to_owned(), frameworks);
        Value::Object(shown)
    });
    let frameworks = facts.frameworks.values().map(|known| {
        let mut shown = framework_summary(known, facts);
        shown.extend(all(known));
        let agents = facts.agents.values().filter(|agent| agent.tasks.contains_key(&known.id()));
        let ids = agents.map(|agent| json!(agent.id().value)).collect::<Value>();
        shown.insert("slave_ids".to_owned(), ids);
        Value::Object(shown)
    });
    json!({
        "hostname": facts.info.hostname(),
        "slaves": slaves.collect::<Value>(),
        "frameworks": frameworks.collect::<Value>(),
    })
}

fn all_slaves(facts: Facts<'_>) -> Value {
    facts
        .agents
        .values()
        .map(|known| {
            let mut shown = slave(known);
            let reserved = known.total.reserved();
            let by_role = reserved.iter().map(|(role, part)| (role.clone(), full(part)));
            shown.insert("reserved_resources_full".to_owned(), by_role.collect());
            shown.insert("unreserved_resources_full".to_owned(), full(&known.total.unreserved()));
            shown.insert("used_resources_full".to_owned(), full(&used(known)));
            shown.insert("offered_resources_full".to_owned(), full(&known.offered));
            Value::Object(shown)
        })
        .collect()
}

fn used(agent: &Agent) -> Resources {
    agent.used.values().collect()
}

fn slave(agent: &Agent) -> Map<String, Value> {
    let info = &agent.info;
    let active = agent.connected().is_some();
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("id", json!(agent.id().value));
    put("hostname", json!(info.hostname));
    put("port", json!(agent.addr.port()));
    put("attributes", attributes(&info.attributes));
    put("pid", json!(format!("slave(1)@{}", agent.addr)));
    put("registered_time", json!(agent.registered_time));
    if let Some(time) = agent.reregistered_time {
        put("reregistered_time", json!(time));
    }
    put("resources", resources(&agent.total));
    put("used_resources", resources(&used(agent)));
    put("offered_resources", resources(&agent.offered));
    put("reserved_resources", reserved(&agent.total));
    put("unreserved_resources", resources(&agent.total.unreserved()));
    put("active", json!(active));
    put("deactivated", json!(false));
    put("version", json!(version::VERSION));
    put("capabilities", json!(AGENT_CAPABILITIES));
    shown
}

fn framework(known: &Framework, facts: Facts<'_>) -> Value {
    let id = known.id();
    let mut shown = framework_summary(known, facts);
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("user", json!(known.info.user));
    put("failover_timeout", json!(known.info.failover_timeout()));
    put("checkpoint", json!(known.info.checkpoint()));
    put("registered_time", json!(known.registered_time));
    put("unregistered_time", json!(known.unregistered_time));
    if let Some(principal) = &known.info.principal {
        put("principal", json!(principal));
    }
    if let Some(time) = known.reregistered_time {
        put("reregistered_time", json!(time));
    }
    if known.capabilities.multi_role {
        put("roles", json!(known.info.roles));
    } else {
        put("role", json!(role_of(&known.info)));
    }
    put("tasks", known.tasks.values().map(task).collect());
    put("unreachable_tasks", known.unreachable.iter().map(task).collect());
    put("completed_tasks", known.completed.iter().map(task).collect());
    let offers = known.offers.iter().filter_map(|id| Some((id, facts.offers.get(id)?)));
    put(
        "offers",
        offers
            .map(|(id, offer)| {
                json!({
                    "id": id.value,
                    "framework_id": offer.framework_id.value,
                    "allocation_info": {"role": offer.role},
                    "slave_id": offer.agent_id.value,
                    "resources": resources(&offer.resources),
                })
            })
            .collect(),
    );
    let executors = facts.agents.values().flat_map(|agent| {
        let agent_id = agent.id();
        agent.executors_of(&id).map(|(_, known)| executor(known, &agent_id)).collect::<Vec<_>>()
    });
    put("executors", executors.collect());
    if let Some(all) = &known.info.labels {
        put("labels", labels(all));
    }
    put("offer_constraints", known.constraints.as_ref().map_or_else(|| json!({}), to_value));
    Value::Object(shown)
}

fn framework_summary(known: &Framework, facts: Facts<'_>) -> Map<String, Value> {
    let id = known.id();
    let used = facts.agents.values().filter_map(|agent| agent.used.get(&id)).collect::<Resources>();
    let offered = known
        .offers
        .iter()
        .filter_map(|offer| facts.offers.get(offer).map(|offer| &offer.resources))
        .collect::<Resources>();
    let mut both = used.clone();
    both += &offered;
    let connected = known.stream().is_some();
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("id", json!(id.value));
    put("name", json!(known.info.name));
    put("used_resources", resources(&used));
    put("offered_resources", resources(&offered));
    put(
        "capabilities",
        known
            .info
            .capabilities
            .iter()
            .filter_map(|known| capability::Type::try_from(known.r#type?).ok())
            .map(|kind| json!(kind.as_str_name()))
            .collect(),
    );
    put("hostname", json!(known.info.hostname()));
    put("webui_url", json!(known.info.webui_url()));
    put("active", json!(connected));
    put("connected", json!(connected));
    put("recovered", json!(matches!(known.connection, Connection::Recovered)));
    put("resources", resources(&both));
    shown
}
