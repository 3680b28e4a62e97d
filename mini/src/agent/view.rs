//! Documents about an agent: `/state`, `/metrics/snapshot`, `/flags`.
//!
//! Pure functions of the core, in the shape of Mesos 1.11
//! (`src/slave/http.cpp`, `src/common/http.cpp`).

use std::collections::BTreeMap;

use marmoset_proto::{
    duration, json,
    mesos::v1::{Attribute, FrameworkInfo, Labels, Resource, TaskInfo, framework_info, value},
};
use serde_json::{Map, Value, json};

use super::core::{Core, Executor, Framework, Kind, Phase, Task};
use crate::master::version;

/// The four scalars that are always shown.
const SCALARS: [&str; 4] = ["disk", "mem", "gpus", "cpus"];

/// `/state`.
pub(super) fn state(core: &Core) -> Value {
    let info = core.info();
    let settings = core.settings();
    let mut state = json!({
        "version": version::VERSION,
        "start_time": core.started(),
        "pid": format!("slave(1)@{}", settings.addr),
        "hostname": info.hostname,
        "capabilities": ["MULTI_ROLE", "HIERARCHICAL_ROLE"],
        "resources": resources(&info.resources),
        "reserved_resources": by_role(&info.resources, |reserved| resources(reserved)),
        "unreserved_resources": resources(unreserved(&info.resources)),
        "reserved_resources_full": by_role(&info.resources, |reserved| full(reserved)),
        "unreserved_resources_full": full(unreserved(&info.resources)),
        "reserved_resources_allocated": {},
        "unreserved_resources_allocated": resources(allocated(core)),
        "resource_providers": [],
        "attributes": info.attributes.iter().map(attribute).collect::<Map<_, _>>(),
        "flags": flags(core),
        "frameworks": core.frameworks().map(framework).collect::<Vec<_>>(),
        "completed_frameworks": core.completed_frameworks().map(framework).collect::<Vec<_>>(),
    });
    for (name, value) in version::build() {
        state[name] = value;
    }
    if let Some(id) = &info.id {
        state["id"] = json!(id.value);
    }
    if core.is_registered() {
        state["master_hostname"] = json!(info.hostname);
    }
    state
}

/// `/flags`.
pub(super) fn flags_document(core: &Core) -> Value {
    json!({ "flags": flags(core) })
}

/// `/metrics/snapshot`.
pub(super) fn metrics(core: &Core) -> Value {
    let mut metrics = BTreeMap::new();
    let mut put = |name: String, value: f64| {
        metrics.insert(name, value);
    };
    let total = sum(&core.info().resources);
    let used = sum(allocated(core));
    for name in ["cpus", "mem", "disk", "gpus"] {
        let amount = |of: &BTreeMap<String, Sum>| match of.get(name) {
            Some(Sum::Scalar(thousandths)) => from_thousandths(*thousandths),
            Some(Sum::Ranges(_) | Sum::Set(_)) | None => 0.0,
        };
        let (total, used) = (amount(&total), amount(&used));
        put(format!("slave/{name}_total"), total);
        put(format!("slave/{name}_used"), used);
        put(format!("slave/{name}_percent"), if total > 0.0 { used / total } else { 0.0 });
        for kind in ["total", "used", "percent"] {
            put(format!("slave/{name}_revocable_{kind}"), 0.0);
        }
    }
    let executors = || core.frameworks().flat_map(|framework| framework.executors.values());
    let phases = |wanted: fn(Phase) -> bool| {
        executors().filter(|executor| wanted(executor.phase)).count() as f64
    };
    put("slave/executors_registering".into(), phases(|p| p == Phase::Registering));
    put("slave/executors_running".into(), phases(|p| matches!(p, Phase::Running(_))));
    put("slave/executors_terminating".into(), phases(|p| matches!(p, Phase::Terminating(_))));
    put("slave/frameworks_active".into(), core.frameworks().count() as f64);
    let queued: usize = executors().map(|executor| executor.queued_tasks().count()).sum();
    let mut live =
        BTreeMap::from([("staging", queued), ("starting", 0), ("running", 0), ("killing", 0)]);
    for task in executors().flat_map(|executor| executor.launched.values()) {
        if let Some(count) = live.get_mut(task.state.short_name()) {
            *count += 1;
        }
    }
    for (state, count) in live {
        put(format!("slave/tasks_{state}"), count as f64);
    }
    let counters = core.counters();
    for (name, count) in [
        ("executors_terminated", counters.executors_terminated),
        ("executors_preempted", 0),
        ("container_launch_errors", counters.launch_errors),
        ("invalid_status_updates", counters.invalid_updates),
        ("valid_status_updates", counters.valid_updates),
        ("invalid_framework_messages", counters.invalid_messages),
        ("valid_framework_messages", counters.valid_messages),
        ("tasks_finished", counters.finished),
        ("tasks_failed", counters.failed),
        ("tasks_killed", counters.killed),
        ("tasks_lost", counters.lost),
        ("tasks_gone", counters.gone),
        ("recovery_errors", 0),
        ("registered", u64::from(core.is_registered())),
    ] {
        put(format!("slave/{name}"), count as f64);
    }
    put("slave/uptime_secs".into(), crate::clock::now().epoch - core.started());
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    put("system/cpus_total".into(), cpus as f64);
    json!(metrics)
}

