//! From the command line to the dispatcher, and from its end to an exit code.

use std::{
    env,
    ffi::{OsStr, OsString},
    io, iter,
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::error::ErrorKind;
use marmoset_executor_core::{Config, Core, Exit, Keep, QueueBounds};
use marmoset_http::{Auth, Client, ClientConfig};
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    agent::{self, Agent},
    arguments::Arguments,
    clock::now,
    dispatcher::{Dispatcher, End},
    environment::Environment,
    fetch::{FetchConfig, Fetcher},
    isolation::Isolation,
    launcher, null,
    output::{Folders, OutputDefaults},
    runtime::{
        DockerConfig, DockerSetup, ProcessConfig, ProcessRuntime, Rooms, WarmConfig,
        of_predecessors, subcommand,
    },
    slice,
};

/// The hidden first argument of the launcher processes.
const LAUNCHER: &str = "launcher";
/// Folder in the sandbox for files that are being fetched.
const FETCHES: &str = ".fetch";
/// Threads for files that are fetched; none while there is nothing to fetch.
const BLOCKING_THREADS: usize = 16;
/// The command line or the environment cannot be used (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;

/// Runs the executor until its agent, its framework or a signal ends it.
///
/// `arguments` begins with the name of the program, as in [`env::args_os`]; it may be the tail of
/// the command line, as a subcommand sees it. To be called before any thread is started. The
/// result is 0 when it was told to end, 64 when it was started wrongly, and 1 for anything else.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments.into_iter().collect::<Vec<_>>();
    if arguments.get(1).is_some_and(|first| first == LAUNCHER) {
        return launcher::main(arguments.into_iter().skip(2));
    }
    if arguments.get(1).is_some_and(|first| first == null::SUBCOMMAND) {
        return null::main();
    }
    if let Some(code) = subcommand(arguments.get(1..).unwrap_or_default()) {
        return code;
    }
    let reexec = own_arguments(&env::args_os().collect::<Vec<_>>(), arguments.len());
    let arguments = match Arguments::read(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to tell if the terminal is gone.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    log_to_stderr(&arguments.log);
    let environment = match Environment::take() {
        Ok(environment) => environment,
        Err(error) => {
            tracing::error!("{}", agent::chain(&error));
            return ExitCode::from(USAGE);
        }
    };
    match serve(arguments, environment, reexec) {
        Ok(End::Exit(Exit::Ordered)) => {
            tracing::info!("ended");
            ExitCode::SUCCESS
        }
        Ok(End::Exit(Exit::AgentLost(reason) | Exit::Refused(reason)) | End::Broken(reason)) => {
            tracing::error!(reason, "ended");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Finds what is wrong with the flags of an executor, without starting one.
///
/// # Errors
/// The text names the flag and what to do.
pub fn check(flags: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let name = OsString::from(env!("CARGO_PKG_NAME"));
    let read = Arguments::read(iter::once(name).chain(flags).collect());
    read.map(drop).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            "an executor that prints its help or its version runs nothing".to_owned()
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    })
}

fn serve(
    arguments: Arguments,
    environment: Environment,
    reexec: Vec<OsString>,
) -> anyhow::Result<End> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the runtime")?;
    slice::shorten();
    runtime.block_on(async {
        let isolation = Isolation::find(arguments.isolation, arguments.cgroups_enable_cfs)
            .context("`--isolation=cgroups`")?;
        // First, while this process is small.
        let processes = ProcessRuntime::start(ProcessConfig {
            program: "/proc/self/exe".into(),
            arguments: [&reexec[..], &[OsString::from(LAUNCHER)]].concat(),
            workers: arguments.launcher_workers,
            sandbox: environment.sandbox.clone(),
            inherited: environment.inherited.clone(),
            output: output(&arguments),
            isolation,
        })
        .context("cannot start the launcher")?;
        let keep = Keep { time: arguments.keep_time, count: arguments.keep_count };
        let folders = Folders::new(environment.sandbox.join("tasks"), keep)
            .context("cannot start a thread")?;
        let docker = docker(&arguments, &environment, reexec)?;
        tokio::spawn(of_predecessors(docker.clone()));
        let fetcher = Fetcher::new(FetchConfig::new(environment.sandbox.join(FETCHES)));
        let core = core(&arguments, &environment);
        let client = Client::new(ClientConfig {
            encoding: arguments.encoding,
            auth: environment.token.map_or(Auth::None, Auth::Bearer),
            ca_file: arguments.ca_file,
            ..ClientConfig::default()
        })
        .context("cannot set up the connection to the agent")?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            framework = %environment.framework_id,
            executor = %environment.executor_id,
            agent = %environment.endpoint,
            sandbox = %environment.sandbox.display(),
            "started"
        );
        let lanes = arguments.update_connections.get();
        let agent = Agent::new(client, environment.endpoint, environment.path, lanes);
        let rooms = Rooms::new(processes, docker, fetcher);
        let dispatcher =
            Dispatcher::new(core, agent, rooms, folders).context("cannot handle signals")?;
        // As a task: what the runtime is blocked on is woken by a system call, even by itself.
        tokio::spawn(dispatcher.run()).await.context("the dispatcher does not end itself")
    })
}

