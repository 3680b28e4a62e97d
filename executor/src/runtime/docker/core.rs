//! What each container needs next.
//!
//! Owns the life of every container of this executor, the places for those
//! that are being started, the images that are waited for, and what it means
//! that the engine is away. Sans-IO: takes what happened, gives what to do.
//! Refuses to know what a container is made of. Called by the docker runtime.
//!
//! ```text
//!             image there      a place is free        created           started
//!   Imaging ────────────▶ Waiting ──────────▶ Creating ─────▶ Starting ──────────▶ Running
//!      │ pull failed         ▲  │                │  │            │  │ no answer      │  │
//!      ▼                     │  │ away too long  │  ▼ away       │  ▼                │  │ died
//!   refused ◀────────────────┼──┴────────────────┤ Created       │ Doubtful ─ list ─▶│  ▼
//!                            └─ engine not reached               ▼                   │ Dying
//!                                                             refused                ▼  │ looked at
//!                                                                     Missed ─────▶ ended
//! ```
//!
//! * **Imaging**: the image is looked for, or pulled. One pull serves all that wait for it.
//! * **Waiting**: for a place: an engine starts no more containers when more are asked for at once.
//! * **Creating**, **Starting**: a call is on its way. Creating again is harmless, since the name
//!   says which container it is; starting is not, and is never tried twice.
//! * **Created**: the engine went away before the start.
//! * **Doubtful**: nobody knows whether it was started. The next list tells: a container that was
//!   not is removed, and the run refused, for the call could still arrive.
//! * **Describing**: started; what TASK_RUNNING tells is asked for.
//! * **Running**: until an event says that it died, or a list does.
//! * **Dying**: it may have been the limit of its memory, of which the engine tells by itself or
//!   when it is asked.
//! * **Missed**: it ended while nobody listened; the engine is asked how.
//!
//! The engine is *up* when a list was answered and the events after it are heard; no step begins
//! while it is *down*.

mod engine_state;
mod images;
mod removals;
mod steps;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use marmoset_executor_core::{Now, RunId, Signal, WallTime};
use marmoset_proto::marmoset::v1::Pull;

use self::{engine_state::EngineState, images::Images, removals::Removals};
use super::engine::{EngineError, Event, Inspection, Listed};

/// How many containers are started at a time, unless a flag says so: see docs/decisions.
pub(super) const PLACES: usize = 6;

/// How many containers are removed at a time.
const REMOVALS: usize = 2;

/// A list is asked for this often while something runs, should an event be lost.
const LIST_INTERVAL: Duration = Duration::from_secs(60);

/// What the docker runtime asks for.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) run: RunId,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) pull: Pull,
    /// Whether what is known of the start is told.
    pub(super) describe: bool,
    /// Whether its memory has a limit.
    pub(super) limited: bool,
    /// Items of one batch have the same: what they wait for is told once.
    pub(super) group: Option<usize>,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    Launch(Launch),
    /// Nobody wants it to start any more.
    Cancel(RunId),
    Signal(RunId, Signal),
    Image(String, Pull, Result<(), EngineError>),
    PullProgress(String, Pull, String),
    Created(RunId, Result<(), EngineError>),
    Started(RunId, Result<(), EngineError>),
    Inspected(RunId, Box<Result<Option<Inspection>, EngineError>>),
    Signalled(RunId, Result<(), EngineError>),
    Removed(String, Result<(), EngineError>),
    Event(Event),
    /// All our containers, as of a call that was made then.
    Listed(Instant, Vec<Listed>),
    /// Events are not heard any more, or a list was not answered.
    Away(EngineError),
    Wake,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    /// Have the image there.
    Image(String, Pull),
    Create(RunId),
    Start(RunId),
    Inspect(RunId),
    Signal(RunId, Signal),
    Remove(String),
    /// Ask for a list, and listen again if nobody does.
    List,
    Tell(RunId, Told),
    /// Say it to the operator.
    Log(Log),
}

/// What the executor's core learns about a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Waiting(String),
    /// Nothing was started.
    Refused(String),
    /// Nothing can be started of what the task says.
    Invalid(String),
    Started {
        at: WallTime,
        inspection: Option<Box<Inspection>>,
    },
    Exited(Exit),
    Lost(String),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: i64,
    pub(super) at: WallTime,
    pub(super) out_of_memory: bool,
    /// What else there is to say.
    pub(super) remark: Option<String>,
}

