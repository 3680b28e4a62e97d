//! All runtimes of an executor, as one.
//!
//! Owns which runtime a run belongs to. A runtime of containers is made with
//! the first run that needs it: subprocesses pay nothing for it.

use std::{mem, time::SystemTime};

use marmoset_executor_core::{
    Probe, ProbeId, RunEvent, RunId, RuntimeKind, Signal, Spawn, WallTime,
};
use marmoset_proto::mesos::v1::task_status::Reason;

use super::{
    Runtime, RuntimeEvent,
    docker::{DockerRuntime, DockerSetup},
    process::ProcessRuntime,
};

/// Subprocesses and containers.
pub(crate) struct Rooms {
    processes: ProcessRuntime,
    docker: Option<Box<DockerRuntime>>,
    docker_setup: DockerSetup,
    /// Runs whose runtime could not be made.
    refused: Vec<(RunId, RunEvent)>,
}

impl Rooms {
    pub(crate) fn new(processes: ProcessRuntime, docker_setup: DockerSetup) -> Self {
        Self { processes, docker: None, docker_setup, refused: Vec::new() }
    }

    fn docker(&mut self) -> anyhow::Result<&mut DockerRuntime> {
        let docker = match self.docker.take() {
            Some(docker) => docker,
            None => Box::new(DockerRuntime::start(&self.docker_setup)?),
        };
        Ok(self.docker.insert(docker))
    }
}

impl Runtime for Rooms {
    fn spawn(&mut self, spawn: Spawn) {
        match spawn.template.runtime {
            RuntimeKind::Process => self.processes.spawn(spawn),
            RuntimeKind::Docker => {
                let run = spawn.run;
                match self.docker() {
                    Ok(docker) => docker.spawn(spawn),
                    Err(error) => {
                        let message = format!("Failed to run docker container: {error:#}");
                        let at = WallTime::from(SystemTime::now());
                        let reason = Some(Reason::ContainerLaunchFailed);
                        self.refused.push((run, RunEvent::Refused { message, reason, at }));
                    }
                }
            }
        }
    }

    fn cancel(&mut self, run: RunId) {
        match &mut self.docker {
            Some(docker) if docker.has(run) => docker.cancel(run),
            Some(_) | None => self.processes.cancel(run),
        }
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        match &mut self.docker {
            Some(docker) if docker.has(run) => docker.signal(run, signal),
            Some(_) | None => self.processes.signal(run, signal),
        }
    }

    fn probe(&mut self, probe: Probe) {
        match &mut self.docker {
            Some(docker) if docker.has(probe.spawn.run) => docker.probe(probe),
            Some(_) | None => self.processes.probe(probe),
        }
    }

    fn abandon(&mut self, probe: ProbeId) {
        match &mut self.docker {
            Some(docker) if docker.probes(probe) => docker.abandon(probe),
            Some(_) | None => self.processes.abandon(probe),
        }
    }

    fn flush(&mut self) {
        self.processes.flush();
        if let Some(docker) = &mut self.docker {
            docker.flush();
        }
    }

    async fn next(&mut self) -> RuntimeEvent {
        if !self.refused.is_empty() {
            tokio::task::yield_now().await;
            return RuntimeEvent::Runs(mem::take(&mut self.refused));
        }
        match &mut self.docker {
            None => self.processes.next().await,
            // Containers tell little: looked at first, they are never kept waiting.
            Some(docker) => tokio::select! {
                biased;
                event = docker.next() => event,
                event = self.processes.next() => event,
            },
        }
    }

    async fn close(self) {
        match self.docker {
            None => self.processes.close().await,
            Some(docker) => _ = tokio::join!(docker.close(), self.processes.close()),
        }
    }
}