fn flags(core: &Core) -> Value {
    let settings = core.settings();
    let docker = &settings.docker;
    let containerizers: Vec<String> =
        settings.containerizers.iter().map(ToString::to_string).collect();
    json!({
        "containerizers": containerizers.join(","),
        "docker": docker.program.display().to_string(),
        "docker_kill_orphans": docker.kill_orphans.to_string(),
        "docker_remove_delay": duration::format(docker.remove_delay),
        "docker_socket": docker.socket.display().to_string(),
        "docker_stop_timeout": duration::format(docker.stop_timeout),
        "executor_registration_timeout": duration::format(settings.registration_timeout),
        "executor_reregistration_timeout": duration::format(settings.reregistration_timeout),
        "executor_shutdown_grace_period": duration::format(settings.shutdown_grace),
        "hostname": core.info().hostname,
        "http_command_executor": "false",
        "http_executor_domain_sockets": "false",
        "ip": settings.addr.ip().to_string(),
        "isolation": "posix/cpu,posix/mem",
        "launcher": "posix",
        "port": settings.addr.port().to_string(),
        "recover": "reconnect",
        "recovery_timeout": duration::format(settings.recovery_timeout),
        "switch_user": "true",
        "work_dir": settings.work_dir.display().to_string(),
    })
}

fn framework(framework: &Framework) -> Value {
    let info = &framework.info;
    let mut shown = json!({
        "id": framework.id.value,
        "name": info.name,
        "user": info.user,
        "failover_timeout": info.failover_timeout(),
        "checkpoint": info.checkpoint(),
        "hostname": info.hostname.as_deref().unwrap_or_default(),
        "executors": framework.executors.values().map(|e| executor(framework, e)).collect::<Vec<_>>(),
        "completed_executors":
            framework.completed.iter().map(|e| executor(framework, e)).collect::<Vec<_>>(),
    });
    if let Some(principal) = &info.principal {
        shown["principal"] = json!(principal);
    }
    if is_multi_role(info) {
        shown["roles"] = json!(info.roles);
    } else {
        shown["role"] = json!(info.role.as_deref().unwrap_or("*"));
    }
    shown
}

