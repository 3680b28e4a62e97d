//! The Docker engine: its calls, with a time limit on each of them.
//!
//! Owns the connection to the engine's socket, the version spoken, and what a
//! failure means for its caller: whether the engine can have heard the call.
//! Refuses to decide what is called when. Used by the docker runtime, the sweep
//! and the supervisor.

mod events;
mod exec;
mod pull;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum,
        ContainerSummaryStateEnum,
    },
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, KillContainerOptions,
        ListContainersOptions, RemoveContainerOptions, StartContainerOptions, WaitContainerOptions,
    },
};
use futures_util::StreamExt as _;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{sleep, timeout},
};

pub(crate) use self::{
    events::{Event, Happening},
    pull::{Credentials, Progress},
};

/// Where an engine listens that nobody has moved.
pub(crate) const SOCKET: &str = "/var/run/docker.sock";

/// How often a container is created whose name an earlier call still has, and how long after
/// each other.
const CONFLICTS_MAX: usize = 30;
const CONFLICT_PAUSE: Duration = Duration::from_millis(500);

/// Commands that run in containers at a time, for all of their probes.
const EXECUTIONS_MAX: usize = 16;

/// A Docker engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: PathBuf,
    /// Longest time that any call may take.
    limit: Duration,
    client: OnceCell<Docker>,
    /// Places for commands that are started in containers.
    executions: Semaphore,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// The engine has not heard it.
    #[error("the Docker engine at `{socket}` cannot be reached: {reason}")]
    Unreachable {
        /// Path of its socket.
        socket: String,
        /// Why.
        reason: String,
    },
    /// The engine may have heard it.
    #[error("the Docker engine at `{socket}` did not answer `{call}`: {reason}")]
    Silent {
        /// Path of its socket.
        socket: String,
        /// What it was asked.
        call: &'static str,
        /// Why.
        reason: String,
    },
    /// The engine was not asked: what the task wants cannot be.
    #[error("{message}")]
    Invalid {
        /// The field, and what to do.
        message: String,
    },
    /// The engine said no.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
}

impl EngineError {
    /// Whether it is final: the engine is there and has answered, or was not needed to know.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Invalid { .. })
    }

    /// Whether what was asked about does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// What an image says about containers made of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ImageDefaults {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) user: String,
    pub(crate) working_dir: String,
    pub(crate) stop_signal: Option<String>,
}

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) state: Condition,
    pub(crate) labels: HashMap<String, String>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It was never started.
    Created,
    /// It runs, or is paused.
    Running,
    /// It has run.
    Ended,
}

/// What the engine knows about one container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inspection {
    pub(crate) state: Condition,
    pub(crate) exit_code: i64,
    pub(crate) oom_killed: bool,
    /// The engine's own words about a failure.
    pub(crate) error: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) addresses: Vec<String>,
    /// All of it, as JSON.
    pub(crate) json: String,
}

impl Engine {
    /// Describes the engine behind a socket; it is connected to when it is first called.
    pub(crate) fn new(socket: PathBuf, limit: Duration) -> Self {
        let executions = Semaphore::new(EXECUTIONS_MAX);
        Self(Arc::new(Inner { socket, limit, client: OnceCell::new(), executions }))
    }

