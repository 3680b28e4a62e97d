//! A custom executor's container while it runs.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{DockerError, KILLED, Outcome, Place, TERMINATED, cgroups};
use crate::{
    agent::{
        core::Input,
        launch::{Reins, pidfd, process},
    },
    docker::{Inspected, MAPPED_DIRECTORY, Run},
    processes::{Identity, in_own_session, signal_tree},
};

/// Between two looks at a container that has not started yet.
const INSPECT_DELAY: Duration = Duration::from_secs(1);
/// How much longer than its timeout `docker stop` may take before SIGKILL is sent without it.
pub(super) const HANGING: Duration = Duration::from_secs(1);
/// How long a container that is to be destroyed may take to appear, or to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the client may take for the last output after the container's end.
const FLUSHING: Duration = Duration::from_secs(5);

/// What was seen first.
enum Seen {
    Abandoned,
    Destroyed,
    Ended(i32),
    Inspected(Inspected),
}

impl Place {
    /// Starts the container and stays with it to its end.
    pub(super) async fn contain(
        &self,
        identity: Option<&Identity>,
        reins: &Reins,
        facts: &mpsc::UnboundedSender<Input>,
    ) -> Outcome {
        let client = match self.start(identity) {
            Ok(client) => client,
            Err(error) => return Outcome::Failed(error),
        };
        let mut client = client;
        let mut ended = None;
        let pid = loop {
            let seen = tokio::select! {
                biased;
                () = reins.abandon.cancelled() => Seen::Abandoned,
                () = reins.destroy.cancelled() => Seen::Destroyed,
                inspected = self.started() => Seen::Inspected(inspected),
                status = wait(&mut client), if ended.is_none() => Seen::Ended(status),
            };
            match seen {
                Seen::Abandoned => return Outcome::Abandoned,
                Seen::Destroyed => {
                    self.destroy_early(client).await;
                    return Outcome::Ended(KILLED);
                }
                Seen::Ended(0) => ended = Some(0),
                Seen::Ended(status) => return Outcome::Failed(told(status)),
                Seen::Inspected(Inspected { pid: Some(pid), .. }) => break pid,
                Seen::Inspected(Inspected { pid: None, .. }) => {
                    let status = match ended {
                        Some(status) => status,
                        None => wait(&mut client).await,
                    };
                    return Outcome::Failed(match status {
                        0 => DockerError::NoPid,
                        status => told(status),
                    });
                }
            }
        };
        let outcome = self.watch(pid, reins, facts).await;
        match outcome {
            Outcome::Abandoned => {}
            // It copies what the container printed.
            Outcome::Ended(_) | Outcome::Failed(_) => {
                if timeout(FLUSHING, wait(&mut client)).await.is_err() {
                    // What hangs at the engine is not of use any more.
                    let _ended = client.start_kill();
                }
            }
        }
        outcome
    }

    fn start(&self, identity: Option<&Identity>) -> Result<Child, DockerError> {
        let launch = &self.launch;
        let source = self.sandbox_source()?;
        let container = launch.container_info.clone().unwrap_or_default();
        let run = Run {
            name: &self.name,
            container: &container,
            command: &launch.command,
            sandbox: &launch.directory,
            sandbox_source: &source,
            mapped: MAPPED_DIRECTORY,
            resources: &launch.resources,
            limits: launch.limits,
            environment: &launch.environment,
        };
        let mut command = self.docker.command(&run.arguments()?);
        command
            .stdout(process::output(&launch.directory, "stdout", identity)?)
            .stderr(process::output(&launch.directory, "stderr", identity)?);
        in_own_session(&mut command, None);
        Command::from(command).spawn().map_err(|source| DockerError::Start {
            program: self.docker.program().display().to_string(),
            source,
        })
    }

    /// Waits until the engine says that the container runs, or ran.
    async fn started(&self) -> Inspected {
        loop {
            match self.docker.inspect(&self.name).await {
                Ok(inspected) if inspected.started => return inspected,
                Ok(_) => {}
                Err(error) => tracing::debug!(container = self.name, %error, "not there yet"),
            }
            sleep(INSPECT_DELAY).await;
        }
    }

    async fn watch(
        &self,
        pid: u32,
        reins: &Reins,
        facts: &mpsc::UnboundedSender<Input>,
    ) -> Outcome {
        let Ok(pidfd) = pidfd::watch(pid) else {
            // There is no such process any more.
            return Outcome::Ended(TERMINATED);
        };
        let mut size = reins.size.subscribe();
        // What was said before this one listened.
        size.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = reins.abandon.cancelled() => return Outcome::Abandoned,
                () = reins.destroy.cancelled() => break,
                ended = pidfd.readable() => match ended {
                    Ok(_) => return Outcome::Ended(TERMINATED),
                    Err(error) => {
                        tracing::warn!(%error, pid, "lost sight of an executor, killing it");
                        break;
                    }
                },
                Ok(()) = size.changed() => {
                    let amounts = size.borrow_and_update().clone();
                    if let Err(error) = cgroups::resize(pid, &amounts) {
                        let container = self.launch.container.clone();
                        let message = error.to_string();
                        let _stopped = facts.send(Input::ResizeFailed { container, message });
                    }
                }
            }
        }
        signal(pid, Signal::SIGTERM).await;
        self.stop().await;
        if timeout(HANGING, pidfd.readable()).await.is_err() {
            tracing::warn!(container = self.name, "`docker stop` did not end it, killing it");
            signal(pid, Signal::SIGKILL).await;
            // If not even that helps, the kernel has it; nobody else can do anything.
            let _gone = timeout(PATIENCE, pidfd.readable()).await;
        }
        Outcome::Ended(KILLED)
    }

    /// Destroys what may not be there yet: it is waited for, so that nothing starts afterwards.
    async fn destroy_early(&self, mut client: Child) {
        let there = async {
            tokio::select! {
                _inspected = self.started() => {}
                _status = wait(&mut client) => {}
            }
        };
        let _hangs = timeout(PATIENCE, there).await;
        self.stop().await;
        if timeout(FLUSHING, wait(&mut client)).await.is_err() {
            let _ended = client.start_kill();
        }
    }
}

/// Sends a signal to the container's processes, looking for them beside the reactor.
async fn signal(pid: u32, signal: Signal) {
    let _sent = tokio::task::spawn_blocking(move || signal_tree(pid, signal)).await;
}

async fn wait(client: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    client.wait().await.map_or(super::UNKNOWN, |status| status.into_raw())
}

fn told(status: i32) -> DockerError {
    let words = marmoset_proto::status::describe(status);
    DockerError::Ended(words.trim_start_matches("Command ").to_owned())
}
