//! Runs commands in containers of their own, through a Docker engine.
//!
//! Owns the calls that are on their way to the engine, the listener for its
//! events, and what a run's container is made of. Refuses to decide what a
//! container needs next: that is `core`, which this drives. It is made with the
//! first task that needs it, and costs nothing before.
//!
//! ```text
//!   dispatcher ── spawn, signal ──▶ core ── acts ──▶ calls ──▶ engine
//!        ▲                           ▲                 │         │
//!        └──────── told ─────────────┤◀─── answers ────┘         │
//!                                    └◀──── events, lists ───────┘ one connection for all
//! ```

pub(crate) mod bench;
mod calls;
mod core;
mod credentials;
mod engine;
mod init;
mod listen;
mod outputs;
mod ownership;
mod plan;
mod probe;
mod program;
mod sweep;
mod tell;
mod vigil;
mod warm;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ffi::OsString,
    future, io, mem,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use marmoset_executor_core::{
    Answer, Probe, ProbeId, RunEvent, RunId, Signal, Spawn, Template, WallTime,
};
use marmoset_proto::mesos::v1::task_status::Reason;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    core::{Config, Core, Input, Launch, PLACES},
    engine::ImageDefaults,
    listen::listen,
    outputs::Outputs,
    ownership::{LifeLine, Owner, network_namespace},
    plan::{Plan, PlanError, Site},
    program::Program,
    vigil::Vigil,
};
pub(crate) use self::{
    credentials::DockerConfig,
    engine::{Engine, SOCKET},
    sweep::of_predecessors,
    warm::{WarmConfig, WarmRuntime},
};
use super::{Runtime, RuntimeEvent};
use crate::{clock::now, output::OutputDefaults};

/// Longest time that a call to the engine may take where no flag says so.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// How long the removal of what is left is waited for at the end. Then the vigil goes on.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Containers that are removed at a time at the end.
const CLOSE_AT_A_TIME: usize = 4;

/// Between two tries to remove a container.
const REMOVAL_PAUSE_MIN: Duration = Duration::from_millis(500);
const REMOVAL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long the first container waits until those of dead executors are removed.
const SWEEP_PATIENCE: Duration = Duration::from_secs(30);

/// Answers and events that may wait for the dispatcher.
const INPUTS: usize = 256;

/// Plans that are kept ready.
const PREPARED: usize = 64;

/// What the docker runtime needs.
#[derive(Debug, Clone)]
pub(crate) struct DockerSetup {
    pub(crate) socket: PathBuf,
    pub(crate) call_limit: Duration,
    pub(crate) patience: Duration,
    /// How many containers are started at a time.
    pub(crate) starts: Option<usize>,
    pub(crate) allow_privileged: bool,
    /// Whether cpus are a limit even for tasks that set none.
    pub(crate) cfs: bool,
    pub(crate) config: Option<DockerConfig>,
    pub(crate) framework: String,
    pub(crate) executor: String,
    pub(crate) agent: String,
    pub(crate) sandbox: PathBuf,
    /// The sandbox's path on the agent's host, if that is another.
    pub(crate) host_sandbox: Option<PathBuf>,
    /// The environment that tasks inherit.
    pub(crate) inherited: BTreeMap<OsString, OsString>,
    pub(crate) output: OutputDefaults,
    /// What reaches the executor's own subcommands on our command line.
    pub(crate) reexec: Vec<OsString>,
    /// How containers are shared.
    pub(crate) warm: WarmConfig,
    /// Cancelled once the containers of dead executors are removed, or cannot be yet.
    pub(crate) swept: CancellationToken,
}

/// Containers.
pub(crate) struct DockerRuntime {
    core: Core,
    engine: Engine,
    site: Arc<Site>,
    plans: VecDeque<(Arc<Template>, Arc<Plan>)>,
    runs: HashMap<RunId, Run>,
    images: Arc<Mutex<HashMap<String, Arc<ImageDefaults>>>>,
    told: Vec<(RunId, RunEvent)>,
    inputs: mpsc::Receiver<Input>,
    sender: mpsc::Sender<Input>,
    probes: HashMap<ProbeId, AbortHandle>,
    answers: mpsc::Receiver<(ProbeId, Answer)>,
    answer: mpsc::Sender<(ProbeId, Answer)>,
    outputs: Outputs,
    list: Arc<Notify>,
    tasks: TaskTracker,
    closing: CancellationToken,
    vigil: Vigil,
    /// Held while this lives.
    _life_line: LifeLine,
}

