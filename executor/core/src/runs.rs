//! Runs: one process each, from the wish for it to its end.
//!
//! Owns the life of every run, the queue in front of the runtimes, and the
//! timers of kills and limits. Refuses to know what a task or an update is: it
//! tells its caller, the core, how each run ended.
//!
//! ```text
//!             a place is free         Started                 Exited, Lost
//!   Queued ───────────────▶ Starting ────────▶ Running ──────────────────▶ ended
//!      │                      │ kill: (Cancel)    │ kill, limit              ▲
//!      │ kill                 │                   ▼ (SIGTERM)                │
//!      ▼                      ├─── Started ──▶ Killing ── Exited ────────────┤
//!    ended                    │                   │ grace over               │
//!                             │                   └─ (SIGKILL) ── Exited ────┤
//!                             └─── Refused ──────────────────────────────────┘
//! ```
//!
//! * **Queued**: nobody but the core knows of it. A kill ends it on the spot.
//! * **Starting**: given to the runtime. A kill is passed on, for a runtime that still fetches
//!   files or images; where a process comes all the same, it is killed then.
//! * **Running**: its process runs; a limit may be ticking.
//! * **Killing**: was told to end. A further kill may shorten its grace, never extend it.
//!
//! A runtime may return what was not started when it is told to cancel; a run that nobody has
//! killed is then its owner's again.
//!
//! Runs that start at once share their places. Those that need something first (files, an image, a
//! container) have places by Mesos task, so that what is slow for one is not slow for others.

mod queue;
mod run;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

use marmoset_proto::{
    mesos::v1::{TaskId, TaskResourceLimitation, TaskState, task_status::Reason},
    status,
};

use self::{
    queue::Queue,
    run::{Escalation, Kill, Phase, Run, StartKind},
};
use crate::{
    action::{Action, Signal, Spawn},
    ids::{RunId, StrandId},
    input::{Remark, RunEvent, StartDetails},
    time::{Now, WallTime},
};

/// Whose run it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) task: TaskId,
    pub(crate) part: Part,
}

/// Which part of the Mesos task it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// One item of a batch.
    Item { index: u64, attempt: u32, slot: u32 },
}

/// Why a run was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// KILL, a Control message, a member of its group, or the end of the executor.
    Killed,
    /// It ran for longer than it may.
    TimedOut,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) state: TaskState,
    pub(crate) wait_status: Option<i32>,
    /// Absent when the wait status says it all.
    pub(crate) message: Option<String>,
    pub(crate) reason: Option<Reason>,
    pub(crate) limitation: Option<TaskResourceLimitation>,
    pub(crate) started: Option<WallTime>,
    pub(crate) ended: WallTime,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
}

impl Outcome {
    /// The end of something that never had a process.
    pub(crate) fn without_process(state: TaskState, message: String, ended: WallTime) -> Self {
        Self {
            state,
            wait_status: None,
            message: Some(message),
            reason: None,
            limitation: None,
            started: None,
            ended,
            stdout_bytes: 0,
            stderr_bytes: 0,
        }
    }

    /// The text for people.
    pub(crate) fn message(&self) -> String {
        match (&self.message, self.wait_status) {
            (Some(message), _) => message.clone(),
            (None, Some(wait_status)) => status::describe(wait_status),
            (None, None) => String::new(),
        }
    }
}

/// What a report of a runtime means.
#[derive(Debug)]
pub(crate) enum Change {
    /// It waits for something that takes long.
    Waiting(String),
    /// The process runs.
    Started(Option<Box<StartDetails>>),
    /// It was not started and will not be. It is forgotten here.
    Returned,
    /// It ended, and is forgotten here.
    Ended(Outcome),
}

/// The message of what was killed while it waited.
pub const KILLED_BEFORE_START: &str = "Killed before it was started";

/// The message of what the launcher took with it.
pub fn launcher_died(reason: &str) -> String {
    format!("the process launcher died, and this task with it: {reason}")
}

/// All runs that have not ended.
#[derive(Debug)]
pub(crate) struct Runs {
    last: RunId,
    last_strand: StrandId,
    /// Boxed: a map of large values is mostly room for more.
    runs: BTreeMap<RunId, Box<Run>>,
    /// Runs that start at once.
    quick: Queue,
    /// Runs that need something first.
    slow: Queue,
    /// How many of the quick ones were given to the runtime and have not started.
    starting: usize,
    starting_max: usize,
    timers: BTreeSet<(Instant, RunId)>,
}