fn is_multi_role(info: &FrameworkInfo) -> bool {
    info.capabilities.iter().any(|c| c.r#type() == framework_info::capability::Type::MultiRole)
}

fn executor(framework: &Framework, executor: &Executor) -> Value {
    let info = &executor.info;
    let task = |task: &Task| task_of(framework, executor, task);
    let over = executor.terminated.values().chain(&executor.completed);
    let mut shown = json!({
        "id": executor.id.value,
        "name": info.name.as_deref().unwrap_or_default(),
        "source": info.source.as_deref().unwrap_or_default(),
        "container": executor.container.0,
        "directory": executor.directory.display().to_string(),
        "resources": resources(executor.resources()),
        "tasks": executor.launched.values().map(task).collect::<Vec<_>>(),
        "queued_tasks": executor.queued_tasks().map(queued).collect::<Vec<_>>(),
        "completed_tasks": over.map(task).collect::<Vec<_>>(),
    });
    if let Some(role) = role_of(&info.resources) {
        shown["role"] = json!(role);
    }
    if info.r#type.is_some() {
        shown["type"] = json!(info.r#type().as_str_name());
    }
    put_labels(&mut shown, info.labels.as_ref());
    shown
}

fn task_of(framework: &Framework, executor: &Executor, task: &Task) -> Value {
    let info = &task.info;
    let executor_id = match executor.kind {
        Kind::Custom => executor.id.value.as_str(),
        Kind::Command => "",
    };
    let statuses = task.statuses.iter().map(|status| {
        let mut shown = json!({
            "state": status.state().as_str_name(),
            "timestamp": status.timestamp(),
        });
        put_labels(&mut shown, status.labels.as_ref());
        if let Some(container) = &status.container_status {
            shown["container_status"] = json::to_value(container);
        }
        if let Some(healthy) = status.healthy {
            shown["healthy"] = json!(healthy);
        }
        shown
    });
    let mut shown = json!({
        "id": info.task_id.value,
        "name": info.name,
        "framework_id": framework.id.value,
        "executor_id": executor_id,
        "slave_id": info.agent_id.value,
        "state": task.state.as_str_name(),
        "resources": resources(&info.resources),
        "role": role_of(&info.resources).unwrap_or("*"),
        "statuses": statuses.collect::<Vec<_>>(),
    });
    put_labels(&mut shown, info.labels.as_ref());
    if let Some(discovery) = &info.discovery {
        shown["discovery"] = json::to_value(discovery);
    }
    if let Some(container) = &info.container {
        shown["container"] = json::to_value(container);
    }
    shown
}

fn queued(task: &TaskInfo) -> Value {
    let mut shown = json!({
        "id": task.task_id.value,
        "name": task.name,
        "slave_id": task.agent_id.value,
        "resources": resources(&task.resources),
        "role": role_of(&task.resources).unwrap_or("*"),
    });
    if let Some(command) = &task.command {
        shown["command"] = json::to_value(command);
    }
    if let Some(executor) = &task.executor {
        shown["executor_id"] = json!(executor.executor_id.value);
    }
    if let Some(discovery) = &task.discovery {
        shown["discovery"] = json::to_value(discovery);
    }
    shown
}

fn put_labels(shown: &mut Value, labels: Option<&Labels>) {
    if let Some(labels) = labels {
        shown["labels"] = labels.labels.iter().map(json::to_value).collect();
    }
}

fn role_of(resources: &[Resource]) -> Option<&str> {
    resources.iter().find_map(|resource| resource.allocation_info.as_ref()?.role.as_deref())
}

fn attribute(attribute: &Attribute) -> (String, Value) {
    let shown = if let Some(text) = &attribute.text {
        json!(text.value)
    } else if let Some(scalar) = &attribute.scalar {
        json!(scalar.value)
    } else {
        json!(show_ranges(attribute.ranges.iter().flat_map(|ranges| &ranges.range)))
    };
    (attribute.name.clone(), shown)
}

fn allocated(core: &Core) -> impl Iterator<Item = &Resource> {
    core.frameworks()
        .flat_map(|framework| framework.executors.values())
        .filter(|executor| executor.phase != Phase::Terminated)
        .flat_map(Executor::resources)
}

fn reserved_for(resource: &Resource) -> Option<&str> {
    let refined = resource.reservations.last().and_then(|reservation| reservation.role.as_deref());
    refined.or(resource.role.as_deref()).filter(|role| *role != "*")
}

fn unreserved(all: &[Resource]) -> impl Iterator<Item = &Resource> {
    all.iter().filter(|resource| reserved_for(resource).is_none())
}

fn by_role(all: &[Resource], show: impl Fn(&[Resource]) -> Value) -> Value {
    let mut roles: BTreeMap<&str, Vec<Resource>> = BTreeMap::new();
    for resource in all {
        if let Some(role) = reserved_for(resource) {
            roles.entry(role).or_default().push(resource.clone());
        }
    }
    roles.into_iter().map(|(role, of)| (role.to_owned(), show(&of))).collect::<Map<_, _>>().into()
}

fn full<'a>(all: impl IntoIterator<Item = &'a Resource>) -> Value {
    let show = |resource: &Resource| {
        let mut shown = json::to_value(resource);
        if resource.role.is_none() {
            shown["role"] = json!(reserved_for(resource).unwrap_or("*"));
        }
        shown
    };
    all.into_iter().map(show).collect()
}

/// Resources of one name, added up.
enum Sum {
    Scalar(i64),
    Ranges(Vec<value::Range>),
    Set(Vec<String>),
}

fn from_thousandths(thousandths: i64) -> f64 {
    thousandths as f64 / 1000.0
}

fn sum<'a>(all: impl IntoIterator<Item = &'a Resource>) -> BTreeMap<String, Sum> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for resource in all {
        let sum = sums.entry(resource.name.clone()).or_insert_with(|| match resource.r#type() {
            value::Type::Scalar | value::Type::Text => Sum::Scalar(0),
            value::Type::Ranges => Sum::Ranges(Vec::new()),
            value::Type::Set => Sum::Set(Vec::new()),
        });
        match sum {
            Sum::Scalar(sum) => {
                let value = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
                *sum += (value * 1000.0).round() as i64;
            }
            Sum::Ranges(sum) => {
                sum.extend(resource.ranges.iter().flat_map(|ranges| ranges.range.clone()));
            }
            Sum::Set(sum) => sum.extend(resource.set.iter().flat_map(|set| set.item.clone())),
        }
    }
    sums
}

/// As state endpoints show resources: scalars as numbers, the rest as text.
fn resources<'a>(all: impl IntoIterator<Item = &'a Resource>) -> Value {
    let mut shown = Map::new();
    for name in SCALARS {
        shown.insert(name.to_owned(), json!(0.0));
    }
    for (name, sum) in sum(all) {
        let value = match sum {
            Sum::Scalar(thousandths) => json!(from_thousandths(thousandths)),
            Sum::Ranges(ranges) => json!(show_ranges(&ranges)),
            Sum::Set(items) => json!(format!("{{{}}}", items.join(", "))),
        };
        shown.insert(name, value);
    }
    shown.into()
}

fn show_ranges<'a>(ranges: impl IntoIterator<Item = &'a value::Range>) -> String {
    let mut sorted: Vec<(u64, u64)> = ranges.into_iter().map(|r| (r.begin, r.end)).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (begin, end) in sorted {
        match merged.last_mut() {
            Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            Some(_) | None => merged.push((begin, end)),
        }
    }
    let shown: Vec<String> = merged.iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
    format!("[{}]", shown.join(", "))
}
