//! All runtimes of an executor, as one.
//!
//! Owns which runtime a run belongs to, and the files that a run waits for
//! before any runtime gets it. A runtime of containers is made with the first
//! run that needs it: subprocesses pay nothing for it.
//!
//! ```text
//!   spawn ─┬─ no URIs ──────────▶ its runtime
//!          │                         ▲
//!          └─ files ── fetched ──────┘
//!               ├───── cancelled ──▶ Refused
//!               └───── failed ─────▶ Refused
//! ```

use std::{mem, path::PathBuf, time::SystemTime};

use marmoset_executor_core::{
    KILLED_BEFORE_START, Probe, ProbeId, RunEvent, RunId, RuntimeKind, Signal, Spawn, WallTime,
};
use marmoset_proto::mesos::v1::task_status::Reason;

use super::{
    Runtime, RuntimeEvent,
    docker::{DockerRuntime, DockerSetup},
    files::{Fetched, Files},
    process::ProcessRuntime,
};
use crate::fetch::{Fetcher, Owner};

/// Subprocesses and containers.
pub(crate) struct Rooms {
    processes: ProcessRuntime,
    docker: Option<Box<DockerRuntime>>,
    docker_setup: DockerSetup,
    files: Files,
    /// Runs that no runtime has got.
    refused: Vec<(RunId, RunEvent)>,
}

impl Rooms {
    pub(crate) fn new(
        processes: ProcessRuntime,
        docker_setup: DockerSetup,
        fetcher: Fetcher,
    ) -> Self {
        let files = Files::new(fetcher);
        Self { processes, docker: None, docker_setup, files, refused: Vec::new() }
    }

    /// Gives a run that has its files to its runtime.
    fn start(&mut self, spawn: Spawn) {
        match spawn.template.runtime {
            RuntimeKind::Process => self.processes.spawn(spawn),
            RuntimeKind::Docker => {
                let run = spawn.run;
                match self.docker() {
                    Ok(docker) => docker.spawn(spawn),
                    Err(error) => {
                        let message = format!("Failed to run docker container: {error:#}");
                        self.refuse(run, message, Some(Reason::ContainerLaunchFailed));
                    }
                }
            }
        }
    }

    /// Where the files of a run go, and whose they are unless ours.
    fn place(&mut self, spawn: &Spawn) -> Result<(PathBuf, Option<Owner>), String> {
        match spawn.template.runtime {
            RuntimeKind::Process => self.processes.place(spawn),
            // A name would be one of the image, which is not here yet: all may read the files.
            RuntimeKind::Docker => {
                let folder = self.docker_setup.sandbox.join("tasks").join(&spawn.task);
                let user = spawn.template.command.user.as_deref();
                Ok((folder, user.and_then(Owner::by_number)))
            }
        }
    }

    fn handle_fetched(&mut self, Fetched { spawn, result }: Fetched) {
        match result {
            Ok(()) => self.start(spawn),
            Err(error) => {
                let reason = Some(Reason::ContainerLaunchFailed);
                self.refuse(spawn.run, error.to_string(), reason);
            }
        }
    }

    fn refuse(&mut self, run: RunId, message: String, reason: Option<Reason>) {
        let at = WallTime::from(SystemTime::now());
        self.refused.push((run, RunEvent::Refused { message, reason, at }));
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
        if spawn.template.command.uris.is_empty() {
            return self.start(spawn);
        }
        match self.place(&spawn) {
            Ok((folder, owner)) => self.files.fetch(spawn, folder, owner),
            Err(message) => self.refuse(spawn.run, message, None),
        }
    }

    fn cancel(&mut self, run: RunId) {
        if self.files.cancel(run) {
            return self.refuse(run, KILLED_BEFORE_START.to_owned(), None);
        }
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
        self.files.sweep();
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
        let fetched = tokio::select! {
            biased;
            // Containers and files tell little: looked at first, they are never kept waiting.
            event = next_of(&mut self.docker) => return event,
            fetched = self.files.next() => fetched,
            event = self.processes.next() => return event,
        };
        self.handle_fetched(fetched);
        // What was handed on is flushed once this was handled.
        RuntimeEvent::Runs(mem::take(&mut self.refused))
    }

    async fn close(self) {
        let docker = async {
            if let Some(docker) = self.docker {
                docker.close().await;
            }
        };
        tokio::join!(docker, self.files.close(), self.processes.close());
    }
}

async fn next_of(docker: &mut Option<Box<DockerRuntime>>) -> RuntimeEvent {
    match docker {
        Some(docker) => docker.next().await,
        None => std::future::pending().await,
    }
}