impl Runs {
    /// Gives `starting_max` places to runs that start at once, and `slow_each` to those of each
    /// Mesos task that need something first.
    pub(crate) fn new(starting_max: usize, slow_each: usize) -> Self {
        Self {
            last: RunId::default(),
            last_strand: StrandId::default(),
            runs: BTreeMap::new(),
            quick: Queue::new(),
            slow: Queue::with_places(slow_each),
            starting: 0,
            starting_max: starting_max.max(1),
            timers: BTreeSet::new(),
        }
    }

    /// Queues a run; `spawn` makes its request once its id is known.
    pub(crate) fn add(
        &mut self,
        owner: Owner,
        limit: Option<Duration>,
        grace: Duration,
        spawn: impl FnOnce(RunId) -> Spawn,
    ) -> RunId {
        let id = self.last.next();
        let spawn = spawn(id);
        let (runtime, start) = (spawn.template.runtime, StartKind::of(&spawn.template));
        match start {
            StartKind::Quick | StartKind::Behind => self.quick.push(&owner.task, id),
            StartKind::Slow => self.slow.push(&owner.task, id),
        }
        let phase = Phase::Queued(Box::new(spawn));
        self.runs.insert(id, Box::new(Run { owner, runtime, start, limit, grace, phase }));
        id
    }

    /// Gives a run to its runtime that starts when those before it in its strand have ended.
    pub(crate) fn add_behind(
        &mut self,
        owner: Owner,
        limit: Option<Duration>,
        grace: Duration,
        spawn: impl FnOnce(RunId) -> Spawn,
        actions: &mut VecDeque<Action>,
    ) -> RunId {
        let id = self.last.next();
        let spawn = Box::new(spawn(id));
        let (runtime, start) = (spawn.template.runtime, StartKind::Behind);
        let phase = Phase::Starting { kill: None };
        self.runs.insert(id, Box::new(Run { owner, runtime, start, limit, grace, phase }));
        actions.push_back(Action::Spawn(spawn));
        id
    }

    /// Names a strand that nobody has.
    pub(crate) fn new_strand(&mut self) -> StrandId {
        self.last_strand.next()
    }

    /// Asks for a run back, if it has not started.
    pub(crate) fn recall(&self, id: RunId, actions: &mut VecDeque<Action>) {
        let phase = self.runs.get(&id).map(|run| &run.phase);
        if let Some(Phase::Starting { kill: None }) = phase {
            actions.push_back(Action::Cancel(id));
        }
    }

    /// Hands as many runs to their runtimes as there are places.
    pub(crate) fn spawn_queued(&mut self, actions: &mut VecDeque<Action>) {
        while let Some(id) = self.slow.pop(|id| self.runs.contains_key(&id)) {
            self.spawn(id, actions);
        }
        while self.starting < self.starting_max
            && let Some(id) = self.quick.pop(|id| self.runs.contains_key(&id))
        {
            self.starting += 1;
            self.spawn(id, actions);
        }
    }

    fn spawn(&mut self, id: RunId, actions: &mut VecDeque<Action>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match mem::replace(&mut run.phase, Phase::Starting { kill: None }) {
            Phase::Queued(spawn) => actions.push_back(Action::Spawn(spawn)),
            other @ (Phase::Starting { .. } | Phase::Running { .. } | Phase::Killing { .. }) => {
                run.phase = other;
            }
        }
    }

