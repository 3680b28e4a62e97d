//! Flags of `marmoset bench`.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};

use super::{ExecutorArgs, values};

/// Measure this machine
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Spawn(SpawnArgs),
    Docker(DockerArgs),
    Compare(Box<CompareArgs>),
    Peers(PeersArgs),
    Interval(IntervalArgs),
    Scale(ScaleArgs),
    #[command(hide = true)]
    SimulatedCluster(SimulatedClusterArgs),
}

/// What a task costs: a bare spawn loop, the launcher, a whole cluster, and one executor alone
#[derive(Debug, Args)]
#[command(after_help = "\
Each figure stands beside its floor: the bare loop (posix_spawn, waitpid), or what the same costs
without us. All rows are measured in one run, so their ratios hold also where the figures drift. Rates
of the whole path are those in the middle of the run. What the CPU of the executor is: all of its
processes, less the kernel's time for spawning that the bare loop shows. Memory is the sum over the
executor and its launcher. The reach is that of a machine with two cores and nothing else to do.

Examples:
  marmoset bench spawn
  marmoset bench spawn --count 50000 --json
  marmoset bench spawn --executor ./marmoset-executor
  marmoset bench spawn --soak 1000000")]
pub(crate) struct SpawnArgs {
    /// Tasks in each row about a rate
    #[arg(long, value_name = "N", default_value = "20000", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) count: NonZeroU64,

    /// Measure this `marmoset-executor`, not the executor inside this program
    #[arg(long, value_name = "FILE")]
    pub(crate) executor: Option<PathBuf>,

    /// At last run N tasks, and tell how much the executor holds more after them than after 100,000
    #[arg(long, value_name = "N", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) soak: Option<NonZeroU64>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a container costs: the engine's bare calls, the executor's runtime, and a whole cluster
#[derive(Debug, Args)]
#[command(after_help = "\
The floor is the best rate of the engine's own calls (create, start, wait, remove), with one to eight of
them at a time: the network of the host, no log driver. All rows are measured in one run. The latency of
a container is from its request to its end, with as many at a time as the executor starts. Rows of `warm`
are tasks in a container that they share, 64 at a time; the time to the start is that of one at a time.

Examples:
  marmoset bench docker
  marmoset bench docker --image alpine:3 --count 500 --json")]
pub(crate) struct DockerArgs {
    /// The image, which the engine must have
    #[arg(long, value_name = "IMAGE", default_value = "busybox:local")]
    pub(crate) image: String,

    /// Containers in each row about a rate
    #[arg(long, value_name = "N", default_value = "100", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) count: NonZeroU64,

    /// Containers in the rows about latency
    #[arg(long, value_name = "N", default_value = "500", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) many: NonZeroU64,

    /// The socket of the engine
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    pub(crate) docker_socket: PathBuf,

    /// Containers that the runtime starts at a time; default: what the executor does
    #[arg(long, value_name = "N", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) docker_starts: Option<NonZeroU64>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parts of the report beside the comparison itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Also {
    /// What `marmoset bench interval` measures
    Interval,
    /// What `marmoset bench scale` measures
    Scale,
    /// What `marmoset bench peers` measures
    Peers,
    /// Nothing else
    Nothing,
}

/// Run the same job through our resident executor and through Mesos' built-in ones
#[derive(Debug, Args)]
#[command(
    override_usage = "marmoset bench compare [OPTIONS] [-- COMMAND [ARGUMENT]...]",
    after_help = "\
Sides: the resident executor with one Mesos task for each command (`--batch 1`), the same with batches,
and the built-in command executor (a Mesos task with a plain command: one executor process for each).
All get the same command, the same resources and REVIVE as soon as something is free. They take turns,
round after round, so that drift of the machine meets all of them. The built-in sides are slow: they
get as many commands as they run in about ten seconds, and what is compared are rates. With --null
there is one side more, whose executor runs nothing: `--batch 1` cannot be faster than that.

Without --master it runs on a cluster of one agent on this machine, whose command executor is that of
`marmoset mini`. It speaks the protocol of Mesos' but is lighter: on a real cluster the built-in side
is slower. Processor time and memory are read from /proc, and so are known for agents of this machine.

Examples:
  marmoset bench compare
  marmoset bench compare --count 500 --repeat 3 --json -- /bin/sh -c 'exit 0'
  marmoset bench compare --master 10.0.0.5:5050 --executor-path /opt/marmoset-executor \\
      --null --default-executor --docker busybox -- /bin/true"
)]
pub(crate) struct CompareArgs {
    /// Commands that each side runs in a round (the built-in sides: at most)
    #[arg(long, value_name = "N", default_value = "2000", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) count: NonZeroU64,