fn docker(
    arguments: &Arguments,
    environment: &Environment,
    reexec: Vec<OsString>,
) -> anyhow::Result<DockerSetup> {
    let text = |name: &str| environment.inherited.get(OsStr::new(name)).cloned();
    let config = arguments.docker_config.as_deref().map(DockerConfig::open);
    Ok(DockerSetup {
        socket: arguments.docker_socket.clone(),
        call_limit: arguments.docker_timeout,
        patience: arguments.docker_patience,
        starts: arguments.docker_starts.map(NonZeroUsize::get),
        allow_privileged: arguments.allow_privileged,
        cfs: arguments.cgroups_enable_cfs,
        config: config.transpose().context("`--docker-config`")?,
        framework: environment.framework_id.value.clone(),
        executor: environment.executor_id.value.clone(),
        agent: text("MESOS_SLAVE_ID").unwrap_or_default().to_string_lossy().into_owned(),
        sandbox: environment.sandbox.clone(),
        host_sandbox: text("MESOS_DIRECTORY").map(PathBuf::from),
        inherited: environment.inherited.clone(),
        output: output(arguments),
        reexec,
        warm: WarmConfig {
            slots: arguments.warm_slots,
            idle: arguments.warm_idle,
            workers: arguments.launcher_workers,
        },
        swept: CancellationToken::new(),
    })
}

fn output(arguments: &Arguments) -> OutputDefaults {
    OutputDefaults {
        stdout: arguments.stdout,
        stderr: arguments.stderr,
        limit: arguments.output_limit,
    }
}

fn core(arguments: &Arguments, environment: &Environment) -> Core {
    let config = Config {
        checkpoint: environment.checkpoint,
        shutdown_grace: environment.shutdown_grace,
        kill_grace: arguments.kill_grace,
        updates: arguments.updates,
        update_connections: arguments.update_connections.get(),
        report_interval: arguments.report_interval,
        queue: QueueBounds { tasks: arguments.queue, items: arguments.queue_items },
        ..Config::new(environment.framework_id.clone(), environment.executor_id.clone(), seed())
    };
    Core::new(config, now())
}

/// Randomness of the operating system.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let (first, second) = seed.split_at_mut(16);
    first.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    second.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    seed
}

/// The arguments that bring a new process of this binary here, to one of our subcommands.
///
/// `given` is how many arguments this program was called with, its name included; what stands
/// before them on the real command line is the subcommand that leads here.
fn own_arguments(command_line: &[OsString], given: usize) -> Vec<OsString> {
    let before = command_line.len().saturating_sub(given.saturating_sub(1));
    command_line.get(1..before).unwrap_or_default().to_vec()
}

fn log_to_stderr(filter: &str) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(false)
        .finish();
    // A program that has set a subscriber already keeps it.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_reached_the_way_the_executor_was() {
        let of = |line: &[&str], given: usize| {
            let line = line.iter().map(OsString::from).collect::<Vec<_>>();
            own_arguments(&line, given)
        };
        assert_eq!(of(&["marmoset-executor"], 1), [""; 0]);
        assert_eq!(of(&["marmoset-executor", "--queue", "5"], 3), [""; 0]);
        assert_eq!(of(&["marmoset", "executor"], 1), ["executor"]);
        assert_eq!(of(&["marmoset", "executor", "--log", "debug"], 3), ["executor"]);
        // A test that calls `main` with arguments of its own.
        assert_eq!(of(&["test"], 5), [""; 0]);
    }
}