/// Does what one of our hidden subcommands, or `sweep`, is for. `None`: it is none of them.
///
/// `arguments` are those that follow the name of the program.
pub(crate) fn subcommand(arguments: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = arguments.split_first()?;
    let rest = rest.iter().cloned();
    Some(match first.to_str()? {
        init::SUBCOMMAND => init::main(rest),
        probe::SUBCOMMAND => probe::main(rest),
        vigil::SUBCOMMAND => vigil::main(rest),
        sweep::SUBCOMMAND => sweep::main(rest),
        warm::SUBCOMMAND => warm::main(rest),
        _ => return None,
    })
}

/// A run that is not over.
#[derive(Debug, Clone)]
struct Run {
    spawn: Arc<Spawn>,
    plan: Arc<Plan>,
    name: String,
}

impl DockerSetup {
    /// A new life of an executor.
    fn owner(&self) -> io::Result<Owner> {
        Ok(Owner {
            framework: self.framework.clone(),
            executor: self.executor.clone(),
            agent: self.agent.clone(),
            run: uuid::Uuid::new_v4().simple().to_string(),
            netns: network_namespace()?,
        })
    }
}

/// What every runtime of containers stands on.
struct Ground {
    engine: Engine,
    site: Arc<Site>,
    vigil: Vigil,
    life_line: LifeLine,
}

impl Ground {
    /// Begins a life: with it, all containers that it will have can be told from others.
    ///
    /// `copies` is the folder in the sandbox for files of ours where the engine cannot see them.
    ///
    /// # Errors
    /// When the system does not let us prepare: the text names what failed.
    fn prepare(setup: &DockerSetup, copies: &str) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let owner = setup.owner().context("cannot find out the network namespace")?;
        let life_line = LifeLine::hold(&owner.run).context("cannot hold the life line")?;
        let elsewhere = setup.host_sandbox.as_ref().filter(|host| **host != setup.sandbox);
        let copies = elsewhere.map(|host| (setup.sandbox.join(copies), host.join(copies)));
        let copies = copies.as_ref().map(|(own, host)| (own.as_path(), host.as_path()));
        let program = Program::find(&setup.reexec, copies)
            .context("cannot find this program's own files, which containers need")?;
        let inherited = setup.inherited.iter();
        let inherited =
            inherited.filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
        let vigil = Vigil::start(&setup.reexec, &setup.socket, &owner.own_label())
            .context("cannot start the process that removes containers after this one died")?;
        let engine = Engine::new(setup.socket.clone(), setup.call_limit);
        let site = Arc::new(Site {
            sandbox: setup.sandbox.clone(),
            host: elsewhere.unwrap_or(&setup.sandbox).clone(),
            program,
            output: setup.output,
            allow_privileged: setup.allow_privileged,
            cfs: setup.cfs,
            config: setup.config.clone(),
            inherited: plan::inherited(inherited),
            owner,
        });
        Ok(Self { engine, site, vigil, life_line })
    }
}

impl DockerRuntime {
    /// Starts to listen to the engine, which need not be there yet.
    ///
    /// # Errors
    /// When the system does not let us prepare: the text names what failed.
    pub(crate) fn start(setup: &DockerSetup) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let Ground { engine, site, vigil, life_line } = Ground::prepare(setup, ".marmoset")?;
        let (sender, inputs) = mpsc::channel(INPUTS);
        let (answer, answers) = mpsc::channel(INPUTS);
        let config = Config { places: setup.starts.unwrap_or(PLACES), patience: setup.patience };
        let runtime = Self {
            core: Core::new(config, now()),
            engine,
            site,
            plans: VecDeque::new(),
            runs: HashMap::new(),
            images: Arc::default(),
            told: Vec::new(),
            inputs,
            sender,
            probes: HashMap::new(),
            answers,
            answer,
            outputs: Outputs::start().context("cannot start a thread")?,
            list: Arc::new(Notify::new()),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            vigil,
            _life_line: life_line,
        };
        runtime.listen(setup.swept.clone());
        tracing::info!(
            engine = %runtime.engine.socket().display(),
            run = %runtime.site.owner.run,
            "containers are started when tasks need them"
        );
        Ok(runtime)
    }

    /// Whether a run is one of these.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// Whether a probe is under way here.
    pub(crate) fn probes(&self, probe: ProbeId) -> bool {
        self.probes.contains_key(&probe)
    }

    fn listen(&self, swept: CancellationToken) {
        let engine = self.engine.clone();
        let label = self.site.owner.own_label();
        let (list, sender) = (self.list.clone(), self.sender.clone());
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            let listening = async {
                // They have ports, perhaps, that the first of ours wants.
                let _ = timeout(SWEEP_PATIENCE, swept.cancelled()).await;
                listen(engine, label, list, sender).await;
            };
            closing.run_until_cancelled(listening).await;
        });
    }

    fn plan(&mut self, template: &Arc<Template>) -> Result<Arc<Plan>, PlanError> {
        let known = self.plans.iter().find(|(known, _)| Arc::ptr_eq(known, template));
        if let Some((_, plan)) = known {
            return Ok(plan.clone());
        }
        let plan = Arc::new(Plan::of(template, &self.site)?);
        self.plans.truncate(PREPARED - 1);
        self.plans.push_front((template.clone(), plan.clone()));
        Ok(plan)
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(now(), input);
        self.act();
    }
}

