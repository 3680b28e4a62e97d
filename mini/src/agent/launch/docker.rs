//! The Docker containerizer: executors, and command tasks, in containers of an engine.
//!
//! Owns one container from its image to its removal, through the `docker`
//! command. A custom executor *is* the container's first process; for a task
//! with a command the built-in executor runs on the host and starts the task's
//! container itself. Mesos 1.11, `src/slave/containerizer/docker.cpp`.
//!
//! ```text
//!  sandbox, fetch ─▶ pull ─▶ docker run ─▶ inspect ─▶ Running ─▶ ended ─▶ Exited -1 ─▶ (delay) rm
//!        │             │         │            │          │
//!        └─────────────┴─────────┴────────────┘          └ destroy: SIGTERM, docker stop
//!          Failed, or destroyed while it was there
//! ```
//!
//! * *docker run*: attached; what the container prints goes to the sandbox's files.
//! * *Running*: what it may use follows its tasks, see [`cgroups`]. The first process is watched by its pid on the host. It is nobody's
//!   child here, so how it ended is not known.
//! * An agent that starts again abandons the container; the sweep has removed it,
//!   see [`orphans`].

mod cgroups;
mod container;
mod orphans;

use std::{io, os::unix::fs::symlink, path::PathBuf};

use tokio::sync::mpsc;

pub(crate) use self::orphans::sweep;
use super::{Launch, LaunchError, Reins, prepare, process};
use crate::{
    agent::core::{Container, Input, Kind},
    docker::{CallError, Docker, MAPPED_DIRECTORY, NAME_PREFIX, OptionsError},
    processes::Identity,
};

/// What tasks are told of a container that ended by itself.
const TERMINATED: &str = "Container terminated";
/// The same of one that the agent destroyed.
const KILLED: &str = "Container killed";
const KILLED_FETCHING: &str = "Container destroyed while fetching";
const KILLED_PULLING: &str = "Container destroyed while pulling image";
/// The wait status of what nobody waited for.
const UNKNOWN: i32 = -1;

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
enum DockerError {
    #[error(transparent)]
    Prepare(#[from] LaunchError),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Spawn(#[from] process::SpawnError),
    #[error("Failed to link to the sandbox from '{path}': {source}")]
    Link { path: String, source: io::Error },
    #[error("Failed to create subprocess '{program}': {source}")]
    Start { program: String, source: io::Error },
    #[error("Container {0}")]
    Ended(String),
    #[error("Unable to get executor pid after launch")]
    NoPid,
}

/// What became of a container.
#[derive(Debug)]
enum Outcome {
    Ended(&'static str),
    Failed(DockerError),
    /// It is not this agent's any more.
    Abandoned,
}

/// A container to be, or that is.
#[derive(Debug)]
struct Place {
    docker: Docker,
    name: String,
    launch: Launch,
}

/// Runs one container to its end, or to its destruction, and removes what is left.
pub(super) async fn run(launch: Launch, reins: Reins, facts: mpsc::UnboundedSender<Input>) {
    let place = Place {
        docker: Docker::new(&launch.docker),
        name: format!("{NAME_PREFIX}{}", launch.container.0),
        launch,
    };
    let identity = match place.provide(&reins).await {
        Ok(identity) => identity,
        Err(outcome) => {
            place.tell(outcome, &facts);
            return;
        }
    };
    let outcome = match place.launch.kind {
        Kind::Custom => place.contain(identity.as_ref(), &reins, &facts).await,
        Kind::Command => place.run_builtin(&reins).await,
    };
    if place.tell(outcome, &facts) {
        place.remove(&reins).await;
    }
}

impl Place {
    /// Tells the end; whether there is one.
    fn tell(&self, outcome: Outcome, facts: &mpsc::UnboundedSender<Input>) -> bool {
        let container = self.launch.container.clone();
        let fact = match outcome {
            Outcome::Abandoned => return false,
            Outcome::Ended(message) => {
                Input::ContainerExited { container, status: UNKNOWN, message }
            }
            Outcome::Failed(error) => {
                tracing::warn!(container = container.0, %error, "cannot start executor");
                Input::LaunchFailed { container, message: error.to_string() }
            }
        };
        let _stopped = facts.send(fact);
        true
    }