    /// Path of its socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.0.socket
    }

    /// Whether the folder exists that an engine would put its socket into.
    pub(crate) fn can_come_back(&self) -> bool {
        self.socket().parent().is_none_or(Path::exists)
    }

    /// Creates a container. One of that name and those labels that is there already is the
    /// same one: an earlier call made it whose answer was lost.
    pub(crate) async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<(), EngineError> {
        let labels = body.labels.clone().unwrap_or_default();
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
        for _ in 0..CONFLICTS_MAX {
            let (options, body) = (Some(options.clone()), body.clone());
            let created =
                self.call("create", async |docker| docker.create_container(options, body).await);
            let conflict = match created.await {
                Ok(_) => return Ok(()),
                Err(conflict @ EngineError::Refused { status: 409, .. }) => conflict,
                Err(error) => return Err(error),
            };
            match self.inspect(name).await? {
                Some(there) if labels.iter().all(|(k, v)| there.labels.get(k) == Some(v)) => {
                    return Ok(());
                }
                Some(_) => return Err(conflict),
                // An earlier call is still at it: the name is taken, the container is not there.
                None => sleep(CONFLICT_PAUSE).await,
            }
        }
        Err(self.silent("create", "an earlier call has the name and does not end".to_owned()))
    }

    /// Starts a container that was created.
    pub(crate) async fn start(&self, name: &str) -> Result<(), EngineError> {
        let options = None::<StartContainerOptions>;
        self.call("start", async |docker| docker.start_container(name, options).await).await
    }

    /// Waits for the end of a container. It may take any time.
    pub(crate) async fn wait(&self, name: &str) -> Result<(), EngineError> {
        let docker = self.client().await?;
        let mut ended = docker.wait_container(name, None::<WaitContainerOptions>);
        match ended.next().await {
            // An exit code other than 0 comes as an error.
            Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) | None => Ok(()),
            Some(Err(error)) => Err(self.failure("wait", &error)),
        }
    }

    /// Tells all about a container; `None` if there is none of that name.
    pub(crate) async fn inspect(&self, name: &str) -> Result<Option<Inspection>, EngineError> {
        let options = None::<InspectContainerOptions>;
        let inspected = self
            .call("inspect", async |docker| docker.inspect_container(name, options).await)
            .await;
        match inspected {
            Ok(response) => Ok(Some(Inspection::of(response))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal, by name, to the first process of a container.
    pub(crate) async fn kill(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        self.call("kill", async |docker| docker.kill_container(name, Some(options)).await).await
    }

    /// Removes a container with its anonymous volumes, killing it if it runs.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        let removed = self
            .call("remove", async |docker| docker.remove_container(name, Some(options)).await)
            .await;
        match removed {
            Err(error) if error.is_not_found() => Ok(()),
            // An earlier call does it.
            Err(EngineError::Refused { status: 409, message })
                if message.contains("already in progress") =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Lists all containers, whatever they do, that have a label (`key` or `key=value`).
    pub(crate) async fn list(&self, label: &str) -> Result<Vec<Listed>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![label.to_owned()])])),
            ..Default::default()
        };
        let listed =
            self.call("list", async |docker| docker.list_containers(Some(options)).await).await?;
        Ok(listed
            .into_iter()
            .filter_map(|summary| {
                let name = summary.names?.into_iter().next()?;
                Some(Listed {
                    name: name.trim_start_matches('/').to_owned(),
                    state: summary.state.map_or(Condition::Ended, condition_of_summary),
                    labels: summary.labels.unwrap_or_default(),
                })
            })
            .collect())
    }

    /// Tells what an image says; `None` if the engine does not have it.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageDefaults>, EngineError> {
        let name = escaped(name);
        match self.call("inspect image", async |docker| docker.inspect_image(&name).await).await {
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                Ok(Some(ImageDefaults {
                    entrypoint: config.entrypoint.unwrap_or_default(),
                    command: config.cmd.unwrap_or_default(),
                    user: config.user.unwrap_or_default(),
                    working_dir: config.working_dir.unwrap_or_default(),
                    stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
                }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn call<T>(
        &self,
        call: &'static str,
        ask: impl AsyncFnOnce(&Docker) -> Result<T, Error>,
    ) -> Result<T, EngineError> {
        let docker = self.client().await?;
        match timeout(self.0.limit, ask(docker)).await {
            Ok(result) => result.map_err(|error| self.failure(call, &error)),
            Err(_) => Err(self.silent(call, format!("nothing came for {:?}", self.0.limit))),
        }
    }

    /// Connects once, and agrees on a version.
    async fn client(&self) -> Result<&Docker, EngineError> {
        let Inner { socket, limit, client, .. } = &*self.0;
        let connect = async {
            let path = socket.to_string_lossy();
            let docker =
                Docker::connect_with_unix(&path, limit.as_secs().max(1), API_DEFAULT_VERSION)
                    .map_err(|error| self.unreachable(error.to_string()))?;
            match timeout(*limit, docker.negotiate_version()).await {
                Ok(agreed) => agreed.map_err(|error| self.unreachable(chain(&error))),
                Err(_) => Err(self.unreachable(format!("nothing came for {limit:?}"))),
            }
        };
        client.get_or_try_init(|| connect).await
    }

    fn failure(&self, call: &'static str, error: &Error) -> EngineError {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                EngineError::Refused { status: *status_code, message: message.trim().to_owned() }
            }
            Error::DockerStreamError { error } => {
                EngineError::Refused { status: 500, message: error.trim().to_owned() }
            }
            Error::HyperLegacyError { err } if err.is_connect() => self.unreachable(chain(error)),
            other => self.silent(call, chain(other)),
        }
    }

    fn unreachable(&self, reason: String) -> EngineError {
        EngineError::Unreachable { socket: self.0.socket.display().to_string(), reason }
    }

    fn silent(&self, call: &'static str, reason: String) -> EngineError {
        EngineError::Silent { socket: self.0.socket.display().to_string(), call, reason }
    }
}

impl Inspection {
    fn of(response: ContainerInspectResponse) -> Self {
        let json = serde_json::to_string_pretty(&response).unwrap_or_default();
        let state = response.state.unwrap_or_default();
        let networks = response.network_settings.and_then(|settings| settings.networks);
        let addresses = networks
            .unwrap_or_default()
            .into_values()
            .flat_map(|network| [network.ip_address, network.global_ipv6_address])
            .flatten()
            .filter(|address| !address.is_empty())
            .collect();
        Self {
            state: state.status.map_or(Condition::Ended, condition),
            exit_code: state.exit_code.unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
            labels: response.config.and_then(|config| config.labels).unwrap_or_default(),
            addresses,
            json,
        }
    }
}

fn condition(state: ContainerStateStatusEnum) -> Condition {
    use ContainerStateStatusEnum as S;
    match state {
        S::CREATED => Condition::Created,
        S::RUNNING | S::PAUSED | S::RESTARTING | S::STOPPING => Condition::Running,
        S::REMOVING | S::EXITED | S::DEAD | S::EMPTY => Condition::Ended,
    }
}

fn condition_of_summary(state: ContainerSummaryStateEnum) -> Condition {
    use ContainerSummaryStateEnum as S;
    match state {
        S::CREATED => Condition::Created,
        S::RUNNING | S::PAUSED | S::RESTARTING | S::STOPPING => Condition::Running,
        S::REMOVING | S::EXITED | S::DEAD | S::EMPTY => Condition::Ended,
    }
}

/// Keeps a name inside the path of its request.
fn escaped(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/:@".contains(byte);
    name.bytes()
        .map(
            |byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

/// An error with all that led to it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_their_path() {
        assert_eq!(escaped("host:5000/a/b:1@sha256:ab"), "host:5000/a/b:1@sha256:ab");
        assert_eq!(escaped("a b?c#d"), "a%20b%3Fc%23d");
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_has_heard_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(folder.path().join("sock"), Duration::from_secs(5));
        let error = engine.inspect("x").await.unwrap_err();
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
        assert!(!error.is_answer());
    }
}
