//! Flags of `marmoset mini`.

use std::{net::IpAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, ValueEnum};

use super::values;

/// Where agents put executors and tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Containerizer {
    /// Processes of this machine
    Mesos,
    /// Containers of a Docker engine, for whoever asks for type DOCKER
    Docker,
}

/// Run a Mesos master and agents on this machine, for any framework
#[derive(Debug, Args)]
#[command(after_help = "\
It behaves like Mesos 1.11: v1 scheduler, executor and operator APIs, protobuf and JSON, the built-in
command executor, /state, /health, /metrics/snapshot, /files/*. Nothing is remembered over restarts.
It ends on Ctrl-C or SIGTERM, with all executors and tasks.

Examples:
  marmoset mini --agents 3 --resources 'cpus:8;mem:8192;ports:[8000-8100]' --port 5050
  marmoset mini --attributes 'rack:r1;zone:a' --work-dir /var/tmp/mini
  marmoset mini --port 0 --json          # a free port, told as JSON
  marmoset mini --containerizers docker,mesos")]
pub(crate) struct MiniArgs {
    /// Number of agents
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::at_least_one, allow_hyphen_values = true)]
    pub(crate) agents: NonZeroU32,

    /// Resources of each agent, e.g. `cpus:8;mem:8192;ports:[8000-8100]`; detected where not named
    #[arg(long, value_name = "RESOURCES", default_value = "")]
    pub(crate) resources: String,

    /// Attributes of each agent, e.g. `rack:r1;zone:a`
    #[arg(long, value_name = "ATTRIBUTES", default_value = "")]
    pub(crate) attributes: String,

    /// Port of the master; agents follow it (port + 1, ...). 0 takes free ones
    #[arg(long, value_name = "PORT", default_value_t = 5050)]
    pub(crate) port: u16,

    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) ip: IpAddr,

    /// Name by which clients reach it [default: the address]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// Where sandboxes lie [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,

    /// File with the credentials of schedulers: one `principal secret` on each line. With it they must authenticate
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,

    /// Containerizers of the agents, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "mesos",
        help_heading = "Docker"
    )]
    pub(crate) containerizers: Vec<Containerizer>,

    /// The `docker` command that agents call
    #[arg(long, value_name = "PATH", default_value = "docker", help_heading = "Docker")]
    pub(crate) docker: PathBuf,

    /// The socket of the Docker engine
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/run/docker.sock",
        help_heading = "Docker"
    )]
    pub(crate) docker_socket: PathBuf,

    /// Whether a starting agent removes all containers named `mesos-<uuid>` that it does not know,
    /// those of other agents on this engine too, as a Mesos agent does
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, help_heading = "Docker")]
    pub(crate) docker_kill_orphans: bool,

    /// Print the endpoints as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Tell what happens
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// End when the standard input does: for programs that start a cluster for themselves
    #[arg(long, hide = true)]
    pub(crate) until_stdin_ends: bool,

    /// Pause between two rounds of offers [Mesos: 1s]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Timers")]
    pub(crate) allocation_interval: Option<Duration>,

    /// Interval of heartbeats to schedulers [Mesos: 15s]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Timers")]
    pub(crate) heartbeat_interval: Option<Duration>,

    /// Silence after which an agent counts as unreachable [Mesos: 75s]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Timers")]
    pub(crate) agent_timeout: Option<Duration>,

    /// Time after which an unanswered offer is rescinded [Mesos: never]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Timers")]
    pub(crate) offer_timeout: Option<Duration>,

    /// Time an executor has to subscribe [Mesos: 1m]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Timers")]
    pub(crate) executor_registration_timeout: Option<Duration>,

    /// Time from an executor's shutdown to its SIGKILL [Mesos: 5s]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Timers")]
    pub(crate) executor_shutdown_grace_period: Option<Duration>,

    /// First pause before an unacknowledged update is sent again; doubles [Mesos: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Timers")]
    pub(crate) update_retry: Option<Duration>,
}
