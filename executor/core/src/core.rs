//! The executor's decisions: inputs in, actions out.
//!
//! Owns the session, the tasks, the runs and the ledger, and what one means for
//! the other. Refuses sockets, clocks, files and logging. Called by one
//! dispatcher, which owns it:
//!
//! ```text
//!   loop {
//!       while let Some(action) = core.poll_action() { perform(action) }
//!       wait for an input, at most until core.poll_wake()
//!       core.handle(now, input)
//!   }
//! ```
//!
//! ```text
//!   Serving ── SHUTDOWN, SIGTERM, ERROR, agent lost ──▶ Draining ── nothing left, or too late ──▶ Over
//! ```
//!
//! * **Serving**: takes tasks in.
//! * **Draining**: everything was killed; waits for ends and acknowledgements (`drain.rs`).
//! * **Over**: the last action is [`Action::Exit`]; inputs mean nothing any more.

mod checks;
mod connection;
mod drain;
mod kill;
mod tasks;

#[cfg(test)]
mod model;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traces;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use marmoset_proto::mesos::v1::{
    ContainerStatus, ExecutorInfo, TaskId, TaskResourceLimitation, TaskState, TaskStatus,
    executor::{Call, call},
    task_status::{Reason, Source},
};

use self::drain::Drain;
use crate::{
    action::{Action, Template},
    checks::{Checks, Known},
    config::Config,
    ids::{GroupId, RunId},
    input::Input,
    ledger::{Ledger, Weight},
    note::Note,
    random::Random,
    runs::Runs,
    session::Session,
    task::Task,
    time::Now,
};

/// How long an update may stay without acknowledgement on a stream that looks alive.
const ACKNOWLEDGEMENT_LIMIT: Duration = Duration::from_secs(30);

/// The executor, without its hands.
#[derive(Debug)]
pub struct Core {
    config: Config,
    session: Session,
    life: Life,
    /// TASK_KILLING may be sent.
    killing_state: bool,
    /// Boxed: a map of large values is mostly room for more.
    tasks: BTreeMap<TaskId, Box<Task>>,
    /// How many tasks have not ended.
    active: usize,
    /// How many tasks have no process so far.
    waiting: usize,
    /// Of the last task: thousands that differ in nothing but their ids share one.
    template: Option<Arc<Template>>,
    /// The `executor` of the last task.
    executor: Option<Arc<ExecutorInfo>>,
    /// Tasks that are batches and not over.
    batches: BTreeSet<TaskId>,
    groups: BTreeMap<GroupId, BTreeSet<TaskId>>,
    last_group: GroupId,
    runs: Runs,
    checks: Checks,
    ledger: Ledger,
    /// Batches to look at, and when: they report then, or take runs back.
    timers: BTreeSet<(Instant, TaskId)>,
    random: Random,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Life {
    Serving,
    Draining(Drain),
    Over,
}

/// What [`Core::poll_wake`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeReason {
    /// The connection is to be opened, or given up.
    Connection,
    /// A run is to be signalled.
    Signal,
    /// A probe is to be made, or given up.
    Check,
    /// An update is no longer held back.
    Update,
    /// A batch is to report, or to take runs back.
    Report,
    /// An acknowledgement is overdue.
    Acknowledgement,
    /// The executor is to end.
    Exit,
}

impl Core {
    /// Starts at `now`; the first action is a SUBSCRIBE.
    pub fn new(config: Config, now: Now) -> Self {
        let mut core = Self {
            session: Session::new(now.instant, config.checkpoint),
            life: Life::Serving,
            killing_state: false,
            tasks: BTreeMap::new(),
            active: 0,
            waiting: 0,
            template: None,
            executor: None,
            batches: BTreeSet::new(),
            groups: BTreeMap::new(),
            last_group: GroupId::default(),
            checks: Checks::default(),
            runs: Runs::new(config.starting, config.starting_slow),
            ledger: Ledger::new(&config),
            timers: BTreeSet::new(),
            random: Random::new(config.seed),
            actions: VecDeque::new(),
            config,
        };
        core.handle(now, Input::Wake);
        core
    }