    /// Ends a run. Gives its outcome if that is known at once: it was not started.
    pub(crate) fn kill(
        &mut self,
        now: Now,
        id: RunId,
        cause: Cause,
        grace: Duration,
        actions: &mut VecDeque<Action>,
    ) -> Option<(Owner, Outcome)> {
        let run = self.runs.get_mut(&id)?;
        let before = run.timer();
        let escalate_at = now.instant + grace;
        match &mut run.phase {
            Phase::Queued(_) => {
                let owner = self.runs.remove(&id)?.owner;
                let message = KILLED_BEFORE_START.to_string();
                let outcome = Outcome::without_process(TaskState::TaskKilled, message, now.wall);
                return Some((owner, outcome));
            }
            Phase::Starting { kill: Some(kill) } | Phase::Killing { kill, .. } => {
                if let Escalation::At(at) = &mut kill.escalation {
                    *at = escalate_at.min(*at);
                }
            }
            Phase::Starting { kill: kill @ None } => {
                *kill = Some(Kill { cause, escalation: Escalation::At(escalate_at) });
                actions.push_back(Action::Cancel(id));
            }
            Phase::Running { started, .. } => {
                let kill = Kill { cause, escalation: Escalation::At(escalate_at) };
                run.phase = Phase::Killing { started: *started, kill };
                actions.push_back(Action::Signal(id, Signal::Term));
            }
        }
        self.set_timer(id, before);
        self.escalate(now, id, actions);
        None
    }

    /// Handles a runtime's report. `None` for a run that is not waiting for one.
    pub(crate) fn handle(
        &mut self,
        now: Now,
        id: RunId,
        event: RunEvent,
        actions: &mut VecDeque<Action>,
    ) -> Option<(Owner, Change)> {
        let run = self.runs.get_mut(&id)?;
        match event {
            RunEvent::Waiting { message } => {
                let Phase::Starting { kill: None } = &run.phase else { return None };
                Some((run.owner.clone(), Change::Waiting(message)))
            }
            RunEvent::Started { at, details } => {
                let Phase::Starting { kill } = &run.phase else { return None };
                match run.start {
                    StartKind::Quick => self.starting -= 1,
                    StartKind::Slow => self.slow.arrived(&run.owner.task),
                    StartKind::Behind => {}
                }
                run.phase = match *kill {
                    None => Phase::Running {
                        started: at,
                        limit_at: run.limit.map(|limit| now.instant + limit),
                    },
                    Some(kill) => {
                        actions.push_back(Action::Signal(id, Signal::Term));
                        Phase::Killing { started: at, kill }
                    }
                };
                let owner = run.owner.clone();
                self.set_timer(id, None);
                self.escalate(now, id, actions);
                Some((owner, Change::Started(details)))
            }
            RunEvent::Refused { message, reason, at } => {
                let run = self.remove(id)?;
                let (state, reason) = match run.phase {
                    Phase::Starting { kill: Some(_) } => (TaskState::TaskKilled, None),
                    Phase::Queued(_)
                    | Phase::Starting { kill: None }
                    | Phase::Running { .. }
                    | Phase::Killing { .. }
                        if reason == Some(Reason::TaskInvalid) =>
                    {
                        (TaskState::TaskError, reason)
                    }
                    Phase::Queued(_)
                    | Phase::Starting { kill: None }
                    | Phase::Running { .. }
                    | Phase::Killing { .. } => (TaskState::TaskFailed, reason),
                };
                let outcome = Outcome { reason, ..Outcome::without_process(state, message, at) };
                Some((run.owner, Change::Ended(outcome)))
            }
            RunEvent::Returned => {
                let Phase::Starting { kill } = &run.phase else { return None };
                let killed = kill.is_some();
                let owner = self.remove(id)?.owner;
                let message = KILLED_BEFORE_START.to_string();
                let outcome = Outcome::without_process(TaskState::TaskKilled, message, now.wall);
                Some((owner, if killed { Change::Ended(outcome) } else { Change::Returned }))
            }
            RunEvent::Exited { wait_status, at, stdout_bytes, stderr_bytes, remark } => {
                let run = self.remove(id)?;
                let (started, cause) = run.phase.facts();
                let remark = remark.map(|remark| *remark).unwrap_or_default();
                let success = status::is_success(wait_status) && remark.limitation.is_none();
                let (state, reason) = ending(cause, success);
                let outcome = Outcome {
                    state,
                    wait_status: Some(wait_status),
                    message: text(wait_status, &remark),
                    reason: reason.or(remark.reason),
                    limitation: remark.limitation,
                    started,
                    ended: at,
                    stdout_bytes,
                    stderr_bytes,
                };
                Some((run.owner, Change::Ended(outcome)))
            }
            RunEvent::Lost { message, at } => {
                let run = self.remove(id)?;
                let (started, cause) = run.phase.facts();
                let (state, reason) = ending(cause, false);
                let outcome =
                    Outcome { started, reason, ..Outcome::without_process(state, message, at) };
                Some((run.owner, Change::Ended(outcome)))
            }
        }
    }

