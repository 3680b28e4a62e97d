//! From an executor's description to a running process, and to its end.
//!
//! Owns the edge towards the operating system: users, sandboxes, fetching,
//! processes, signals. One tracked task runs for each container; it tells the
//! actor three facts and obeys one order, and decides nothing.
//!
//! ```text
//!   sandbox ─▶ fetch ─▶ spawn ─▶ Started ─▶ first process ends ─▶ kill the rest ─▶ Exited
//!      │         │        │                      │
//!      └─────────┴────────┴─▶ Failed             └─ destroy: kill everything ─▶ Exited
//! ```
//!
//! The first process is reaped only after the rest of its container is dead, so
//! that its pid cannot come to mean something else in between. What asks for a
//! container of type DOCKER goes another way, see [`docker`].

mod docker;
mod fetch;
mod pidfd;
mod process;
mod user;

use std::{collections::BTreeMap, path::PathBuf};

use marmoset_proto::mesos::v1::{CommandInfo, ContainerInfo, Resource, container_info, image};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::docker::sweep;
use super::{
    core::{Container, Input, Kind},
    sandbox,
};
use crate::{
    config::{Containerizer, DockerConfig},
    docker::{Amounts, Limits},
    processes::Identity,
};

/// All that is needed to start an executor.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Its run.
    pub(crate) container: Container,
    /// Those of the agent.
    pub(crate) containerizers: Vec<Containerizer>,
    /// The one that takes it; none: nobody does.
    pub(crate) containerizer: Option<Containerizer>,
    /// What the Docker containerizer is told.
    pub(crate) docker: DockerConfig,
    /// Custom or built in.
    pub(crate) kind: Kind,
    /// What it and its first tasks may use.
    pub(crate) resources: Vec<Resource>,
    /// What they may use at most.
    pub(crate) limits: Limits,
    /// Below it lie links to sandboxes that cannot be mounted under their own names.
    pub(crate) links: PathBuf,
    /// Its sandbox; the working directory.
    pub(crate) directory: PathBuf,
    /// What to fetch and run.
    pub(crate) command: CommandInfo,
    /// How it wants to be contained.
    pub(crate) container_info: Option<ContainerInfo>,
    /// Whom it runs as, if the agent may choose.
    pub(crate) user: String,
    /// All of its environment.
    pub(crate) environment: BTreeMap<String, String>,
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error(
        "None of the enabled containerizers ({0}) could create a container for the provided \
         TaskInfo/ExecutorInfo message"
    )]
    Containerizer(String),
    #[error(
        "Unsupported container image type: {0} (the Mesos containerizer provisions no images here: \
         ask for a container of type DOCKER from an agent with `--containerizers=docker,mesos`)"
    )]
    Image(&'static str),
    #[error(transparent)]
    User(#[from] user::UserError),
    #[error("Failed to create the sandbox '{path}': {source}")]
    Sandbox { path: String, source: std::io::Error },
    #[error("Failed to fetch all URIs for container '{container}': {source}")]
    Fetch { container: String, source: fetch::FetchError },
    #[error(transparent)]
    Spawn(#[from] process::SpawnError),
}

/// Wait status of a process that SIGKILL ended.
const KILLED: i32 = nix::libc::SIGKILL;
/// What the tasks of an executor are told that ended in a container of the Mesos containerizer.
pub(crate) const EXECUTOR_TERMINATED: &str = "Executor terminated";

/// How a container is told what becomes of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reins {
    /// Kill everything in it.
    pub(crate) destroy: CancellationToken,
    /// Leave it as it is: the agent does not know it any more.
    pub(crate) abandon: CancellationToken,
    /// What it may use; nothing is said before its first task is delivered.
    pub(crate) size: watch::Sender<Amounts>,
    /// The agent ends, what is left of it is removed. The same for all containers.
    pub(crate) closing: CancellationToken,
}

/// Finds the containerizer for an executor, in the order of the agent's list.
pub(crate) fn containerizer_for(
    enabled: &[Containerizer],
    container: Option<&ContainerInfo>,
) -> Option<Containerizer> {
    let wanted = match container.map(ContainerInfo::r#type) {
        Some(container_info::Type::Docker) => Containerizer::Docker,
        Some(container_info::Type::Mesos) | None => Containerizer::Mesos,
    };
    enabled.iter().copied().find(|containerizer| *containerizer == wanted)
}

/// Runs one container to its end, or to its destruction.
pub(crate) async fn run(launch: Launch, reins: Reins, facts: mpsc::UnboundedSender<Input>) {
    match launch.containerizer {
        None => {
            let enabled: Vec<String> =
                launch.containerizers.iter().map(ToString::to_string).collect();
            let message = LaunchError::Containerizer(enabled.join(",")).to_string();
            let failed = Input::LaunchFailed { container: launch.container, message };
            let _stopped = facts.send(failed);
        }
        Some(Containerizer::Mesos) => on_the_host(launch, reins.destroy, facts).await,
        Some(Containerizer::Docker) => docker::run(launch, reins, facts).await,
    }
}

async fn on_the_host(
    launch: Launch,
    destroy: CancellationToken,
    facts: mpsc::UnboundedSender<Input>,
) {
    let container = launch.container.clone();
    let message = EXECUTOR_TERMINATED;
    let prepared = tokio::select! {
        biased;
        () = destroy.cancelled() => None,
        prepared = prepare(&launch) => Some(prepared),
    };
    let fact = match prepared {
        // There is no process yet; what the fetch has left behind lies in the sandbox.
        None => Input::ContainerExited { container, status: KILLED, message },
        Some(Err(error)) => {
            tracing::warn!(container = container.0, %error, "cannot start executor");
            Input::LaunchFailed { container, message: error.to_string() }
        }
        Some(Ok(identity)) => match process::spawn(&launch, identity.as_ref()) {
            Err(error) => Input::LaunchFailed { container, message: error.to_string() },
            Ok(process::Spawned::NotExecutable(status)) => {
                Input::ContainerExited { container, status, message }
            }
            Ok(process::Spawned::Running(process)) => {
                let started =
                    Input::ContainerStarted { container: container.clone(), pid: process.pid() };
                let _stopped = facts.send(started);
                let status = process.end(destroy).await;
                Input::ContainerExited { container, status, message }
            }
        },
    };
    let _stopped = facts.send(fact);
}

async fn prepare(launch: &Launch) -> Result<Option<Identity>, LaunchError> {
    if launch.containerizer == Some(Containerizer::Mesos) {
        refuse_image(launch.container_info.as_ref())?;
    }
    let identity = user::switch_to(&launch.user)?;
    sandbox::create(&launch.directory, identity.as_ref()).map_err(|source| {
        LaunchError::Sandbox { path: launch.directory.display().to_string(), source }
    })?;
    fetch::all(&launch.command.uris, &launch.directory, identity.as_ref())
        .await
        .map_err(|source| LaunchError::Fetch { container: launch.container.0.clone(), source })?;
    Ok(identity)
}

fn refuse_image(container: Option<&ContainerInfo>) -> Result<(), LaunchError> {
    let image = container.and_then(|container| container.mesos.as_ref()?.image.as_ref());
    match image.map(|image| image.r#type()) {
        None => Ok(()),
        Some(image::Type::Docker) => Err(LaunchError::Image("DOCKER")),
        Some(image::Type::Appc) => Err(LaunchError::Image("APPC")),
    }
}
