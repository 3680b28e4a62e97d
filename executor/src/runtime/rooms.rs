//! All runtimes of an executor, as one.
//!
//! Owns which runtime a run belongs to, and the files that a run waits for
//! before any runtime gets it. A runtime of containers is made with the first
//! run that needs it, and so is the one for containers that tasks share: subprocesses pay nothing
//! for them.
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
    docker::{DockerRuntime, DockerSetup, WarmRuntime},
    files::{Fetched, Files},
    process::ProcessRuntime,
};
use crate::fetch::{Fetcher, Owner};

/// Subprocesses and containers.
pub(crate) struct Rooms {
    processes: ProcessRuntime,
    docker: Option<Box<DockerRuntime>>,
    warm: Option<Box<WarmRuntime>>,
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
        Self { processes, docker: None, warm: None, docker_setup, files, refused: Vec::new() }
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
            RuntimeKind::Warm => {
                let run = spawn.run;
                match self.warm() {
                    Ok(warm) => warm.spawn(spawn),
                    Err(error) => {
                        let message = format!("Failed to run warm container: {error:#}");
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
            RuntimeKind::Docker | RuntimeKind::Warm => {
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

    fn warm(&mut self) -> anyhow::Result<&mut WarmRuntime> {
        let warm = match self.warm.take() {
            Some(warm) => warm,
            None => Box::new(WarmRuntime::start(&self.docker_setup)?),
        };
        Ok(self.warm.insert(warm))
    }

    /// The runtime of containers that has this run, if one has it.
    fn warm_with(&mut self, run: RunId) -> Option<&mut WarmRuntime> {
        self.warm.as_deref_mut().filter(|warm| warm.has(run))
    }
}

impl Runtime for Rooms {
    fn spawn(&mut self, spawn: Spawn) {
        if spawn.template.command.uris.is_empty() {
            return self.start(spawn);
        }
        if spawn.template.runtime == RuntimeKind::Warm
            && let Ok(warm) = self.warm()
        {
            warm.foresee(&spawn.template);
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
        if let Some(warm) = self.warm_with(run) {
            return warm.cancel(run);
        }
        match &mut self.docker {
            Some(docker) if docker.has(run) => docker.cancel(run),
            Some(_) | None => self.processes.cancel(run),
        }
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        if let Some(warm) = self.warm_with(run) {
            return warm.signal(run, signal);
        }
        match &mut self.docker {
            Some(docker) if docker.has(run) => docker.signal(run, signal),
            Some(_) | None => self.processes.signal(run, signal),
        }
    }

    fn probe(&mut self, probe: Probe) {
        if let Some(warm) = self.warm_with(probe.spawn.run) {
            return warm.probe(probe);
        }
        match &mut self.docker {
            Some(docker) if docker.has(probe.spawn.run) => docker.probe(probe),
            Some(_) | None => self.processes.probe(probe),
        }
    }

    fn abandon(&mut self, probe: ProbeId) {
        if let Some(warm) = self.warm.as_deref_mut().filter(|warm| warm.probes(probe)) {
            return warm.abandon(probe);
        }
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
        if let Some(warm) = &mut self.warm {
            warm.flush();
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
            event = next_of(self.docker.as_deref_mut()) => return event,
            event = next_of(self.warm.as_deref_mut()) => return event,
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
        let warm = async {
            if let Some(warm) = self.warm {
                warm.close().await;
            }
        };
        tokio::join!(docker, warm, self.files.close(), self.processes.close());
    }
}

async fn next_of(runtime: Option<&mut impl Runtime>) -> RuntimeEvent {
    match runtime {
        Some(runtime) => runtime.next().await,
        None => std::future::pending().await,
    }
}
