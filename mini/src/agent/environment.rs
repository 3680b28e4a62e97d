//! What an executor finds in its environment.
//!
//! A pure function of what the agent knows: nothing of the agent's own
//! environment gets in. Mesos 1.11, `src/slave/slave.cpp`
//! (`executorEnvironment`) and what each containerizer adds.

use std::{collections::BTreeMap, path::Path};

use marmoset_proto::{
    duration,
    mesos::v1::{AgentId, DurationInfo, ExecutorInfo, FrameworkInfo, Resource},
};

use super::core::{Container, Settings};
use crate::{
    config::Containerizer,
    docker::{MAPPED_DIRECTORY, NAME_PREFIX},
};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the environment of one executor.
///
/// In a container of the Mesos containerizer what the framework asks for wins, in one of the
/// Docker containerizer what the agent says.
pub(crate) fn of_executor(
    settings: &Settings,
    agent: &AgentId,
    framework: &FrameworkInfo,
    executor: &ExecutorInfo,
    sandbox: &Path,
    containerizer: Containerizer,
    container: &Container,
) -> BTreeMap<String, String> {
    let addr = settings.addr;
    let sandbox = sandbox.to_string_lossy().into_owned();
    let grace = executor
        .shutdown_grace_period
        .as_ref()
        .map_or(settings.shutdown_grace, DurationInfo::to_duration);
    let flag = |set: bool| if set { "1" } else { "0" }.to_owned();
    let mut environment: BTreeMap<String, String> = [
        ("LIBPROCESS_IP", addr.ip().to_string()),
        ("LIBPROCESS_PORT", "0".to_owned()),
        ("MESOS_AGENT_ENDPOINT", addr.to_string()),
        ("MESOS_CHECKPOINT", flag(framework.checkpoint())),
        ("MESOS_DIRECTORY", sandbox.clone()),
        ("MESOS_EXECUTOR_ID", executor.executor_id.value.clone()),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", duration::format(grace)),
        ("MESOS_FRAMEWORK_ID", framework.id.clone().unwrap_or_default().value),
        ("MESOS_HTTP_COMMAND_EXECUTOR", flag(false)),
        ("MESOS_SLAVE_ID", agent.value.clone()),
        ("MESOS_SLAVE_PID", format!("slave(1)@{addr}")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if framework.checkpoint() {
        let recovery = duration::format(settings.recovery_timeout);
        let backoff = duration::format(settings.reregistration_timeout);
        environment.insert("MESOS_RECOVERY_TIMEOUT".to_owned(), recovery);
        environment.insert("MESOS_SUBSCRIPTION_BACKOFF_MAX".to_owned(), backoff);
    }
    let wanted = executor.command.iter().filter_map(|command| command.environment.as_ref());
    let wanted = wanted
        .flat_map(|environment| &environment.variables)
        .map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default()));
    match containerizer {
        Containerizer::Mesos => {
            environment.insert("MESOS_SANDBOX".to_owned(), sandbox);
            environment.insert("PATH".to_owned(), PATH.to_owned());
            environment.extend(wanted);
            environment
        }
        Containerizer::Docker => {
            let mut all: BTreeMap<String, String> = wanted.collect();
            all.extend(environment);
            all.extend(docker(container, &executor.resources));
            all
        }
    }
}

/// What the Docker containerizer tells every container, a command task's own one, too.
pub(crate) fn docker(container: &Container, resources: &[Resource]) -> [(String, String); 3] {
    let role = resources
        .iter()
        .find_map(|resource| resource.allocation_info.as_ref()?.role.clone())
        .unwrap_or_else(|| "*".to_owned());
    [
        ("MESOS_ALLOCATION_ROLE", role),
        ("MESOS_CONTAINER_NAME", format!("{NAME_PREFIX}{}", container.0)),
        ("MESOS_SANDBOX", MAPPED_DIRECTORY.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}
