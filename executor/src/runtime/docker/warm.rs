//! Runs commands in containers that tasks share.
//!
//! Owns the containers of one executor that stay for the next task, and the way of each run into
//! one. Refuses to decide which one (that is `pool`), and what makes two tasks share one (that is
//! `kinds`). It is made with the first task that needs it, and costs nothing before.
//!
//! ```text
//!   dispatcher ── spawn ──▶ pool ── raise ──▶ engine: create, start ──▶ container
//!        ▲                    │                                            │ first process:
//!        │                    └── go ──▶ launcher ◀═════ links ═══════▶ guard, workers
//!        └──────────────────── reports ─────┘                              │ clone, exec
//!                                                                         runs
//! ```
//!
//! A run costs what it costs as a subprocess: the first process of the container is the guard of
//! our own launcher, and its workers have the links that those outside have. The engine hears of
//! containers and never of runs.

mod init;
mod kinds;
mod pool;
mod raise;
mod requests;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::CString,
    future::poll_fn,
    io, mem,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use marmoset_executor_core::{
    Answer, Attempt, Probe, ProbeId, RunEvent, RunId, Signal, Spawn, Template, WallTime,
};
use marmoset_proto::mesos::v1::task_status::Reason;
use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
    time::timeout,
};
use tokio_util::task::TaskTracker;

pub(super) use self::init::{NO_FILE, SUBCOMMAND, main};
use self::{
    kinds::Kinds,
    pool::{KindId, Placement, Pool, RoomId},
    raise::{Found, Order, Raised},
    requests::{Requests, Room},
};
use super::{
    CLOSE_LIMIT, DockerSetup, Ground, INPUTS, PLACES,
    engine::Engine,
    ownership::LifeLine,
    plan::{Plan, PlanError, Site},
    probe, remove_all, remove_for_good, until,
    vigil::Vigil,
};
use crate::{
    launcher::{LauncherEvent, Report, Step},
    runtime::{
        Runtime, RuntimeEvent,
        crew::{self, Crew, Failure, Told},
        process,
        template::MARK,
    },
};

/// How containers are shared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WarmConfig {
    /// Tasks in a container at a time.
    pub(crate) slots: NonZeroUsize,
    /// How long one stays that nobody is in.
    pub(crate) idle: Duration,
    /// Processes in each that start tasks.
    pub(crate) workers: Option<NonZeroUsize>,
}

/// Containers that tasks share.
pub(crate) struct WarmRuntime {
    config: WarmConfig,
    call_limit: Duration,
    patience: Duration,
    engine: Engine,
    site: Arc<Site>,
    pool: Pool,
    kinds: Kinds,
    homes: BTreeMap<RoomId, Home>,
    /// Runs whose container is not ready.
    waiting: HashMap<RunId, Spawn>,
    requests: Requests,
    told: Vec<(RunId, RunEvent)>,
    /// Answers of commands that probed a run.
    answered: Vec<(ProbeId, Answer)>,
    /// Commands that probe, and where.
    commands: HashMap<ProbeId, RoomId>,
    /// Other probes.
    probes: HashMap<ProbeId, AbortHandle>,
    answers: mpsc::Receiver<(ProbeId, Answer)>,
    answer: mpsc::Sender<(ProbeId, Answer)>,
    inputs: mpsc::Receiver<Input>,
    sender: mpsc::Sender<Input>,
    /// Containers that are being started.
    starts: Arc<Semaphore>,
    /// The engine was asked for a container.
    asked: Arc<AtomicBool>,
    tasks: TaskTracker,
    vigil: Vigil,
    /// Held while this lives.
    _life_line: LifeLine,
}

/// A container, from the wish for it on.
#[derive(Debug)]
struct Home {
    name: String,
    kind: KindId,
    plan: Arc<Plan>,
    life: Life,
}

#[derive(Debug)]
enum Life {
    Raising(AbortHandle),
    Ready(Box<Ready>),
    Dying,
}

