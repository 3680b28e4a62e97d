//! An entrance for benchmarks to containers. No part of the interface.

use std::{
    collections::{BTreeMap, HashMap},
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
use tokio_util::sync::CancellationToken;

use super::{
    CALL_LIMIT, DockerRuntime, DockerSetup, WarmConfig, WarmRuntime, core::PLACES, engine::Engine,
};
use crate::{
    isolation::Isolation,
    output::OutputDefaults,
    runtime::{ProcessConfig, ProcessRuntime, Runtime, RuntimeEvent},
};

/// Runs that share a container at a time.
const SLOTS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Runs of which only one is there at a time.
const ALONE: usize = 200;

/// Short containers, with the host's network and without a log driver.
#[derive(Debug, Clone)]
pub struct ContainerBench {
    /// Of the engine.
    pub socket: PathBuf,
    /// The engine must have it.
    pub image: String,
    /// The program in it, and its arguments.
    pub command: Vec<String>,
    /// How many are started at a time; without it, as many as the executor does.
    pub starts: Option<usize>,
}

/// What the executor's runtime of containers showed.
#[derive(Debug, Clone)]
pub struct ContainerRate {
    /// From the first container's request to the last one's removal.
    pub elapsed: Duration,
    /// From each request to the end that was told.
    pub latencies: Vec<Duration>,
}

/// What runs in a container that they share took.
#[derive(Debug, Clone)]
pub struct WarmRate {
    /// As many subprocesses.
    pub processes: Duration,
    /// All runs, in a container that was up.
    pub warm: Duration,
    /// One at a time: from the request to the start that was told.
    pub starts: Vec<Duration>,
}

impl ContainerBench {
    /// How many containers are started at a time where no flag says so.
    pub const AT_A_TIME: usize = PLACES;

    /// How many containers are started at a time.
    pub fn at_a_time(&self) -> usize {
        self.starts.unwrap_or(PLACES)
    }

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
    /// an agent. `reexec` is what leads to the executor on this program's command line. As many are
    /// asked for as are started at a time, and `more` that wait; with the last removal it is over.
    ///
    /// # Errors
    /// A container did not end as it should.
    pub async fn runtime(
        &self,
        count: usize,
        more: usize,
        files: bool,
        reexec: Vec<OsString>,
        sandbox: &Path,
    ) -> anyhow::Result<ContainerRate> {
        let mut runtime = DockerRuntime::start(&self.setup(files, reexec, sandbox))?;
        // The first one waits for the image and for events to be heard.
        let mut bench = Bench::new(self.template(RuntimeKind::Docker));
        bench.ask(&mut runtime);
        bench.until(&mut runtime, 1, 1).await?;
        bench.latencies.clear();
        let begin = Instant::now();
        for _ in 0..(self.at_a_time() + more).min(count) {
            bench.ask(&mut runtime);
        }
        bench.until(&mut runtime, count, count + 1).await?;
        runtime.close().await;
        Ok(ContainerRate { elapsed: begin.elapsed(), latencies: bench.latencies })
    }

    /// Runs in a container that they share, and the same as subprocesses of the machine.
    ///
    /// # Errors
    /// A run did not end as it should.
    pub async fn warm(
        &self,
        count: usize,
        reexec: Vec<OsString>,
        sandbox: &Path,
    ) -> anyhow::Result<WarmRate> {
        let processes = ProcessConfig {
            program: "/proc/self/exe".into(),
            arguments: [&reexec[..], &["launcher".into()]].concat(),
            workers: None,
            sandbox: sandbox.join("processes"),
            inherited: BTreeMap::new(),
            output: OutputDefaults::default(),
            isolation: Isolation::None,
        };
        let runtime = ProcessRuntime::start(processes)?;
        let processes = steady(runtime, self.template(RuntimeKind::Process), count).await?;
        let runtime = WarmRuntime::start(&self.setup(true, reexec, sandbox))?;
        let warm = steady(runtime, self.template(RuntimeKind::Warm), count).await?;
        Ok(WarmRate { processes: processes.elapsed, warm: warm.elapsed, starts: warm.starts })
    }

    fn setup(&self, files: bool, reexec: Vec<OsString>, sandbox: &Path) -> DockerSetup {
        let target = if files { Target::File } else { Target::Null };
        let swept = CancellationToken::new();
        // There is nobody before it.
        swept.cancel();
        DockerSetup {
            socket: self.socket.clone(),
            call_limit: CALL_LIMIT,
            patience: CALL_LIMIT,
            starts: self.starts,
            allow_privileged: false,
            cfs: false,
            config: None,
            warm: WarmConfig { slots: SLOTS, idle: CALL_LIMIT, workers: None },
            framework: "bench".to_owned(),
            executor: "bench".to_owned(),
            agent: String::new(),
            sandbox: sandbox.to_owned(),
            host_sandbox: None,
            inherited: BTreeMap::new(),
            output: OutputDefaults { stdout: target, stderr: target, ..OutputDefaults::default() },
            reexec,
            swept,
        }
    }

    fn template(&self, runtime: RuntimeKind) -> Template {
        let mut words = self.command.iter().cloned();
        let value = words.next();
        // In a container the arguments follow the program, whose name is not among them.
        let arguments = match runtime {
            RuntimeKind::Process => self.command.clone(),
            RuntimeKind::Docker | RuntimeKind::Warm => words.collect(),
        };
        let command =
            CommandInfo { shell: Some(false), value, arguments, ..CommandInfo::default() };
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
            runtime,
            many: true,
            container: (runtime != RuntimeKind::Process).then(|| container.into()),
            ..Template::process(command)
        }
    }
}

