//! What an executor finds in its environment.
//!
//! A pure function of what the agent knows: nothing of the agent's own
//! environment gets in. Mesos 1.11, `src/slave/slave.cpp`
//! (`executorEnvironment`) and the Mesos containerizer's additions.

use std::{collections::BTreeMap, path::Path};

use marmoset_proto::{
    duration,
    mesos::v1::{AgentId, DurationInfo, ExecutorInfo, FrameworkInfo},
};

use super::core::Settings;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the environment of one executor; what the framework asks for wins.
pub(crate) fn of_executor(
    settings: &Settings,
    agent: &AgentId,
    framework: &FrameworkInfo,
    executor: &ExecutorInfo,
    sandbox: &Path,
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
        ("MESOS_SANDBOX", sandbox),
        ("MESOS_SLAVE_ID", agent.value.clone()),
        ("MESOS_SLAVE_PID", format!("slave(1)@{addr}")),
        ("PATH", PATH.to_owned()),
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
    for variable in wanted.flat_map(|environment| &environment.variables) {
        environment.insert(variable.name.clone(), variable.value.clone().unwrap_or_default());
    }
    environment
}
