//! The command line.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Parser;
use marmoset_executor_core::{Keep, QueueBounds, REPORT_INTERVAL_MIN, UpdatePolicy};
use marmoset_http::Encoding;
use marmoset_proto::{duration, marmoset::v1::output::Target, output, size};
use tracing_subscriber::EnvFilter;

use crate::{isolation::Wish, runtime::SOCKET};

/// Runs tasks for a Mesos agent.
///
/// Started by an agent, which sets MESOS_AGENT_ENDPOINT, MESOS_FRAMEWORK_ID, MESOS_EXECUTOR_ID
/// and other variables. Everything else is set by these flags, in `ExecutorInfo.command`.
#[derive(Debug, Parser)]
#[command(
    name = "marmoset-executor",
    version,
    about,
    after_help = "`marmoset-executor sweep` removes the containers that dead executors have left behind."
)]
pub(crate) struct Arguments {
    /// Which status updates of a task are sent: `all`, `coalesce` (one that is not yet sent is
    /// dropped when a later one exists) or `terminal`
    #[arg(long, value_name = "POLICY", default_value = "coalesce")]
    pub(crate) updates: UpdatePolicy,

    /// Over how many connections updates are sent, at most; each is opened when the others are busy
    #[arg(long, value_name = "CONNECTIONS", default_value = "4", value_parser = connections)]
    pub(crate) update_connections: NonZeroUsize,

    /// How many Mesos tasks may wait to be started; more are TASK_FAILED
    #[arg(long, value_name = "TASKS", default_value_t = QueueBounds::default().tasks)]
    pub(crate) queue: usize,

    /// How many items of batches may wait to be started; a batch with more is TASK_FAILED
    #[arg(long, value_name = "ITEMS", default_value_t = QueueBounds::default().items)]
    pub(crate) queue_items: u64,

    /// Shortest time between two reports of one batch, 100ms or more
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = report_interval)]
    pub(crate) report_interval: Duration,

    /// From SIGTERM to SIGKILL for a task without a kill policy of its own
    #[arg(long, value_name = "DURATION", default_value = "3secs", value_parser = duration::parse)]
    pub(crate) kill_grace: Duration,

    /// Encoding spoken with the agent: `protobuf` or `json`
    #[arg(long, value_name = "ENCODING", default_value = "protobuf", value_parser = encoding)]
    pub(crate) encoding: Encoding,

    /// PEM file with the authorities to trust when the agent speaks TLS
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// How many processes start tasks [default: one for each CPU, at most four]
    #[arg(long, value_name = "PROCESSES")]
    pub(crate) launcher_workers: Option<NonZeroUsize>,

    /// Where stdout of tasks goes that do not say so: `file` (in the task's folder), `null`, or
    /// `inherit` (this executor's own)
    #[arg(long, value_name = "TARGET", default_value = "file", value_parser = target)]
    pub(crate) stdout: Target,

    /// Where stderr of tasks goes that do not say so: `file`, `null` or `inherit`
    #[arg(long, value_name = "TARGET", default_value = "file", value_parser = target)]
    pub(crate) stderr: Target,

    /// Most that is kept of each output file, half from its beginning and half from its end, for
    /// tasks that do not say so; `0B` for all of it
    #[arg(long, value_name = "SIZE", default_value = "10MB", value_parser = size::parse)]
    pub(crate) output_limit: u64,

    /// How long the folder of a task is kept after its end
    #[arg(long, value_name = "DURATION", default_value = "1hrs", value_parser = duration::parse)]
    pub(crate) keep_time: Duration,

    /// How many folders of tasks that finished are kept, and as many of others: the oldest go
    #[arg(long, value_name = "FOLDERS", default_value_t = Keep::default().count)]
    pub(crate) keep_count: usize,

    /// What keeps each task within its cpus and mem: `auto` (cgroups where they can be made, else
    /// rlimits for tasks that set `limits`), `cgroups` (or the executor does not start),
    /// `rlimits` (the memory of each process), `none`
    #[arg(long, value_name = "MECHANISM", default_value = "auto")]
    pub(crate) isolation: Wish,

    /// With cgroups, no task gets more CPU time than its cpus, even where nobody else wants it
    #[arg(long)]
    pub(crate) cgroups_enable_cfs: bool,

    /// The Docker engine that starts containers
    #[arg(long, value_name = "PATH", default_value = SOCKET, help_heading = "Containers")]
    pub(crate) docker_socket: PathBuf,

    /// Docker configuration file (`config.json`) with the credentials of registries, in `auths`
    #[arg(long, value_name = "FILE", help_heading = "Containers")]
    pub(crate) docker_config: Option<PathBuf>,

    /// How many containers are started at a time [default: 6]
    #[arg(long, value_name = "CONTAINERS", help_heading = "Containers")]
    pub(crate) docker_starts: Option<NonZeroUsize>,

    /// Longest time that the engine may take for one answer
    #[arg(long, value_name = "DURATION", default_value = "60secs", value_parser = duration::parse, help_heading = "Containers")]
    pub(crate) docker_timeout: Duration,

    /// How long tasks wait for an engine that is away; then they are TASK_FAILED
    #[arg(long, value_name = "DURATION", default_value = "5mins", value_parser = duration::parse, help_heading = "Containers")]
    pub(crate) docker_patience: Duration,

    /// How many tasks share a warm container at a time; for more another one is started
    #[arg(long, value_name = "TASKS", default_value = "64", help_heading = "Containers")]
    pub(crate) warm_slots: NonZeroUsize,

    /// How long a warm container is kept that no task is in
    #[arg(long, value_name = "DURATION", default_value = "1mins", value_parser = duration::parse, help_heading = "Containers")]
    pub(crate) warm_idle: Duration,

    /// Let tasks ask for privileged containers, and for parameters that lead out of a container
    #[arg(long, help_heading = "Containers")]
    pub(crate) allow_privileged: bool,

    /// What is logged to stderr: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `info,marmoset_http=debug`
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = filter)]
    pub(crate) log: String,
}