impl Runtime for DockerRuntime {
    fn spawn(&mut self, spawn: Spawn) {
        let run = spawn.run;
        let plan = match self.plan(&spawn.template) {
            Ok(plan) => plan,
            Err(error) => {
                let message = format!("Failed to run docker container: {error}");
                let at = WallTime::from(SystemTime::now());
                let reason = Some(Reason::TaskInvalid);
                self.told.push((run, RunEvent::Refused { message, reason, at }));
                return;
            }
        };
        let name = self.site.owner.name(run);
        let launch = Launch {
            run,
            name: name.clone(),
            image: plan.image.clone(),
            pull: plan.pull,
            describe: !spawn.template.many,
            limited: plan.memory.is_some(),
            group: spawn.template.many.then(|| Arc::as_ptr(&spawn.template).addr()),
        };
        self.runs.insert(run, Run { spawn: Arc::new(spawn), plan, name });
        self.handle(Input::Launch(launch));
    }

    fn cancel(&mut self, run: RunId) {
        self.handle(Input::Cancel(run));
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        self.handle(Input::Signal(run, signal));
    }

    fn probe(&mut self, probe: Probe) {
        self.start_probe(probe);
    }

    fn abandon(&mut self, probe: ProbeId) {
        if let Some(handle) = self.probes.remove(&probe) {
            handle.abort();
        }
    }

    fn flush(&mut self) {
        self.act();
    }

    async fn next(&mut self) -> RuntimeEvent {
        loop {
            if !self.told.is_empty() {
                // Many refusals must not keep the agent waiting.
                tokio::task::yield_now().await;
                return RuntimeEvent::Runs(mem::take(&mut self.told));
            }
            let wake = self.core.poll_wake();
            let input = tokio::select! {
                input = self.inputs.recv() => input.expect("a sender is kept here"),
                answer = self.answers.recv() => {
                    let (probe, answer) = answer.expect("a sender is kept here");
                    if self.probes.remove(&probe).is_some() {
                        return RuntimeEvent::Probes(vec![(probe, answer)]);
                    }
                    continue;
                }
                ending = self.outputs.next() => {
                    self.tell_ending(ending);
                    continue;
                }
                () = until(wake) => Input::Wake,
            };
            self.handle(input);
        }
    }

    async fn close(self) {
        let Self { core, engine, closing, tasks, mut inputs, vigil, .. } = self;
        inputs.close();
        closing.cancel();
        tasks.close();
        let sure = !core.is_creating();
        let leftovers = core.into_leftovers();
        if leftovers.is_empty() {
            return vigil.dismiss();
        }
        // What does not go in this time is left to the vigil.
        let _ = timeout(CLOSE_LIMIT, remove_all(&engine, leftovers)).await;
        vigil.end(sure);
    }
}

async fn remove_all(engine: &Engine, names: Vec<String>) {
    stream::iter(names)
        .for_each_concurrent(CLOSE_AT_A_TIME, async |name| {
            if let Err(error) = engine.remove(&name).await {
                tracing::warn!(container = name, %error, "a container could not be removed");
            }
        })
        .await;
}

/// Removes a container, however often it takes. Who is not waited for leaves it to the vigil.
async fn remove_for_good(engine: &Engine, name: &str) {
    let mut pause = REMOVAL_PAUSE_MIN;
    while let Err(error) = engine.remove(name).await {
        tracing::warn!(container = name, %error, "a container could not be removed yet");
        sleep(pause).await;
        pause = (pause * 2).min(REMOVAL_PAUSE_MAX);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => future::pending().await,
    }
}
