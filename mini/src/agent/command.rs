//! The executor the agent makes up for a task that carries a command.
//!
//! Owns the generated [`ExecutorInfo`]; the program behind it is
//! [`crate::builtin`], started like any executor. Mesos 1.11,
//! `src/slave/slave.cpp` (`Slave::getExecutorInfo`).

use std::time::Duration;

use marmoset_proto::mesos::v1::{
    CommandInfo, DurationInfo, ExecutorId, ExecutorInfo, FrameworkId, KillPolicy, Resource,
    TaskInfo, resource, value,
};

use crate::config::CommandLine;

/// What the built-in executor uses itself, on top of the offer.
const CPUS: f64 = 0.1;
const MEM: f64 = 32.0;
/// How long it lets a killed command live.
const KILL_GRACE: Duration = Duration::from_secs(3);
/// For the signal to arrive and the process to be reaped.
const ESCALATION: Duration = Duration::from_secs(1);
/// For the last update to be acknowledged.
const REAPING: Duration = Duration::from_secs(1);
/// A command longer than this is shortened in the executor's name.
const LONGEST_SHOWN: usize = 15;
const SHOWN_OF_LONG: usize = 12;

/// Makes the executor of one command task.
pub(crate) fn executor_for(
    framework: &FrameworkId,
    task: &TaskInfo,
    program: &CommandLine,
) -> ExecutorInfo {
    let command = task.command.clone().unwrap_or_default();
    let role = task
        .resources
        .iter()
        .find_map(|resource| resource.allocation_info.as_ref()?.role.clone())
        .unwrap_or_else(|| "*".to_owned());
    let grace = task
        .kill_policy
        .as_ref()
        .and_then(|policy: &KillPolicy| policy.grace_period.as_ref())
        .map_or(KILL_GRACE, DurationInfo::to_duration)
        + ESCALATION
        + REAPING;
    let path = program.program.to_string_lossy().into_owned();
    let mut arguments = vec![path.clone()];
    arguments.extend(program.arguments.iter().cloned());
    ExecutorInfo {
        executor_id: ExecutorId::from(task.task_id.value.as_str()),
        framework_id: Some(framework.clone()),
        name: Some(format!(
            "Command Executor (Task: {}) (Command: {})",
            task.task_id,
            shown(&command)
        )),
        source: Some(task.task_id.value.clone()),
        command: Some(CommandInfo { shell: Some(false), value: Some(path), arguments, ..command }),
        container: task.container.clone(),
        shutdown_grace_period: Some(DurationInfo {
            nanoseconds: i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX),
        }),
        resources: vec![scalar("cpus", CPUS, &role), scalar("mem", MEM, &role)],
        ..ExecutorInfo::default()
    }
}

fn scalar(name: &str, value: f64, role: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value }),
        allocation_info: Some(resource::AllocationInfo { role: Some(role.to_owned()) }),
        ..Resource::default()
    }
}

fn shown(command: &CommandInfo) -> String {
    match (command.shell(), &command.value) {
        (true, None) => "NO COMMAND".to_owned(),
        (true, Some(value)) => format!("sh -c '{}'", shortened(value)),
        (false, None) => "NO EXECUTABLE".to_owned(),
        (false, Some(value)) => {
            let words = format!("{value}, {}", command.arguments.join(", "));
            format!("[{}]", shortened(&words))
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_SHOWN {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(SHOWN_OF_LONG).collect();
    start.push_str("...");
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(command: CommandInfo) -> String {
        let task = TaskInfo {
            name: "t".to_owned(),
            task_id: "t1".into(),
            command: Some(command),
            ..TaskInfo::default()
        };
        let program = CommandLine { program: "/bin/x".into(), arguments: vec!["--y".to_owned()] };
        let executor = executor_for(&"f".into(), &task, &program);
        assert_eq!(executor.executor_id, "t1".into());
        assert_eq!(executor.source.as_deref(), Some("t1"));
        assert_eq!(executor.shutdown_grace_period.unwrap().nanoseconds, 5_000_000_000);
        let command = executor.command.unwrap();
        assert_eq!(command.arguments, ["/bin/x", "--y"]);
        assert!(!command.shell());
        executor.name.unwrap()
    }

    #[test]
    fn the_name_tells_the_command_and_shortens_it() {
        let shell =
            |value: &str| CommandInfo { value: Some(value.to_owned()), ..CommandInfo::default() };
        let cases = [
            (shell("exit 3"), "Command Executor (Task: t1) (Command: sh -c 'exit 3')"),
            (
                shell("exit 3 # and a long remark"),
                "Command Executor (Task: t1) (Command: sh -c 'exit 3 # and...')",
            ),
            (CommandInfo::default(), "Command Executor (Task: t1) (Command: NO COMMAND)"),
            (
                CommandInfo {
                    shell: Some(false),
                    value: Some("ls".to_owned()),
                    arguments: vec!["ls".to_owned(), "-l".to_owned()],
                    ..CommandInfo::default()
                },
                "Command Executor (Task: t1) (Command: [ls, ls, -l])",
            ),
        ];
        for (command, expected) in cases {
            assert_eq!(named(command), expected);
        }
    }
}
