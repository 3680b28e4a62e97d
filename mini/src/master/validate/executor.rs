//! Executors, and whether two of them are the same one.

use std::collections::BTreeSet;

use marmoset_proto::{
    mesos::v1::{CommandInfo, ExecutorInfo, Resource, container_info, executor_info},
    resources::{Millis, Resources},
    text,
};

use super::{Context, fields};

/// Checks an executor by itself and against the one of its id that runs on the agent.
pub(super) fn validate(executor: &ExecutorInfo, on: Context<'_>) -> Result<(), String> {
    kind(executor)?;
    fields::id(&executor.executor_id.value)?;
    if executor.shutdown_grace_period.as_ref().is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("ExecutorInfo's 'shutdown_grace_period' must be non-negative".to_owned());
    }
    if let Some(command) = &executor.command {
        fields::command(command)
            .map_err(|error| format!("Executor's `CommandInfo` is invalid: {error}"))?;
    }
    if let Some(container) = &executor.container {
        fields::container(container)
            .map_err(|error| format!("Executor's `ContainerInfo` is invalid: {error}"))?;
    }
    framework_id(executor, on)?;
    resources(&executor.resources, "Executor", "executor")?;
    same_as_running(executor, on)
}

fn kind(executor: &ExecutorInfo) -> Result<(), String> {
    // Unset reads as UNKNOWN here, not as the first value.
    match executor.r#type.and_then(|kind| executor_info::Type::try_from(kind).ok()) {
        Some(executor_info::Type::Default) => {
            if executor.command.is_some() {
                return Err(
                    "'ExecutorInfo.command' must not be set for 'DEFAULT' executor".to_owned()
                );
            }
            let Some(container) = &executor.container else { return Ok(()) };
            if container.r#type() != container_info::Type::Mesos {
                return Err("'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor"
                    .to_owned());
            }
            if container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some()) {
                return Err("'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' \
                            executor"
                    .to_owned());
            }
            Ok(())
        }
        Some(executor_info::Type::Custom) if executor.command.is_none() => {
            Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned())
        }
        Some(executor_info::Type::Custom | executor_info::Type::Unknown) | None => Ok(()),
    }
}

fn framework_id(executor: &ExecutorInfo, on: Context<'_>) -> Result<(), String> {
    let expected = on.framework.id();
    match &executor.framework_id {
        None => Err("'ExecutorInfo.framework_id' must be set".to_owned()),
        Some(actual) if *actual != expected => Err(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {actual} vs Expected: {expected})"
        )),
        Some(_) => Ok(()),
    }
}

/// Checks the resources of a task or executor.
pub(super) fn resources(
    resources: &[Resource],
    whose: &str,
    adjective: &str,
) -> Result<(), String> {
    let uses = |error: String| format!("{whose} uses invalid resources: {error}");
    let sum = Resources::from_proto(resources)
        .map_err(|error| uses(format!("Invalid resources: {error}")))?;
    for resource in resources {
        if resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some())
            && resource.reservations.is_empty()
        {
            return Err(uses(
                "Invalid DiskInfo: Persistent volumes cannot be created from \
                             unreserved resources"
                    .to_owned(),
            ));
        }
    }
    let mut roles = sum.iter().filter_map(|entry| entry.allocated_to());
    if let Some(first) = roles.next()
        && let Some(other) = roles.find(|role| *role != first)
    {
        return Err(format!(
            "Invalid {adjective} resources: The resources have multiple allocation roles ('{other}' \
             and '{first}') but only one allocation role is allowed"
        ));
    }
    not_mixed(&sum)
        .map_err(|error| format!("{whose} mixes revocable and non-revocable resources: {error}"))
}

/// Checks that no resource is partly revocable.
pub(super) fn not_mixed(resources: &Resources) -> Result<(), String> {
    for name in resources.names() {
        let kinds = resources
            .iter()
            .filter(|entry| entry.name() == name)
            .map(|entry| entry.is_revocable())
            .collect::<BTreeSet<_>>();
        if kinds.len() > 1 {
            return Err(format!(
                "Cannot use both revocable and non-revocable '{name}' at the same time"
            ));
        }
    }
    Ok(())
}

/// The executor that runs under the same id must have been launched the same way.
fn same_as_running(executor: &ExecutorInfo, on: Context<'_>) -> Result<(), String> {
    let key = (on.framework.id(), executor.executor_id.clone());
    match on.agent.executors.get(&key) {
        Some(running) if !same(&running.info, executor) => Err(format!(
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n\
             {LINE}\nExisting ExecutorInfo:\n{}\n{LINE}\nExecutorInfo:\n{}\n{LINE}\n",
            text::format(&running.info),
            text::format(executor)
        )),
        Some(_) | None => Ok(()),
    }
}

const LINE: &str = "------------------------------------------------------------";

/// Whether two infos describe the same executor. Labels and the grace period may differ; the
/// order of URIs, variables and resources does not matter.
pub(super) fn same(one: &ExecutorInfo, other: &ExecutorInfo) -> bool {
    // The common case, and the only one that is fast.
    one == other
        || (one.r#type == other.r#type
            && one.executor_id == other.executor_id
            && one.data == other.data
            && one.framework_id == other.framework_id
            && one.name == other.name
            && one.source == other.source
            && one.container == other.container
            && one.discovery == other.discovery
            && same_command(one.command.as_ref(), other.command.as_ref())
            && same_resources(&one.resources, &other.resources))
}

fn same_resources(one: &[Resource], other: &[Resource]) -> bool {
    one == other
        || matches!((Resources::from_proto(one), Resources::from_proto(other)),
            (Ok(one), Ok(other)) if one == other)
}

fn same_command(one: Option<&CommandInfo>, other: Option<&CommandInfo>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() == other.is_none() };
    let variables =
        |command: &CommandInfo| command.environment.clone().unwrap_or_default().variables;
    one.user == other.user
        && one.shell() == other.shell()
        && one.value == other.value
        && one.arguments == other.arguments
        && same_members(&one.uris, &other.uris)
        && same_members(&variables(one), &variables(other))
}

fn same_members<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one == other || (one.len() == other.len() && one.iter().all(|member| other.contains(member)))
}

/// Least an executor should have: 0.01 cpus and 32 MB.
pub(super) const MIN_CPUS: Millis = Millis(10);
pub(super) const MIN_MEM: Millis = Millis(32_000);