    /// Rounds
    #[arg(long, value_name = "R", default_value = "5", value_parser = values::at_least_one, allow_hyphen_values = true)]
    pub(crate) repeat: NonZeroU32,

    /// Processors that each command holds while it runs
    #[arg(long, value_name = "CPUS", default_value = "0.1", value_parser = values::thousandths, allow_hyphen_values = true)]
    pub(crate) cpus: u64,

    /// Memory that each command holds while it runs, in megabytes
    #[arg(long, value_name = "MB", default_value = "32", value_parser = values::thousandths, allow_hyphen_values = true)]
    pub(crate) mem: u64,

    /// Add sides that run the command in containers of this image
    #[arg(long, value_name = "IMAGE")]
    pub(crate) docker: Option<String>,

    /// Add sides that run the command in containers of this image that the commands share
    #[arg(long, value_name = "IMAGE")]
    pub(crate) warm: Option<String>,

    /// Add an executor that runs nothing: what the cluster itself carries of Mesos tasks
    #[arg(long)]
    pub(crate) null: bool,

    /// Add the built-in default executor: task groups of one task (not on the embedded cluster)
    #[arg(long)]
    pub(crate) default_executor: bool,

    /// More sections of the report, separated by commas [default: interval,scale,peers; with --master nothing]
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    pub(crate) also: Vec<Also>,

    /// File of the report
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub(crate) html: PathBuf,

    /// Print one JSON object instead of tables
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,

    /// Print one line for each side and round, values separated by commas, instead of tables
    #[arg(long)]
    pub(crate) csv: bool,

    /// Masters of a Mesos cluster, separated by commas; without it one is started here
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = values::master, help_heading = "Cluster")]
    pub(crate) master: Vec<String>,

    /// Role to register with
    #[arg(long, value_name = "ROLE", default_value = "*", help_heading = "Cluster")]
    pub(crate) role: String,

    /// User that the commands run as [default: the one who types this]
    #[arg(long, value_name = "USER", help_heading = "Cluster")]
    pub(crate) user: Option<String>,

    /// Principal to authenticate as
    #[arg(long, value_name = "NAME", help_heading = "Cluster", requires = "secret_file")]
    pub(crate) principal: Option<String>,

    /// File with the principal's secret
    #[arg(long, value_name = "FILE", help_heading = "Cluster", requires = "principal")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Certificates (PEM) that the masters' are checked against; switches TLS on
    #[arg(long, value_name = "FILE", help_heading = "Cluster", requires = "master")]
    pub(crate) ca_file: Option<PathBuf>,

    /// How agents come by the executor
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,

    /// What to run
    #[arg(value_name = "COMMAND", trailing_var_arg = true, default_value = "/bin/true")]
    pub(crate) command: Vec<String>,
}

/// Run the same commands through GNU parallel, xargs and HyperQueue, as far as they are installed
#[derive(Debug, Args)]
#[command(after_help = "\
Each runs the command as often as --count says, on this machine, one after the other; each is given as
many places as there are processors, and HyperQueue some more settings, of which the best one counts.
The bare loop (posix_spawn of /bin/true, waitpid) is the floor.

Examples:
  marmoset bench peers
  marmoset bench peers --count 5000 --json")]
pub(crate) struct PeersArgs {
    /// Commands that each of them runs
    #[arg(long, value_name = "N", default_value = "4000", value_parser = values::count, allow_hyphen_values = true)]
    pub(crate) count: NonZeroU64,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// How busy an agent's processors are while the master offers only now and then
#[derive(Debug, Args)]
#[command(after_help = "\
Runs `sleep 0.005` on an embedded cluster of one agent, one for each processor at a time, with batches
and with one Mesos task each, under several allocation intervals. The busy share is the time between
start and end of all processes over the time that the processors were there.

Example:
  marmoset bench interval --seconds 10")]
pub(crate) struct IntervalArgs {
    /// About how long each measurement takes
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = values::span)]
    pub(crate) seconds: Duration,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tasks per second and memory against the number of agents and of tasks
#[derive(Debug, Args)]
#[command(after_help = "\
The agents are simulated: they register with the embedded master as agents do, take Mesos tasks, and
answer with results at once, without executors and processes. What is measured is the control plane:
`marmoset run`, as a process of its own, and the embedded master.

Examples:
  marmoset bench scale
  marmoset bench scale --full            # up to 1000 agents and a million tasks")]
pub(crate) struct ScaleArgs {
    /// Go up to 1000 agents and a million tasks
    #[arg(long)]
    pub(crate) full: bool,

    /// Print one JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// A master with simulated agents; ends when its standard input does
#[derive(Debug, Args)]
pub(crate) struct SimulatedClusterArgs {
    #[arg(long, default_value = "1", value_parser = values::at_least_one)]
    pub(crate) agents: NonZeroU32,
}
