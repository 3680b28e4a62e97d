//! A task's container: started through `docker run`, told of, and stopped.
//!
//! Owns what the built-in executor does with an engine. It knows of no state:
//! it tells the core two facts, that the container runs and that it ended.
//! Probes over the network go to this host, so they find a container only on
//! the host's network. Mesos 1.11, `src/docker/executor.cpp`.

use std::{collections::BTreeMap, io, time::Duration};

use marmoset_proto::mesos::v1::{CommandInfo, TaskInfo};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    check::Probe,
    config::Place,
    core::{Input, Placed},
};
use crate::{
    docker::{Inspected, OptionsError, Run, limits},
    processes::in_own_session,
};

/// Between two looks at a container that has not started yet.
const INSPECT_DELAY: Duration = Duration::from_millis(500);
/// How long a container that ended at once is looked for.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than its grace period a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("Failed to create subprocess: {0}")]
    Start(io::Error),
}

impl Place {
    /// Starts the client that stays with the container; it prints what the container prints.
    pub(super) fn start(
        &self,
        task: &TaskInfo,
        variables: Vec<(String, String)>,
    ) -> Result<Child, PlaceError> {
        let command = task.command.clone().unwrap_or_default();
        let container = task.container.clone().unwrap_or_default();
        let own = command.environment.iter().flat_map(|environment| &environment.variables);
        let own = own.map(|v| (v.name.clone(), v.value.clone().unwrap_or_default()));
        let mut environment: BTreeMap<String, String> = own.collect();
        environment.extend(variables);
        environment.insert("MESOS_CONTAINER_NAME".to_owned(), self.name.clone());
        environment.insert("MESOS_SANDBOX".to_owned(), self.mapped.clone());
        let run = Run {
            name: &self.name,
            container: &container,
            command: &command,
            sandbox: &self.sandbox,
            sandbox_source: &self.sandbox,
            mapped: &self.mapped,
            resources: &task.resources,
            limits: limits(&[], std::slice::from_ref(task)),
            environment: &environment,
        };
        let mut client = self.docker.command(&run.arguments()?);
        in_own_session(&mut client, None);
        Command::from(client).spawn().map_err(PlaceError::Start)
    }

    /// Tells when the container runs, and when it ended.
    pub(super) async fn watch(self, mut client: Child, facts: mpsc::UnboundedSender<Input>) {
        let ended = {
            let inspected = self.started();
            tokio::pin!(inspected);
            let ended = tokio::select! {
                biased;
                inspected = &mut inspected => {
                    let _over = facts.send(told(inspected));
                    None
                }
                status = wait(&mut client) => Some(status),
            };
            if ended.is_some()
                && let Ok(inspected) = timeout(INSPECT_TIMEOUT, inspected).await
            {
                let _over = facts.send(told(inspected));
            }
            ended
        };
        let status = match ended {
            Some(status) => status,
            None => wait(&mut client).await,
        };
        let _over = facts.send(Input::Exited(status));
    }

    /// SIGTERM, and SIGKILL after the grace period.
    pub(super) async fn stop(&self, grace: Duration) {
        if let Err(error) = self.docker.stop(&self.name, grace, PATIENCE).await {
            eprintln!("Failed to stop container '{}': {error}", self.name);
        }
    }

    /// The same probe from inside of the container.
    pub(super) fn inside(&self, probe: Probe) -> Probe {
        let Probe::Command(command) = probe else { return probe };
        let mut words = vec![
            self.docker.program().display().to_string(),
            "-H".to_owned(),
            format!("unix://{}", self.docker.socket().display()),
            "exec".to_owned(),
            self.name.clone(),
        ];
        if command.shell() {
            words.extend(["sh", "-c"].map(str::to_owned));
            words.extend(command.value);
        } else {
            words.extend(command.value);
            words.extend(command.arguments);
        }
        Probe::Command(CommandInfo {
            shell: Some(false),
            value: words.first().cloned(),
            arguments: words,
            ..CommandInfo::default()
        })
    }

    async fn started(&self) -> Inspected {
        loop {
            if let Ok(inspected) = self.docker.inspect(&self.name).await
                && inspected.started
            {
                return inspected;
            }
            sleep(INSPECT_DELAY).await;
        }
    }
}

fn told(inspected: Inspected) -> Input {
    let placed = Placed { data: inspected.output, ip: inspected.ip };
    Input::Spawned(Some(Box::new(placed)))
}

async fn wait(client: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    client.wait().await.map_or(-1, |status| status.into_raw())
}