/// What many runs, and then single ones, took.
struct Steady {
    elapsed: Duration,
    starts: Vec<Duration>,
}

/// Runs `count`, as many at a time as there are slots; then some one at a time. The first one, for
/// which all is made ready, does not count.
async fn steady(
    mut runtime: impl Runtime,
    template: Template,
    count: usize,
) -> anyhow::Result<Steady> {
    let mut bench = Bench::new(template);
    bench.ask(&mut runtime);
    bench.until(&mut runtime, 1, 1).await?;
    bench.latencies.clear();
    let begin = Instant::now();
    for _ in 0..SLOTS.get().min(count) {
        bench.ask(&mut runtime);
    }
    bench.until(&mut runtime, count, count + 1).await?;
    let elapsed = begin.elapsed();
    bench.starts.clear();
    for alone in 1..=ALONE {
        bench.ask(&mut runtime);
        bench.until(&mut runtime, count + alone, 0).await?;
    }
    runtime.close().await;
    Ok(Steady { elapsed, starts: bench.starts })
}

struct Bench {
    template: Arc<Template>,
    asked: HashMap<RunId, Instant>,
    latencies: Vec<Duration>,
    /// From each request to the start that was told.
    starts: Vec<Duration>,
    next: u64,
}

impl Bench {
    fn new(template: Template) -> Self {
        let (asked, latencies, starts) = (HashMap::new(), Vec::new(), Vec::new());
        Self { template: Arc::new(template), asked, latencies, starts, next: 0 }
    }

    fn ask(&mut self, runtime: &mut impl Runtime) {
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
    }

    /// Until `count` have ended; asks for another one for each, up to `total`.
    async fn until(
        &mut self,
        runtime: &mut impl Runtime,
        count: usize,
        total: usize,
    ) -> anyhow::Result<()> {
        while self.latencies.len() < count {
            runtime.flush();
            let RuntimeEvent::Runs(events) = runtime.next().await else {
                bail!("the runtime told of something else");
            };
            for (run, event) in events {
                match event {
                    RunEvent::Waiting { .. } => {}
                    RunEvent::Started { .. } => {
                        self.starts.extend(self.asked.get(&run).map(Instant::elapsed));
                    }
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