    /// Takes in what happened. Inputs about connections, calls and runs that are no more are ignored.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.handle_all(now, [input]);
    }

    /// Takes in what happened at once: what a later input makes superfluous is not done.
    pub fn handle_all(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            match self.life {
                Life::Serving | Life::Draining(_) => self.take_in_fact(now, input),
                Life::Over => return,
            }
        }
        match self.life {
            Life::Serving | Life::Draining(_) => {}
            Life::Over => return,
        }
        self.wake(now);
        self.runs.spawn_queued(&mut self.actions);
        self.send_updates(now);
        self.check_drained(now);
    }

    /// Gives the next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When an [`Input::Wake`] is wanted at the latest, and what for.
    pub fn poll_wake(&self) -> Option<(Instant, WakeReason)> {
        let (exit, serving) = match &self.life {
            Life::Serving => (None, true),
            Life::Draining(drain) => (Some(drain.wake_at()), false),
            Life::Over => return None,
        };
        let overdue = self.ledger.oldest_sent().filter(|_| serving && self.session.is_subscribed());
        [
            (self.session.wake_at(), WakeReason::Connection),
            (self.runs.wake_at(), WakeReason::Signal),
            (self.checks.wake_at(), WakeReason::Check),
            (self.ledger.next_release().filter(|_| self.may_send()), WakeReason::Update),
            (self.timers.first().map(|(at, _)| *at), WakeReason::Report),
            (overdue.map(|at| at + ACKNOWLEDGEMENT_LIMIT), WakeReason::Acknowledgement),
            (exit, WakeReason::Exit),
        ]
        .into_iter()
        .filter_map(|(at, reason)| Some((at?, reason)))
        .min()
    }

    /// How many Mesos tasks have not ended.
    pub fn active_tasks(&self) -> usize {
        self.active
    }

    /// Whether a run ends if the launcher does: it is a process, or about to be one at once.
    pub fn is_at_launcher(&self, run: RunId) -> bool {
        self.runs.is_at_launcher(run)
    }

    /// How many Mesos tasks are in memory: those that have not ended, and those
    /// whose last update is not acknowledged.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn take_in_fact(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected(connection) => {
                if self.session.is_current(connection) {
                    self.session.handle_connected(now.instant);
                }
            }
            Input::Event(connection, event) => {
                if self.session.is_current(connection) {
                    self.handle_event(now, *event);
                }
            }
            Input::Disconnected(connection, cause) => {
                if self.session.is_current(connection) {
                    self.handle_disconnected(now, &cause);
                }
            }
            Input::CallDone(call) => _ = self.ledger.call_done(now.instant, call),
            Input::CallFailed(call, cause) => self.handle_call_failed(now, call, &cause),
            Input::Run(run, event) => self.handle_run(now, run, event),
            Input::Probed(probe, answer) => self.handle_probed(now, probe, answer),
            Input::LauncherDied(reason) => self.handle_launcher_died(now, reason),
            Input::Terminate => self.handle_terminate(now),
            Input::Wake => {}
        }
    }

    fn wake(&mut self, now: Now) {
        self.wake_session(now);
        for owner in self.runs.wake(now, &mut self.actions) {
            self.handle_overtime(&owner);
        }
        self.wake_checks(now);
        while let Some((at, task)) = self.timers.first().cloned()
            && at <= now.instant
        {
            self.timers.pop_first();
            self.settle(now, &task);
        }
    }

    /// Adds an update to the ledger.
    fn update(&mut self, now: Now, task: &TaskId, weight: Weight, content: Content) {
        if !self.ledger.wants(weight) {
            return;
        }
        let id = self.random.update_id();
        let Known { healthy, check_status } = self.checks.known(task);
        let status = TaskStatus {
            task_id: task.clone(),
            state: content.state.into(),
            message: content.message,
            source: Some(Source::Executor.into()),
            reason: content.reason.map(Into::into),
            data: content.data,
            container_status: content.container_status,
            limitation: content.limitation,
            healthy,
            check_status,
            timestamp: Some(now.wall.as_seconds()),
            uuid: Some(bytes::Bytes::copy_from_slice(id.0.as_bytes())),
            ..TaskStatus::default()
        };
        self.ledger.add(now.instant, id, status, weight);
    }

    fn send_updates(&mut self, now: Now) {
        while self.may_send()
            && let Some((id, lane, status)) = self.ledger.poll_call(now.instant)
        {
            let call = Call {
                r#type: Some(call::Type::Update.into()),
                update: Some(call::Update { status }),
                ..self.empty_call()
            };
            self.actions.push_back(Action::Update(id, lane, Box::new(call)));
        }
    }

    /// After the stream is gone for good, the agent may still take last updates.
    fn may_send(&self) -> bool {
        self.session.is_subscribed()
            || self.session.is_closed() && matches!(self.life, Life::Draining(_))
    }

    fn empty_call(&self) -> Call {
        Call {
            executor_id: self.config.executor_id.clone(),
            framework_id: self.config.framework_id.clone(),
            ..Call::default()
        }
    }

    fn note(&mut self, note: Note) {
        self.actions.push_back(Action::Note(note));
    }
}

/// What differs from update to update.
#[derive(Debug)]
struct Content {
    state: TaskState,
    message: Option<String>,
    reason: Option<Reason>,
    data: Option<bytes::Bytes>,
    container_status: Option<ContainerStatus>,
    limitation: Option<TaskResourceLimitation>,
}

impl From<TaskState> for Content {
    fn from(state: TaskState) -> Self {
        Self {
            state,
            message: None,
            reason: None,
            data: None,
            container_status: None,
            limitation: None,
        }
    }
}