/// News for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Log {
    EngineUp { after: Duration },
    EngineDown { reason: String },
    NotRemoved { name: String, reason: String },
    NotSignalled { name: String, reason: String },
    Stray { name: String },
}

/// Bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    pub(super) places: usize,
    /// How long the engine may be away before what waits for it is refused.
    pub(super) patience: Duration,
}

/// All containers of this executor.
#[derive(Debug)]
pub(super) struct Core {
    config: Config,
    engine: EngineState,
    containers: BTreeMap<RunId, Container>,
    names: HashMap<String, RunId>,
    images: Images,
    /// May name runs that are over.
    waiting: VecDeque<RunId>,
    /// Containers in Creating, Created, Starting or Doubtful.
    placed: usize,
    removals: Removals,
    list_at: Option<Instant>,
    /// When the engine is asked about those in Dying, in order. May name runs that are over.
    suspects: VecDeque<(Instant, RunId)>,
    acts: VecDeque<Act>,
}

#[derive(Debug)]
struct Container {
    launch: Launch,
    phase: Phase,
    /// The engine was asked to create it: it may be there.
    asked_for: bool,
    cancelled: bool,
    /// The strongest signal that was asked for.
    signal: Option<Signal>,
    /// It was sent to a container that is known to run.
    signal_sent: Option<Signal>,
    /// The engine did not send it.
    signal_refused: bool,
    /// Somebody else has sent this one.
    foreign_signal: Option<i32>,
    out_of_memory: bool,
    /// The image was there, and then it was not.
    image_vanished: bool,
    started_at: Option<WallTime>,
    /// The died event can be earlier than the answer to the start.
    died: Option<(i64, WallTime)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Imaging,
    Waiting,
    Creating,
    Created,
    Starting,
    Doubtful,
    Describing,
    Running {
        since: Instant,
    },
    Dying,
    /// `asked`: an answer is on its way.
    Missed {
        told: bool,
        asked: bool,
    },
}

impl Phase {
    fn takes_place(self) -> bool {
        match self {
            Self::Creating | Self::Created | Self::Starting | Self::Doubtful => true,
            Self::Imaging
            | Self::Waiting
            | Self::Describing
            | Self::Running { .. }
            | Self::Dying
            | Self::Missed { .. } => false,
        }
    }
}

const KILLED_BEFORE_START: &str = "Killed before it was started";

impl Core {
    pub(super) fn new(config: Config, now: Now) -> Self {
        Self {
            config,
            engine: EngineState::new(now.instant),
            containers: BTreeMap::new(),
            names: HashMap::new(),
            images: Images::default(),
            waiting: VecDeque::new(),
            placed: 0,
            removals: Removals::new(REMOVALS),
            list_at: None,
            suspects: VecDeque::new(),
            acts: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub(super) fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Launch(launch) => self.launch(launch),
            Input::Cancel(run) => self.cancel(run),
            Input::Signal(run, signal) => self.signal(run, signal),
            Input::Image(image, pull, result) => self.handle_image(now, &image, pull, result),
            Input::PullProgress(image, pull, text) => self.tell_waiting(&image, pull, &text),
            Input::Created(run, result) => self.handle_created(now, run, result),
            Input::Started(run, result) => self.handle_started(now, run, result),
            Input::Inspected(run, result) => self.handle_inspected(now, run, *result),
            Input::Signalled(run, result) => self.handle_signalled(now, run, result),
            Input::Removed(name, result) => self.handle_removed(now, name, result),
            Input::Event(event) => self.handle_event(now, event),
            Input::Listed(asked, listed) => self.handle_listed(now, asked, &listed),
            Input::Away(error) => self.away(now, &error),
            Input::Wake => {}
        }
        self.wake(now);
        self.advance();
    }