    /// Gets all that the container needs: sandbox, files, image.
    async fn provide(&self, reins: &Reins) -> Result<Option<Identity>, Outcome> {
        let identity = tokio::select! {
            biased;
            () = reins.abandon.cancelled() => return Err(Outcome::Abandoned),
            () = reins.destroy.cancelled() => return Err(Outcome::Ended(KILLED_FETCHING)),
            prepared = prepare(&self.launch) => prepared,
        };
        let identity = identity.map_err(|error| Outcome::Failed(error.into()))?;
        let pulled = tokio::select! {
            biased;
            () = reins.abandon.cancelled() => return Err(Outcome::Abandoned),
            () = reins.destroy.cancelled() => return Err(Outcome::Ended(KILLED_PULLING)),
            pulled = self.pull() => pulled,
        };
        pulled.map_err(Outcome::Failed)?;
        Ok(identity)
    }

    async fn pull(&self) -> Result<(), DockerError> {
        let docker = self.launch.container_info.as_ref().and_then(|info| info.docker.as_ref());
        let docker = docker.ok_or(OptionsError::NoDockerInfo)?;
        let image = tagged(&docker.image);
        if docker.force_pull_image() || !self.docker.has_image(&image).await {
            self.docker.pull(&image, &self.launch.directory).await?;
        }
        Ok(())
    }

    /// Runs the built-in executor on the host; it starts the task's container.
    async fn run_builtin(&self, reins: &Reins) -> Outcome {
        let sandbox = match self.sandbox_source() {
            Ok(sandbox) => sandbox,
            Err(error) => return Outcome::Failed(error),
        };
        let mut launch = self.launch.clone();
        let path = |path: &std::path::Path| path.display().to_string();
        launch.command.arguments.extend([
            format!("--container={}", self.name),
            format!("--docker={}", path(self.docker.program())),
            format!("--docker_socket={}", path(self.docker.socket())),
            format!("--mapped_directory={MAPPED_DIRECTORY}"),
            format!("--sandbox_directory={}", path(&sandbox)),
        ]);
        // It looks for `docker` where the agent does.
        if let Ok(search) = std::env::var("PATH") {
            launch.environment.insert("PATH".to_owned(), search);
        }
        let message = match process::spawn(&launch, None) {
            Err(error) => return Outcome::Failed(error.into()),
            Ok(process::Spawned::NotExecutable(_)) => TERMINATED,
            Ok(process::Spawned::Running(process)) => {
                let destroyed = reins.destroy.clone();
                process.end(reins.destroy.clone()).await;
                if destroyed.is_cancelled() { KILLED } else { TERMINATED }
            }
        };
        // It may have died without its container.
        self.stop().await;
        Outcome::Ended(message)
    }

    /// Where the sandbox is mounted from: a link to it if its path would be taken apart.
    fn sandbox_source(&self) -> Result<PathBuf, DockerError> {
        let sandbox = &self.launch.directory;
        if !sandbox.as_os_str().as_encoded_bytes().contains(&b':') {
            return Ok(sandbox.clone());
        }
        let links = self.launch.links.join("docker").join("links");
        let link = links.join(&self.launch.container.0);
        std::fs::create_dir_all(&links)
            .and_then(|()| symlink(sandbox, &link))
            .map_err(|source| DockerError::Link { path: link.display().to_string(), source })?;
        Ok(link)
    }

    /// Removes the container after a while, or when the agent reins.
    async fn remove(&self, reins: &Reins) {
        tokio::select! {
            () = reins.closing.cancelled() => {}
            () = tokio::time::sleep(self.launch.docker.remove_delay) => {}
        }
        if let Err(error) = self.docker.remove(&self.name).await {
            tracing::warn!(container = self.name, %error, "cannot remove a container");
        }
    }

    /// Reins the container as the agent does; it may not be there, or be over.
    async fn stop(&self) {
        let timeout = self.launch.docker.stop_timeout;
        if let Err(error) = self.docker.stop(&self.name, timeout, container::HANGING).await {
            tracing::debug!(container = self.name, %error, "`docker stop` failed");
        }
    }
}

/// With the tag that no tag means, so that one image is pulled and not all of its tags.
fn tagged(image: &str) -> String {
    match image.rsplit('/').next() {
        Some(name) if !name.contains(':') => format!("{image}:latest"),
        Some(_) | None => image.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_tag_is_the_latest() {
        for (image, expected) in [
            ("busybox", "busybox:latest"),
            ("a/b:1", "a/b:1"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("a@sha256:0123", "a@sha256:0123"),
        ] {
            assert_eq!(tagged(image), expected);
        }
    }
}
