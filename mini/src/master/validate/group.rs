//! Groups of a LAUNCH_GROUP: one fault refuses all.

use marmoset_proto::{
    mesos::v1::{
        ContainerInfo, ExecutorInfo, TaskGroupInfo, TaskInfo, container_info, executor_info,
        health_check,
    },
    resources::Resources,
};

use super::{
    Context,
    executor::{self, MIN_CPUS, MIN_MEM},
    fields, task,
};

/// Checks all tasks of a group and their executor.
///
/// # Errors
/// The text of the TASK_ERROR that every task of the group gets.
pub(crate) fn validate(
    group: &TaskGroupInfo,
    executor: &ExecutorInfo,
    on: Context<'_>,
) -> Result<(), String> {
    for task in &group.tasks {
        member(task, on).map_err(|error| format!("Task '{}' is invalid: {error}", task.task_id))?;
    }
    self::executor(group, executor, on)?;
    cgroups(group, executor)
}

fn member(info: &TaskInfo, on: Context<'_>) -> Result<(), String> {
    task::by_itself(info, on)?;
    if info.executor.is_none() {
        return Err("'TaskInfo.executor' must be set".to_owned());
    }
    if let Some(container) = &info.container {
        let remote = info.health_check.as_ref().is_some_and(|check| {
            matches!(check.r#type(), health_check::Type::Http | health_check::Type::Tcp)
        });
        if !container.network_infos.is_empty() && remote {
            return Err("HTTP and TCP health checks are not supported for nested containers not \
                        joining parent's network"
                .to_owned());
        }
        if is_docker(Some(container)) {
            return Err("Docker ContainerInfo is not supported on the task".to_owned());
        }
    }
    if !info.limits.is_empty() && fields::share_cgroups(info.container.as_ref()) != Some(false) {
        return Err("Resource limits may only be set for tasks within a task group when the \
                    'share_cgroups' field is set to 'false'."
            .to_owned());
    }
    Ok(())
}

fn executor(group: &TaskGroupInfo, info: &ExecutorInfo, on: Context<'_>) -> Result<(), String> {
    executor::validate(info, on)?;
    match info.r#type.and_then(|kind| executor_info::Type::try_from(kind).ok()) {
        None => return Err("'ExecutorInfo.type' must be set".to_owned()),
        Some(executor_info::Type::Unknown) => return Err("Unknown executor type".to_owned()),
        Some(executor_info::Type::Default | executor_info::Type::Custom) => {}
    }
    if is_docker(info.container.as_ref()) {
        return Err("Docker ContainerInfo is not supported on the executor".to_owned());
    }
    let id = &info.executor_id;
    let differs =
        |task: &&TaskInfo| task.executor.as_ref().is_some_and(|own| !executor::same(own, info));
    if let Some(task) = group.tasks.iter().find(differs) {
        return Err(format!(
            "The `ExecutorInfo` of task '{}' is different from executor '{id}'",
            task.task_id
        ));
    }
    let its = Resources::from_proto(&info.resources).unwrap_or_default();
    minimum(info, &its)?;
    let tasks = group
        .tasks
        .iter()
        .map(|task| Resources::from_proto(&task.resources).unwrap_or_default())
        .collect::<Vec<_>>();
    let mut total = tasks.iter().collect::<Resources>();
    let mut both = its.clone();
    both += &total;
    executor::not_mixed(&both).map_err(|error| {
        format!("Task group and executor mix revocable and non-revocable resources: {error}")
    })?;
    if task::overlap(&tasks.iter().chain([&its]).collect::<Vec<_>>()) {
        let shown = tasks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "There are overlapping resources in the task group's task resources {{ {shown} }} \
             and/or executor resources {its}"
        ));
    }
    if !on.agent.executors.contains_key(&(on.framework.id(), id.clone())) {
        total += &its;
    }
    if !on.left.contains(&total) {
        return Err(format!(
            "Total resources {total} required by task group and its executor are more than \
             available {}",
            on.left
        ));
    }
    Ok(())
}

fn minimum(info: &ExecutorInfo, its: &Resources) -> Result<(), String> {
    let id = &info.executor_id;
    let shown = |amount: Option<String>| amount.unwrap_or_else(|| "None".to_owned());
    if its.cpus().is_none_or(|cpus| cpus < MIN_CPUS) {
        return Err(format!(
            "Executor '{id}' uses less CPUs ({}) than the minimum required ({MIN_CPUS})",
            shown(its.cpus().map(|cpus| cpus.to_string()))
        ));
    }
    if its.mem().is_none_or(|mem| mem < MIN_MEM) {
        return Err(format!(
            "Executor '{id}' uses less memory ({}) than the minimum required ({MIN_MEM}MB)",
            shown(its.mem().map(|mem| format!("{mem}MB")))
        ));
    }
    if its.disk().is_none() {
        return Err(format!("Executor '{id}' uses no disk"));
    }
    Ok(())
}

fn cgroups(group: &TaskGroupInfo, info: &ExecutorInfo) -> Result<(), String> {
    if fields::share_cgroups(info.container.as_ref()) == Some(true) {
        return Err(
            "The 'share_cgroups' field cannot be set to 'true' on executor containers".to_owned()
        );
    }
    let shares = |task: &TaskInfo| fields::share_cgroups(task.container.as_ref()).unwrap_or(true);
    let mut all = group.tasks.iter().map(shares);
    if let Some(first) = all.next()
        && all.any(|other| other != first)
    {
        return Err("If set, the value of 'share_cgroups' must be the same for all tasks in each \
                    task group and under a single executor"
            .to_owned());
    }
    Ok(())
}

fn is_docker(container: Option<&ContainerInfo>) -> bool {
    container.is_some_and(|container| container.r#type() == container_info::Type::Docker)
}