/// What a container has that is ready.
#[derive(Debug)]
struct Ready {
    crew: Crew,
    found: Found,
}

/// What happened to a container.
enum Input {
    Waits(RoomId, String),
    Raised(RoomId, Box<Result<Raised, String>>),
    /// It is known what became of it.
    Buried(RoomId, String),
}

impl WarmRuntime {
    /// Prepares for containers; the engine need not be there yet.
    ///
    /// # Errors
    /// When the system does not let us prepare: the text names what failed.
    pub(crate) fn start(setup: &DockerSetup) -> anyhow::Result<Self> {
        let Ground { engine, site, vigil, life_line } = Ground::prepare(setup, ".marmoset-warm")?;
        let (sender, inputs) = mpsc::channel(INPUTS);
        let (answer, answers) = mpsc::channel(INPUTS);
        tracing::info!(
            engine = %engine.socket().display(),
            run = %site.owner.run,
            "containers are shared by tasks that ask for it"
        );
        Ok(Self {
            config: setup.warm,
            call_limit: setup.call_limit,
            patience: setup.patience,
            engine,
            site,
            pool: Pool::new(setup.warm.slots.get(), setup.warm.idle),
            kinds: Kinds::new(setup.warm.slots.get() as u64),
            homes: BTreeMap::new(),
            waiting: HashMap::new(),
            requests: Requests::new(),
            told: Vec::new(),
            answered: Vec::new(),
            commands: HashMap::new(),
            probes: HashMap::new(),
            answers,
            answer,
            inputs,
            sender,
            starts: Arc::new(Semaphore::new(setup.starts.unwrap_or(PLACES))),
            asked: Arc::default(),
            tasks: TaskTracker::new(),
            vigil,
            _life_line: life_line,
        })
    }