    /// Gives the next thing to do.
    pub(super) fn poll_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When an [`Input::Wake`] is wanted at the latest.
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        let patience = self
            .engine
            .down_since()
            .filter(|_| self.waits_for_engine())
            .map(|since| since + self.config.patience);
        let suspect = self.suspects.front().map(|(at, _)| *at);
        [patience, self.list_at, suspect].into_iter().flatten().min()
    }

    /// Whether a container may still appear.
    pub(super) fn is_creating(&self) -> bool {
        let unsure = |phase| matches!(phase, Phase::Imaging | Phase::Waiting | Phase::Creating);
        self.containers.values().any(|known| known.asked_for && unsure(known.phase))
    }

    /// Everything that may be there and has to go when the executor ends.
    pub(super) fn into_leftovers(self) -> Vec<String> {
        let asked_for = self.containers.into_values().filter(|container| container.asked_for);
        asked_for.map(|container| container.launch.name).chain(self.removals.into_names()).collect()
    }

    fn launch(&mut self, launch: Launch) {
        let run = launch.run;
        self.names.insert(launch.name.clone(), run);
        let phase = if self.images.wants(&launch.image, launch.pull) {
            Phase::Imaging
        } else {
            self.waiting.push_back(run);
            Phase::Waiting
        };
        self.containers.insert(
            run,
            Container {
                launch,
                phase,
                asked_for: false,
                cancelled: false,
                signal: None,
                signal_sent: None,
                signal_refused: false,
                foreign_signal: None,
                out_of_memory: false,
                image_vanished: false,
                started_at: None,
                died: None,
            },
        );
    }

    fn cancel(&mut self, run: RunId) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        match container.phase {
            Phase::Imaging => {
                self.refuse(run, "Container destroyed while pulling image".to_owned());
            }
            Phase::Waiting | Phase::Created => {
                self.drop_container(run);
                self.refuse(run, KILLED_BEFORE_START.to_owned());
            }
            // The answer to the call comes first.
            Phase::Creating => container.cancelled = true,
            Phase::Starting
            | Phase::Doubtful
            | Phase::Describing
            | Phase::Running { .. }
            | Phase::Dying
            | Phase::Missed { .. } => {}
        }
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        if let Some(container) = self.containers.get_mut(&run) {
            container.signal = Some(stronger(container.signal, signal));
        }
    }

    fn tell_waiting(&mut self, image: &str, pull: Pull, text: &str) {
        let mut groups = std::collections::BTreeSet::new();
        for (run, container) in &self.containers {
            let Launch { image: own, pull: own_pull, group, .. } = &container.launch;
            if container.phase == Phase::Imaging
                && (own.as_str(), *own_pull) == (image, pull)
                && group.is_none_or(|group| groups.insert(group))
            {
                self.acts.push_back(Act::Tell(*run, Told::Waiting(text.to_owned())));
            }
        }
    }

    fn tell(&mut self, run: RunId, told: Told) {
        self.acts.push_back(Act::Tell(run, told));
    }

    /// Has the container of a run removed, if there may be one.
    fn drop_container(&mut self, run: RunId) {
        let Some(container) = self.containers.get(&run) else { return };
        if container.asked_for {
            self.removals.add(container.launch.name.clone());
        }
    }

    /// Ends a run that nothing was started for.
    fn refuse(&mut self, run: RunId, message: String) {
        if self.forget(run).is_some() {
            self.tell(run, Told::Refused(message));
        }
    }

    /// The run is over for us; its container, if any, is another matter.
    fn forget(&mut self, run: RunId) -> Option<Container> {
        let container = self.containers.remove(&run)?;
        self.names.remove(&container.launch.name);
        if container.phase.takes_place() {
            self.placed -= 1;
        }
        Some(container)
    }

    fn set_phase(&mut self, run: RunId, phase: Phase) {
        let Some(container) = self.containers.get_mut(&run) else { return };
        self.placed -= usize::from(container.phase.takes_place());
        self.placed += usize::from(phase.takes_place());
        container.phase = phase;
    }
}

/// SIGKILL once asked for stays.
fn stronger(before: Option<Signal>, signal: Signal) -> Signal {
    match (before, signal) {
        (Some(Signal::Kill), Signal::Term | Signal::Kill) | (_, Signal::Kill) => Signal::Kill,
        (Some(Signal::Term) | None, Signal::Term) => Signal::Term,
    }
}

fn failure(error: &EngineError) -> String {
    format!("Failed to run docker container: {error}")
}

#[cfg(test)]
mod tests;
