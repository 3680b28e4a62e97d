//! An entrance for benchmarks to containers. No part of the interface.

use std::{
    collections::HashMap,
    ffi::OsString,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use futures_util::{TryStreamExt as _, stream};
use marmoset_executor_core::{RunEvent, RunId, RuntimeKind, Spawn, Template};
use marmoset_proto::{
    marmoset::v1::output::Target,
    mesos::v1::{CommandInfo, ContainerInfo, container_info},
};

use super::{CALL_LIMIT, DockerRuntime, DockerSetup, WarmConfig, core::PLACES, engine::Engine};
use crate::{
    output::OutputDefaults,
    runtime::{Runtime as _, RuntimeEvent},
};

/// Short containers, with the host's network and without a log driver.
#[derive(Debug, Clone)]
pub struct ContainerBench {
    /// Of the engine.
    pub socket: PathBuf,
    /// The engine must have it.
    pub image: String,
    /// The program in it, and its arguments.
    pub command: Vec<String>,
}

/// What the executor's runtime of containers showed.
#[derive(Debug, Clone)]
pub struct ContainerRate {
    /// From the first container's request to the last one's end.
    pub elapsed: Duration,
    /// From each request to the end that was told.
    pub latencies: Vec<Duration>,
}

impl ContainerBench {
    /// How many containers are started at a time where no flag says so.
    pub const AT_A_TIME: usize = PLACES;

    /// Only the engine's calls (create, start, wait, remove), `at_a_time` at a time.
    ///
    /// # Errors
    /// The engine's words.
    pub async fn bare(&self, at_a_time: usize, count: usize) -> anyhow::Result<Duration> {
        let engine = Engine::new(self.socket.clone(), CALL_LIMIT);
        let (host, log) = (HostConfig::default(), HostConfigLogConfig::default());
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            cmd: Some(self.command.clone()),
            host_config: Some(HostConfig {
                network_mode: Some("host".to_owned()),
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), ..log }),
                ..host
            }),
            labels: Some(HashMap::from([("marmoset-bench".to_owned(), String::new())])),
            ..ContainerCreateBody::default()
        };
        let run = uuid::Uuid::new_v4().simple().to_string();
        // The first call connects, which is no part of the measurement.
        engine.list("marmoset-bench").await?;
        let begin = Instant::now();
        stream::iter((0..count).map(Ok))
            .try_for_each_concurrent(at_a_time, async |number| {
                let name = format!("marmoset-bench-{run}-{number}");
                engine.create(&name, body.clone()).await?;
                engine.start(&name).await?;
                engine.wait(&name).await?;
                engine.remove(&name).await
            })
            .await?;
        Ok(begin.elapsed())
    }

    /// The same through the executor's runtime, which is all of the executor but its connection to
    /// an agent. `reexec` is what leads to the executor on this program's command line.
    ///
    /// # Errors
    /// A container did not end as it should.
    pub async fn runtime(
        &self,
        count: usize,
        files: bool,
        reexec: Vec<OsString>,
        sandbox: &Path,
    ) -> anyhow::Result<ContainerRate> {
        let target = if files { Target::File } else { Target::Null };
        let setup = DockerSetup {
            socket: self.socket.clone(),
            call_limit: CALL_LIMIT,
            patience: CALL_LIMIT,
            starts: None,
            allow_privileged: false,
            cfs: false,
            config: None,
            warm: WarmConfig { slots: NonZeroUsize::MIN, idle: CALL_LIMIT, workers: None },
            framework: "bench".to_owned(),
            executor: "bench".to_owned(),
            agent: String::new(),
            sandbox: sandbox.to_owned(),
            host_sandbox: None,
            inherited: std::collections::BTreeMap::new(),
            output: OutputDefaults { stdout: target, stderr: target, ..OutputDefaults::default() },
            reexec,
        };
        let mut runtime = DockerRuntime::start(&setup)?;
        let template = Arc::new(self.template());
        // The first one waits for the image and for events to be heard.
        let mut bench = Bench { template, asked: HashMap::new(), latencies: Vec::new(), next: 0 };
        bench.ask(&mut runtime);
        bench.until(&mut runtime, 1, 1).await?;
        bench.latencies.clear();
        let begin = Instant::now();
        for _ in 0..PLACES.min(count) {
            bench.ask(&mut runtime);
        }
        bench.until(&mut runtime, count, count + 1).await?;
        let elapsed = begin.elapsed();
        runtime.close().await;
        Ok(ContainerRate { elapsed, latencies: bench.latencies })
    }

    fn template(&self) -> Template {
        let mut words = self.command.iter().cloned();
        let command = CommandInfo {
            shell: Some(false),
            value: words.next(),
            arguments: words.collect(),
            ..CommandInfo::default()
        };
        let docker = container_info::DockerInfo {
            image: self.image.clone(),
            ..container_info::DockerInfo::default()
        };
        let container = ContainerInfo {
            r#type: container_info::Type::Docker.into(),
            docker: Some(docker),
            ..ContainerInfo::default()
        };
        Template {
            runtime: RuntimeKind::Docker,
            many: true,
            container: Some(container.into()),
            ..Template::process(command)
        }
    }
}

struct Bench {
    template: Arc<Template>,
    asked: HashMap<RunId, Instant>,
    latencies: Vec<Duration>,
    next: u64,
}

impl Bench {
    fn ask(&mut self, runtime: &mut DockerRuntime) {
        self.next += 1;
        let run = RunId(self.next);
        self.asked.insert(run, Instant::now());
        runtime.spawn(Spawn {
            run,
            template: self.template.clone(),
            item: None,
            task: format!("bench.{run}"),
            ports: Vec::new(),
            strand: None,
        });
        runtime.flush();
    }

    /// Until `count` have ended; asks for another one for each, up to `total`.
    async fn until(
        &mut self,
        runtime: &mut DockerRuntime,
        count: usize,
        total: usize,
    ) -> anyhow::Result<()> {
        while self.latencies.len() < count {
            let RuntimeEvent::Runs(events) = runtime.next().await else {
                bail!("the runtime told of something else");
            };
            for (run, event) in events {
                match event {
                    RunEvent::Waiting { .. } | RunEvent::Started { .. } => {}
                    RunEvent::Exited { wait_status: 0, .. } => {
                        let asked = self.asked.remove(&run).context("an end was told twice")?;
                        self.latencies.push(asked.elapsed());
                        if (self.next as usize) < total {
                            self.ask(runtime);
                        }
                    }
                    RunEvent::Exited { wait_status, .. } => bail!("ended with {wait_status}"),
                    RunEvent::Returned => bail!("a container was returned"),
                    RunEvent::Refused { message, .. } | RunEvent::Lost { message, .. } => {
                        bail!(message)
                    }
                }
            }
        }
        Ok(())
    }
}
