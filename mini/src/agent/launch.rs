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
//! that its pid cannot come to mean something else in between.

mod fetch;
mod process;
mod user;

use std::{collections::BTreeMap, path::PathBuf};

use marmoset_proto::mesos::v1::{CommandInfo, ContainerInfo, container_info};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    core::{Container, Input},
    sandbox,
};
use crate::processes::Identity;

/// All that is needed to start an executor.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Its run.
    pub(crate) container: Container,
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
        "None of the enabled containerizers (mesos) could create a container for the provided \
         TaskInfo/ExecutorInfo message: images are not supported"
    )]
    Containerizer,
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

/// Runs one container to its end, or to its destruction.
pub(crate) async fn run(
    launch: Launch,
    destroy: CancellationToken,
    facts: mpsc::UnboundedSender<Input>,
) {
    let container = launch.container.clone();
    let prepared = tokio::select! {
        biased;
        () = destroy.cancelled() => None,
        prepared = prepare(&launch) => Some(prepared),
    };
    let fact = match prepared {
        // There is no process yet; what the fetch has left behind lies in the sandbox.
        None => Input::ContainerExited { container, status: KILLED },
        Some(Err(error)) => {
            tracing::warn!(container = container.0, %error, "cannot start executor");
            Input::LaunchFailed { container, message: error.to_string() }
        }
        Some(Ok(identity)) => match process::spawn(&launch, identity.as_ref()) {
            Err(error) => Input::LaunchFailed { container, message: error.to_string() },
            Ok(process::Spawned::NotExecutable(status)) => {
                Input::ContainerExited { container, status }
            }
            Ok(process::Spawned::Running(process)) => {
                let started =
                    Input::ContainerStarted { container: container.clone(), pid: process.pid() };
                let _stopped = facts.send(started);
                let status = process.end(destroy).await;
                Input::ContainerExited { container, status }
            }
        },
    };
    let _stopped = facts.send(fact);
}

async fn prepare(launch: &Launch) -> Result<Option<Identity>, LaunchError> {
    if launch.container_info.as_ref().is_some_and(wants_image) {
        return Err(LaunchError::Containerizer);
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

fn wants_image(container: &ContainerInfo) -> bool {
    let image = container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some());
    container.r#type() == container_info::Type::Docker || image
}
