//! An example framework: on every agent, one `nc` for each of the ports 8000 to 8005.
//!
//! Each answers `hello <task id>` once and ends; a new one with a new id takes its
//! place. With `--docker` each is a container of its own. What a framework has to decide is in [`framework`]; this file is about
//! flags, logging, and the embedded cluster that is used where no master is named.

mod framework;
mod task;

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;
use marmoset_mini::{AgentConfig, Cluster, ClusterConfig, CommandLine};
use marmoset_scheduler::{
    CancellationToken, ConnectionConfig, Identity, SessionConfig, drive, executor_at,
};
use tokio::signal::unix::{SignalKind, signal};

use framework::HelloNc;
use task::Template;

/// The image of containers where none is named.
const IMAGE: &str = "busybox:1.37";

/// Keeps one-shot network services alive: each answers `hello <task id>` once and is replaced.
///
/// Try it: start it, then `curl --http0.9 localhost:8000` or `nc localhost 8000`, twice.
#[derive(Debug, Parser)]
struct Arguments {
    /// Mesos master; without it a cluster with one agent is started in this process
    #[arg(long, value_name = "HOST:PORT")]
    master: Option<String>,

    /// Where `marmoset-executor` lies on the agents; default: this program, which has it inside
    #[arg(long, value_name = "PATH")]
    executor_path: Option<PathBuf>,

    /// First port that is served on each agent
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    first_port: u16,

    /// How many ports are served on each agent
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..))]
    ports: u16,

    /// How the agents' netcat listens once; the port is put behind it
    ///
    /// The flags of netcats differ. busybox: `busybox nc -l -p`. OpenBSD's: `nc -N -l`.
    /// The traditional one: `nc -q 0 -l -p`.
    #[arg(long, value_name = "COMMAND", default_value = "busybox nc -l -p")]
    nc: String,

    /// Run each task in a Docker container of its own, made of an image with `sh` and netcat
    ///
    /// `docker ps --filter label=marmoset` shows them. They have their host's network.
    #[arg(long, value_name = "IMAGE", num_args = 0..=1, default_missing_value = IMAGE)]
    docker: Option<String>,

    /// User that the executor runs as; default: the one who starts this
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Tell every offer, task and state
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    match words.next() {
        // The embedded agent starts this same program as its executor.
        Some(word) if word == OsStr::new("executor") => return marmoset_executor::main(words),
        Some(word) if word == OsStr::new("mini-command-executor") => {
            return marmoset_mini::builtin::main(words);
        }
        Some(_) | None => {}
    }
    let arguments = Arguments::parse();
    let level = if arguments.verbose { "warn,marmoset=info" } else { "warn" };
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello-nc: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let own = env::current_exe().context("cannot find out where this program lies")?;
    // Every state is wanted, also of a task that ends before the one before was told.
    let all = "--updates=all".to_owned();
    let executor = match &arguments.executor_path {
        Some(path) => executor_at(path, &[all]),
        None => executor_at(&own, &["executor".to_owned(), all]),
    };
    let embedded = match &arguments.master {
        Some(_) => None,
        None => Some(Embedded::start(&own).await?),
    };
    let master = match (&arguments.master, &embedded) {
        (Some(master), _) => master.clone(),
        (None, Some(embedded)) => embedded.cluster.master_addr().to_string(),
        (None, None) => unreachable!("without a master there is an embedded one"),
    };

    let user =
        arguments.user.or_else(|| env::var("USER").ok()).unwrap_or_else(|| "root".to_owned());
    let ports = arguments.first_port..=arguments.first_port.saturating_add(arguments.ports - 1);
    let mut framework = HelloNc::new(
        ports.clone(),
        Template { executor, nc: arguments.nc, image: arguments.docker },
    );
    let connection = ConnectionConfig::new(vec![master]);
    let config = SessionConfig::new(connection, Identity::new("hello-nc", user));
    eprintln!("serving ports {} to {} on every agent; Ctrl-C ends it", ports.start(), ports.end());
    let ended = drive(config, &mut framework, interrupted()?).await;
    if let Some(embedded) = embedded {
        embedded.cluster.shutdown().await;
    }
    Ok(ended?)
}

/// Cancelled by the first SIGINT or SIGTERM.
fn interrupted() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancelled = stop.clone();
    // Ends with the process; nothing waits for it.
    drop(tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
    }));
    Ok(stop)
}

/// A cluster on this machine whose agent offers the ports 8000 to 8100.
struct Embedded {
    cluster: Cluster,
    /// Holds the sandboxes; removed at the end.
    _folder: tempfile::TempDir,
}

impl Embedded {
    async fn start(own: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("hello-nc-").tempdir()?;
        let agent = AgentConfig {
            resources: "ports:[8000-8100]".to_owned(),
            work_dir: folder.path().to_owned(),
            command_executor: CommandLine {
                program: own.to_owned(),
                arguments: vec!["mini-command-executor".to_owned()],
            },
            ..AgentConfig::default()
        };
        let config = ClusterConfig { agents: vec![agent], ..ClusterConfig::default() };
        let cluster = Cluster::start(config).await.context("cannot start the embedded cluster")?;
        Ok(Self { cluster, _folder: folder })
    }
}