    /// Whether a run is one of these.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.pool.room(run).is_some()
    }

    /// Whether a probe is under way here.
    pub(crate) fn probes(&self, probe: ProbeId) -> bool {
        self.probes.contains_key(&probe) || self.commands.contains_key(&probe)
    }

    /// A run of this template is about to come: its container need not wait for it.
    pub(crate) fn foresee(&mut self, template: &Arc<Template>) {
        // Whoever comes then is told what is wrong.
        if let Ok(kind) = self.kind(template)
            && let Some(room) = self.pool.foresee(kind)
        {
            self.raise(room, kind);
        }
    }

    /// What a run may share a container with.
    fn kind(&mut self, template: &Arc<Template>) -> Result<KindId, PlanError> {
        let pool = &self.pool;
        self.kinds.of(template, &self.site, |kind| pool.has(kind))
    }

    fn raise(&mut self, id: RoomId, kind: KindId) {
        let Some(known) = self.kinds.get(kind) else { return };
        let plan = known.plan.clone();
        let name = self.site.owner.name(RunId(id.0));
        let order = Order {
            engine: self.engine.clone(),
            site: self.site.clone(),
            plan: plan.clone(),
            name: name.clone(),
            inherit: known.inherit(),
            workers: self.config.workers,
            mark: CString::new(MARK).unwrap_or_default(),
            limit: self.call_limit,
            patience: self.patience,
            asked: self.asked.clone(),
            starts: self.starts.clone(),
        };
        tracing::info!(container = name, image = plan.image, "a container to be shared is started");
        let sender = self.sender.clone();
        let task = self.tasks.spawn(async move {
            let tell = |text: String| {
                // It is only for people: where the inputs are full it is left out.
                let _ = sender.try_send(Input::Waits(id, text));
            };
            let result = raise::raise(&order, tell).await;
            let failed = result.is_err();
            // At the end nobody listens any more.
            let _ = sender.send(Input::Raised(id, Box::new(result))).await;
            if failed {
                remove_for_good(&order.engine, &order.name).await;
            }
        });
        let life = Life::Raising(task.abort_handle());
        self.homes.insert(id, Home { name, kind, plan, life });
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Waits(id, message) => {
                let mut templates = Vec::new();
                for run in self.pool.runs(id) {
                    let Some(spawn) = self.waiting.get(&run) else { continue };
                    // Runs of one Mesos task wait for the same.
                    if !templates.iter().any(|known| Arc::ptr_eq(known, &spawn.template)) {
                        templates.push(spawn.template.clone());
                        let message = message.clone();
                        self.told.push((run, RunEvent::Waiting { message }));
                    }
                }
            }
            Input::Raised(id, result) => match *result {
                Ok(Raised { launcher, found }) => {
                    let Some(home) = self.homes.get_mut(&id) else { return };
                    tracing::info!(container = home.name, "a container is ready for tasks");
                    let crew = Crew::new(launcher);
                    home.life = Life::Ready(Box::new(Ready { crew, found }));
                    for run in self.pool.ready(Instant::now(), id) {
                        if let Some(spawn) = self.waiting.remove(&run) {
                            self.go(id, &spawn);
                        }
                    }
                }
                Err(reason) => {
                    let name = self.homes.remove(&id).map(|home| home.name).unwrap_or_default();
                    tracing::warn!(container = name, reason, "a container could not be started");
                    for run in self.pool.over(id) {
                        self.waiting.remove(&run);
                        let message = format!("Failed to run warm container: {reason}");
                        self.told.push((run, refused(message, Reason::ContainerLaunchFailed)));
                    }
                }
            },
            Input::Buried(id, how) => {
                let name = self.homes.remove(&id).map(|home| home.name).unwrap_or_default();
                tracing::warn!(container = name, how, "a container that tasks shared is gone");
                let at = WallTime::from(SystemTime::now());
                for run in self.pool.over(id) {
                    let message =
                        format!("the warm container `{name}` died, and this task with it: {how}");
                    self.told.push((run, RunEvent::Lost { message, at }));
                }
            }
        }
    }

    /// Hands a run to its container, which is ready.
    fn go(&mut self, id: RoomId, spawn: &Spawn) {
        let Some(Home { name, plan, life: Life::Ready(ready), .. }) = self.homes.get_mut(&id)
        else {
            return;
        };
        let room = Room { id, name, plan, found: &ready.found };
        let prepared = ready.found.prepare(&self.site.folder(&spawn.task)).map_err(|error| {
            PlanError(format!(
                "cannot prepare the folder of the task: {error}; the executor's user must be able \
                 to write there, and the disk must have room"
            ))
        });
        let request = prepared.and_then(|()| self.requests.run(spawn, room, &self.site));
        match request {
            Ok(request) => ready.crew.spawn(request, false),
            Err(error) => {
                self.pool.ended(Instant::now(), spawn.run);
                let message = format!("Failed to run warm container: {error}");
                self.told.push((spawn.run, refused(message, Reason::TaskInvalid)));
            }
        }
    }

    fn handle_event(&mut self, id: RoomId, event: LauncherEvent) {
        match event {
            LauncherEvent::Reports(reports) => self.handle_reports(id, reports),
            LauncherEvent::Died { reason } => self.handle_death(id, reason),
        }
    }

    fn handle_reports(&mut self, id: RoomId, reports: Vec<Report>) {
        let Some(Home { plan, life: Life::Ready(ready), .. }) = self.homes.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        for report in reports {
            match ready.crew.translate(report, |failed| failure(&plan.image, &failed)) {
                Some(Told::Run(run, event)) => {
                    match event {
                        RunEvent::Waiting { .. } | RunEvent::Started { .. } => {}
                        RunEvent::Exited { .. }
                        | RunEvent::Returned
                        | RunEvent::Refused { .. }
                        | RunEvent::Lost { .. } => self.pool.ended(now, run),
                    }
                    self.told.push((run, event));
                }
                Some(Told::Probe(probe, answer)) => {
                    self.commands.remove(&probe);
                    self.answered.push((probe, answer));
                }
                None => {}
            }
        }
    }

    /// What becomes of the runs is told once it is known why.
    fn handle_death(&mut self, id: RoomId, reason: String) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        home.life = Life::Dying;
        self.requests.forget(id);
        for (probe, _) in self.commands.extract_if(|_, room| *room == id) {
            let reason = "its container died".to_owned();
            self.answered.push((probe, Answer::Nothing { reason }));
        }
        let (engine, name, sender) = (self.engine.clone(), home.name.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let how = raise::bury(&engine, &name, reason).await;
            let _ = sender.send(Input::Buried(id, how)).await;
            remove_for_good(&engine, &name).await;
        });
        let kind = home.kind;
        if let Some(replacement) = self.pool.died(id) {
            self.raise(replacement, kind);
        }
    }

    fn start_probe(&mut self, probe: Probe) {
        let run = probe.spawn.run;
        let Some(id) = self.pool.room(run) else { return };
        let Some(Home { name, plan, life: Life::Ready(ready), .. }) = self.homes.get_mut(&id)
        else {
            return;
        };
        if let Attempt::Command(template) = &*probe.attempt {
            let room = Room { id, name, plan, found: &ready.found };
            let own = crew::id_of(probe.id);
            let request = self.requests.probe(own, &probe.spawn, template, room, &self.site);
            ready.crew.spawn(request, false);
            self.commands.insert(probe.id, id);
            return;
        }
        let (engine, name, plan) = (self.engine.clone(), name.clone(), plan.clone());
        let program = self.site.program.command(probe::SUBCOMMAND);
        let (probe_id, answer) = (probe.id, self.answer.clone());
        let task = self.tasks.spawn(async move {
            let outcome = probe::attempt(&engine, &name, &plan, program, &probe.attempt).await;
            // At the end nobody listens any more.
            let _ = answer.send((probe_id, outcome)).await;
        });
        self.probes.insert(probe_id, task.abort_handle());
    }

    fn send_signal(&mut self, id: RoomId, run: RunId, signal: Signal) {
        if let Some(Home { life: Life::Ready(ready), .. }) = self.homes.get_mut(&id) {
            ready.crew.signal(run, signal);
        }
    }

    /// Ends the containers that nobody has needed for long.
    fn retire(&mut self) {
        for id in self.pool.retire(Instant::now()) {
            let Some(home) = self.homes.remove(&id) else { continue };
            tracing::info!(container = home.name, "a container that nobody needs is removed");
            self.requests.forget(id);
            let engine = self.engine.clone();
            self.tasks.spawn(async move {
                if let Life::Ready(ready) = home.life {
                    ready.crew.close().await;
                }
                remove_for_good(&engine, &home.name).await;
            });
        }
    }
}

