//! Tasks of a LAUNCH.

use marmoset_proto::{
    mesos::v1::{TaskInfo, executor_info},
    resources::{Millis, Resources},
};

use super::{
    Context, check,
    executor::{self, MIN_CPUS, MIN_MEM},
    fields,
};

/// Checks a task and its executor against everything, first fault first.
///
/// # Errors
/// The text of the TASK_ERROR.
pub(crate) fn validate(task: &TaskInfo, on: Context<'_>) -> Result<(), String> {
    by_itself(task, on)?;
    with_executor(task, on)?;
    if fields::share_cgroups(task.container.as_ref()) == Some(false) {
        return Err("Only tasks in a task group may have 'share_cgroups' set to 'false'".to_owned());
    }
    Ok(())
}

/// Checks everything but the executor.
pub(super) fn by_itself(task: &TaskInfo, on: Context<'_>) -> Result<(), String> {
    let id = &task.task_id;
    fields::id(&id.value)?;
    if on.framework.tasks.contains_key(id) {
        return Err(format!("Task has duplicate ID: {id}"));
    }
    if on.framework.unreachable.contains(id) {
        return Err(format!("Task reuses the ID of an unreachable task: {id}"));
    }
    let agent_id = on.agent.id();
    if task.agent_id != agent_id {
        return Err(format!(
            "Task uses invalid agent {} while agent {agent_id} is expected",
            task.agent_id
        ));
    }
    let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    if grace.is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("Task's 'kill_policy.grace_period' must be non-negative".to_owned());
    }
    if task.max_completion_time.as_ref().is_some_and(|time| time.nanoseconds < 0) {
        return Err("Task's `max_completion_time` must be non-negative".to_owned());
    }
    if let Some(info) = &task.check {
        check::general(info).map_err(|error| format!("Task uses invalid check: {error}"))?;
    }
    if let Some(info) = &task.health_check {
        check::health(info).map_err(|error| format!("Task uses invalid health check: {error}"))?;
    }
    if task.resources.is_empty() {
        return Err("Task uses no resources".to_owned());
    }
    executor::resources(&task.resources, "Task", "task")?;
    if let Some(command) = &task.command {
        fields::command(command)
            .map_err(|error| format!("Task's `CommandInfo` is invalid: {error}"))?;
    }
    if let Some(container) = &task.container {
        fields::container(container)
            .map_err(|error| format!("Task's `ContainerInfo` is invalid: {error}"))?;
    }
    limits(task)
}

fn limits(task: &TaskInfo) -> Result<(), String> {
    if task.limits.is_empty() {
        return Ok(());
    }
    if task.limits.keys().any(|name| name != "cpus" && name != "mem") {
        return Err("Only cpus and mem may be included in a task's resource limits".to_owned());
    }
    let resources = Resources::from_proto(&task.resources).unwrap_or_default();
    let below = |name: &str, request: Millis| {
        task.limits.get(name).is_some_and(|limit| limit.value < request.to_f64())
    };
    if task.limits.contains_key("cpus") {
        let Some(cpus) = resources.cpus() else {
            return Err(
                "When a CPU limit is specified, a CPU request must also be specified".to_owned()
            );
        };
        if below("cpus", cpus) {
            return Err("The cpu limit must be greater than or equal to the cpu request".to_owned());
        }
    }
    if task.limits.contains_key("mem") {
        let Some(mem) = resources.mem() else {
            return Err(
                "When a memory limit is specified, a memory request must also be specified"
                    .to_owned(),
            );
        };
        if below("mem", mem) {
            return Err(
                "The memory limit must be greater than or equal to the memory request".to_owned()
            );
        }
    }
    Ok(())
}

fn with_executor(task: &TaskInfo, on: Context<'_>) -> Result<(), String> {
    if task.executor.is_some() == task.command.is_some() {
        return Err("Task should have at least one (but not both) of CommandInfo or ExecutorInfo \
                    present"
            .to_owned());
    }
    let own = Resources::from_proto(&task.resources).unwrap_or_default();
    let mut total = own.clone();
    if let Some(info) = &task.executor {
        executor::validate(info, on)?;
        if info.r#type.is_some_and(|kind| kind != executor_info::Type::Custom as i32) {
            return Err("'ExecutorInfo.type' must be 'CUSTOM'".to_owned());
        }
        if info.command.is_none() {
            return Err("'ExecutorInfo.command' must be set".to_owned());
        }
        let its = Resources::from_proto(&info.resources).unwrap_or_default();
        if its.iter().any(|entry| entry.is_shared()) {
            return Err(format!(
                "Executor resources {its} should not contain any shared resources"
            ));
        }
        if its.cpus().is_none_or(|cpus| cpus < MIN_CPUS)
            || its.mem().is_none_or(|mem| mem < MIN_MEM)
        {
            tracing::warn!(
                executor = %info.executor_id,
                resources = %its,
                "an executor should have at least 0.01 cpus and 32 MB"
            );
        }
        if fields::share_cgroups(info.container.as_ref()) == Some(true) {
            return Err("The 'share_cgroups' field cannot be set to 'true' on executor containers"
                .to_owned());
        }
        let key = (on.framework.id(), info.executor_id.clone());
        if !on.agent.executors.contains_key(&key) {
            total += &its;
        }
        if overlap(&[&own, &its]) {
            return Err(format!(
                "There are overlapping resources in the task resources {own} and executor \
                 resources {its}"
            ));
        }
        let mut both = own;
        both += &its;
        executor::not_mixed(&both).map_err(|error| {
            format!("Task and its executor mix revocable and non-revocable resources: {error}")
        })?;
    }
    if !on.left.contains(&total) {
        return Err(format!(
            "Total resources {total} required by task and its executor is more than available {}",
            on.left
        ));
    }
    Ok(())
}

/// Whether two of them claim the same port.
pub(super) fn overlap(parts: &[&Resources]) -> bool {
    let mut claimed = 0;
    let mut sum = Resources::default();
    for part in parts {
        claimed += part.ports().count();
        sum += *part;
    }
    sum.ports().count() != claimed
}