    /// Ends every run that the launcher had, because it is gone.
    ///
    /// Those that need something first are their runtime's to lose: the core does not know which
    /// of them the launcher had.
    pub(crate) fn lose_all(&mut self, now: Now, reason: &str) -> Vec<(Owner, Outcome)> {
        let lost = self
            .runs
            .iter()
            .filter(|(_, run)| run.is_at_launcher())
            .map(|(id, _)| *id)
            .collect::<Vec<_>>();
        lost.into_iter()
            .filter_map(|id| {
                let run = self.remove(id)?;
                let (started, cause) = run.phase.facts();
                let (state, reason_code) = ending(cause, false);
                let message = launcher_died(reason);
                let mut outcome = Outcome::without_process(state, message, now.wall);
                outcome.started = started;
                outcome.reason = reason_code;
                Some((run.owner, outcome))
            })
            .collect()
    }

    /// Signals whatever is due. Gives those that have just had their time.
    pub(crate) fn wake(&mut self, now: Now, actions: &mut VecDeque<Action>) -> Vec<Owner> {
        let mut overtime = Vec::new();
        while let Some(&(at, id)) = self.timers.first()
            && at <= now.instant
        {
            self.timers.pop_first();
            let Some(run) = self.runs.get_mut(&id) else { continue };
            if let Phase::Running { started, .. } = run.phase {
                let escalation = Escalation::At(now.instant + run.grace);
                let kill = Kill { cause: Cause::TimedOut, escalation };
                run.phase = Phase::Killing { started, kill };
                overtime.push(run.owner.clone());
                actions.push_back(Action::Signal(id, Signal::Term));
                self.set_timer(id, None);
            }
            self.escalate(now, id, actions);
        }
        overtime
    }

    /// When [`Self::wake`] has something to do.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Whether the launcher has a run.
    pub(crate) fn is_at_launcher(&self, id: RunId) -> bool {
        self.runs.get(&id).is_some_and(|run| run.is_at_launcher())
    }

    /// How many runs the launcher has.
    pub(crate) fn at_launcher(&self) -> usize {
        self.runs.values().filter(|run| run.is_at_launcher()).count()
    }

    fn escalate(&mut self, now: Now, id: RunId, actions: &mut VecDeque<Action>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let before = run.timer();
        if let Phase::Killing { kill, .. } = &mut run.phase
            && let Escalation::At(at) = kill.escalation
            && at <= now.instant
        {
            kill.escalation = Escalation::Done;
            actions.push_back(Action::Signal(id, Signal::Kill));
            self.set_timer(id, before);
        }
    }

    fn set_timer(&mut self, id: RunId, before: Option<Instant>) {
        if let Some(at) = before {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = self.runs.get(&id).and_then(|run| run.timer()) {
            self.timers.insert((at, id));
        }
    }

    fn remove(&mut self, id: RunId) -> Option<Box<Run>> {
        let run = self.runs.remove(&id)?;
        if let Phase::Starting { .. } = run.phase {
            match run.start {
                StartKind::Quick => self.starting -= 1,
                StartKind::Slow => self.slow.arrived(&run.owner.task),
                StartKind::Behind => {}
            }
        }
        if let Some(at) = run.timer() {
            self.timers.remove(&(at, id));
        }
        Some(run)
    }
}

/// The message of an end whose wait status does not say it all.
fn text(wait_status: i32, remark: &Remark) -> Option<String> {
    match (&remark.message, &remark.addition) {
        (None, None) => None,
        (Some(message), None) => Some(message.clone()),
        (Some(message), Some(addition)) => Some(format!("{message}; {addition}")),
        (None, Some(addition)) => Some(format!("{}; {addition}", status::describe(wait_status))),
    }
}

/// The state that a run ends in, and its reason.
fn ending(cause: Option<Cause>, success: bool) -> (TaskState, Option<Reason>) {
    match cause {
        None if success => (TaskState::TaskFinished, None),
        None => (TaskState::TaskFailed, None),
        Some(Cause::Killed) => (TaskState::TaskKilled, None),
        Some(Cause::TimedOut) => (TaskState::TaskFailed, Some(Reason::MaxCompletionTimeReached)),
    }
}