/// What people read about a process that did not start in a container of this image.
fn failure(image: &str, failed: &Failure) -> String {
    let (Some(request), Step::Exec) = (&failed.request, failed.step) else {
        return process::failure(failed);
    };
    let program = request.program.to_string_lossy();
    let error = io::Error::from_raw_os_error(failed.errno);
    let advice = match (program.as_ref(), failed.errno) {
        ("/bin/sh", libc::ENOENT) => {
            "; the image has no shell: name the program with `shell` false"
        }
        (_, libc::ENOENT) => "; the image has no such program in its PATH",
        _ => "",
    };
    format!("cannot execute `{program}` in the image `{image}`: {error}{advice}")
}

fn refused(message: String, reason: Reason) -> RunEvent {
    RunEvent::Refused { message, reason: Some(reason), at: WallTime::from(SystemTime::now()) }
}

impl Runtime for WarmRuntime {
    fn spawn(&mut self, spawn: Spawn) {
        let run = spawn.run;
        let kind = match self.kind(&spawn.template) {
            Ok(kind) => kind,
            Err(error) => {
                let message = format!("Failed to run warm container: {error}");
                self.told.push((run, refused(message, Reason::TaskInvalid)));
                return;
            }
        };
        match self.pool.place(run, spawn.strand, kind) {
            Placement::Go(room) => self.go(room, &spawn),
            Placement::Wait(_) => {
                self.waiting.insert(run, spawn);
            }
            Placement::Raise(room) => {
                self.waiting.insert(run, spawn);
                self.raise(room, kind);
            }
        }
    }