impl Arguments {
    /// Reads the command line, the name of the program first.
    pub(crate) fn read(arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }
}

fn encoding(text: &str) -> Result<Encoding, String> {
    match text {
        "protobuf" => Ok(Encoding::Protobuf),
        "json" => Ok(Encoding::Json),
        other => Err(format!("`{other}` is none of `protobuf`, `json`")),
    }
}

/// More help no agent: it handles one call at a time.
const CONNECTIONS_MAX: usize = 64;

fn connections(text: &str) -> Result<NonZeroUsize, String> {
    let wrong = || format!("`{text}` is no number from 1 to {CONNECTIONS_MAX}");
    let count = text.parse::<NonZeroUsize>().map_err(|_| wrong())?;
    if count.get() > CONNECTIONS_MAX { Err(wrong()) } else { Ok(count) }
}

fn target(text: &str) -> Result<Target, String> {
    output::target(text).map_err(|error| error.to_string())
}

fn report_interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text).map_err(|error| error.to_string())?;
    if interval < REPORT_INTERVAL_MIN {
        return Err(format!("`{text}` is less than 100ms"));
    }
    Ok(interval)
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use marmoset_executor_core::UPDATE_CONNECTIONS;

    use super::*;
    use crate::output::LIMIT;

    fn read(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let all = ["marmoset-executor"].iter().chain(arguments).map(OsString::from);
        Arguments::read(all.collect())
    }

    #[test]
    fn is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn defaults_and_values() {
        let defaults = read(&[]).unwrap();
        assert_eq!(defaults.updates, UpdatePolicy::Coalesce);
        assert_eq!(defaults.queue, 10_000);
        assert_eq!(defaults.output_limit, LIMIT);
        assert_eq!(defaults.update_connections.get(), UPDATE_CONNECTIONS);
        let set =
            read(&["--updates", "all", "--encoding=json", "--kill-grace", "1.5secs"]).unwrap();
        assert_eq!(set.updates, UpdatePolicy::All);
        assert_eq!(set.encoding, Encoding::Json);
        assert_eq!(set.kill_grace, Duration::from_millis(1500));
    }

    #[test]
    fn refusals_name_the_flag() {
        for (arguments, part) in [
            (["--updates", "some"], "none of `all`, `coalesce`, `terminal`"),
            (["--report-interval", "5ms"], "`5ms` is less than 100ms"),
            (["--update-connections", "0"], "`0` is no number from 1 to 64"),
            (["--update-connections", "65"], "`65` is no number from 1 to 64"),
            (["--kill-grace", "5"], "'--kill-grace <DURATION>'"),
            (["--queue", "many"], "--queue"),
            (["--isolation", "jail"], "none of `auto`, `cgroups`, `rlimits`, `none`"),
            (["--stdout", "void"], "none of `file`, `null`, `inherit`"),
            (["--output-limit", "10"], "write it like `10MB`"),
            (["--encoding", "xml"], "none of `protobuf`, `json`"),
            (["--log", "a=b=c"], "--log"),
        ] {
            let text = read(&arguments).unwrap_err().to_string();
            assert!(text.contains(part), "{arguments:?}: {text}");
        }
    }
}
