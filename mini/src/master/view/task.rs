//! Tasks and executors as the state endpoints show them.

use marmoset_proto::{
    json::to_value,
    mesos::v1::{AgentId, ExecutorInfo, TaskStatus, executor_info},
};
use serde_json::{Map, Value, json};

use super::resources::{labels, resources};
use crate::master::core::{Executor, Task};

pub(super) fn task(task: &Task) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("id", json!(task.id.value));
    put("name", json!(task.name));
    put("framework_id", json!(task.framework_id.value));
    put("executor_id", json!(task.executor_id.as_ref().map_or("", |id| &id.value)));
    put("slave_id", json!(task.agent_id.value));
    put("state", json!(task.state.as_str_name()));
    put("resources", resources(&task.resources));
    if !task.limits.is_empty() {
        let limit = |value: f64| if value.is_finite() { json!(value) } else { json!("Infinity") };
        put(
            "limits",
            task.limits.iter().map(|(name, value)| (name.clone(), limit(value.value))).collect(),
        );
    }
    put("role", json!(task.role));
    put("statuses", task.statuses.iter().map(status).collect());
    if let Some(user) = &task.user {
        put("user", json!(user));
    }
    if let Some(all) = &task.labels {
        put("labels", labels(all));
    }
    if let Some(discovery) = &task.discovery {
        put("discovery", to_value(discovery));
    }
    if let Some(container) = &task.container {
        put("container", to_value(container));
    }
    if let Some(check) = &task.health_check {
        put("health_check", to_value(check));
    }
    Value::Object(shown)
}

fn status(status: &TaskStatus) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("state", json!(status.state().as_str_name()));
    put("timestamp", json!(status.timestamp.unwrap_or_default()));
    if let Some(all) = &status.labels {
        put("labels", labels(all));
    }
    if let Some(container) = &status.container_status {
        put("container_status", to_value(container));
    }
    if let Some(healthy) = status.healthy {
        put("healthy", json!(healthy));
    }
    Value::Object(shown)
}

pub(super) fn executor(executor: &Executor, agent_id: &AgentId) -> Value {
    let info = &executor.info;
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("executor_id", json!(info.executor_id.value));
    put("name", json!(info.name()));
    put("framework_id", json!(info.framework_id.clone().unwrap_or_default().value));
    put("command", command(info));
    put("resources", resources(&executor.resources));
    if let Some(role) = executor.resources.iter().find_map(|entry| entry.allocated_to()) {
        put("role", json!(role));
    }
    if let Some(all) = &info.labels {
        put("labels", labels(all));
    }
    if let Some(kind) = info.r#type.and_then(|kind| executor_info::Type::try_from(kind).ok()) {
        put("type", json!(kind.as_str_name()));
    }
    put("slave_id", json!(agent_id.value));
    Value::Object(shown)
}

fn command(info: &ExecutorInfo) -> Value {
    let Some(command) = &info.command else { return json!({}) };
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("shell", json!(command.shell()));
    if let Some(value) = &command.value {
        put("value", json!(value));
    }
    put("argv", json!(command.arguments));
    if let Some(environment) = &command.environment {
        put("environment", to_value(environment));
    }
    let uris =
        command.uris.iter().map(|uri| json!({"value": uri.value, "executable": uri.executable()}));
    put("uris", uris.collect());
    Value::Object(shown)
}