    fn cancel(&mut self, run: RunId) {
        let room = self.pool.room(run);
        if self.pool.cancel(run) {
            self.waiting.remove(&run);
            self.told.push((run, RunEvent::Returned));
        } else if let Some(Home { life: Life::Ready(ready), .. }) =
            room.and_then(|room| self.homes.get_mut(&room))
        {
            ready.crew.cancel(run);
        }
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        if let Some(room) = self.pool.room(run) {
            self.send_signal(room, run, signal);
        }
    }

    fn probe(&mut self, probe: Probe) {
        self.start_probe(probe);
    }

    fn abandon(&mut self, probe: ProbeId) {
        if let Some(handle) = self.probes.remove(&probe) {
            handle.abort();
        } else if let Some(room) = self.commands.remove(&probe) {
            self.send_signal(room, crew::id_of(probe), Signal::Kill);
        }
    }

    fn flush(&mut self) {
        for home in self.homes.values_mut() {
            if let Life::Ready(ready) = &mut home.life {
                ready.crew.flush();
            }
        }
    }

    async fn next(&mut self) -> RuntimeEvent {
        loop {
            if !self.told.is_empty() {
                // A batch whose every item is refused must not keep the agent waiting.
                tokio::task::yield_now().await;
                return RuntimeEvent::Runs(mem::take(&mut self.told));
            }
            if !self.answered.is_empty() {
                tokio::task::yield_now().await;
                return RuntimeEvent::Probes(mem::take(&mut self.answered));
            }
            let wake = self.pool.wake_at();
            tokio::select! {
                biased;
                input = self.inputs.recv() => {
                    self.handle(input.expect("a sender is kept here"));
                    // What was handed on is flushed once this was handled.
                    return RuntimeEvent::Runs(mem::take(&mut self.told));
                }
                (room, event) = next_of(&mut self.homes) => {
                    self.handle_event(room, event);
                    return RuntimeEvent::Runs(mem::take(&mut self.told));
                }
                answer = self.answers.recv() => {
                    let (probe, answer) = answer.expect("a sender is kept here");
                    if self.probes.remove(&probe).is_some() {
                        return RuntimeEvent::Probes(vec![(probe, answer)]);
                    }
                }
                () = until(wake) => self.retire(),
            }
        }
    }

    async fn close(self) {
        let Self { engine, homes, mut inputs, asked, tasks, vigil, .. } = self;
        inputs.close();
        tasks.close();
        let names = homes.values().map(|home| home.name.clone()).collect::<Vec<_>>();
        let sure = !homes.values().any(|home| matches!(home.life, Life::Raising(_)));
        let launchers = TaskTracker::new();
        for home in homes.into_values() {
            match home.life {
                Life::Raising(task) => task.abort(),
                Life::Ready(ready) => {
                    launchers.spawn(ready.crew.close());
                }
                Life::Dying => {}
            }
        }
        launchers.close();
        let end = async {
            launchers.wait().await;
            remove_all(&engine, names).await;
        };
        // What does not go in this time is left to the vigil.
        let _ = timeout(CLOSE_LIMIT, end).await;
        if asked.load(Ordering::Relaxed) { vigil.end(sure) } else { vigil.dismiss() }
    }
}

/// What happened next in any of the containers.
async fn next_of(homes: &mut BTreeMap<RoomId, Home>) -> (RoomId, LauncherEvent) {
    poll_fn(|context| {
        for (id, home) in homes.iter_mut() {
            let Life::Ready(ready) = &mut home.life else { continue };
            if let Poll::Ready(event) = ready.crew.poll_next(context) {
                return Poll::Ready((*id, event));
            }
        }
        Poll::Pending
    })
    .await
}
