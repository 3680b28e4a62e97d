//! The decisions of the scheduler, behind three methods.
//!
//! Owns the order in which its parts see an input. Called by the one task that owns the core.

mod calls;
mod kills;
mod launch;
mod offers;
mod stalls;
mod take_back;
mod updates;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;
use marmoset_proto::mesos::v1::scheduler::{Call, Event, call, event};

use crate::{
    agents::Agents,
    appetite::{Appetite, Craving, Table},
    clock::Now,
    config::Config,
    counters::{Counters, Progress},
    event::{JobEvent, Notice},
    flights::Flights,
    job::{JobError, JobId, JobSpec},
    placement::{Placement, Spread},
    reconcile::{Question, Reconciler},
    session::{CallFailure, Session, SessionAction, SessionInput, StopReason},
    work::{Job, Phase, Stall},
};

/// A fact for the core.
#[derive(Debug, Clone)]
pub enum Input {
    /// Something about the connection to the master, events included.
    Session(SessionInput),
    /// A call of [`Action::Send`] was not taken.
    CallFailed {
        /// The call.
        call: Box<Call>,
        /// Why.
        why: CallFailure,
    },
    /// A job is not wanted any more: what runs is killed, what waits will not start.
    KillJob(JobId),
    /// The framework is not wanted any more.
    Stop(StopMode),
    /// The moment of [`Core::poll_wake`] has come.
    Wake,
}

/// How a framework ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Kill all jobs, wait until they ended, then tear the framework down.
    Graceful,
    /// Tear the framework down now: the master kills what runs.
    Now,
}

/// Something to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Something about the connection. [`SessionAction::Event`] is never among them.
    Session(SessionAction),
    /// Send a call. In order; an ACKNOWLEDGE stands behind the events of what it acknowledges.
    Send(Box<Call>),
    /// News of a job.
    Job(JobId, JobEvent),
    /// A line for the log.
    Notice(Notice),
    /// The core is done: nothing follows. Calls that were sent before are to be delivered.
    Finished(StopReason),
}

/// Why the core wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A connection attempt, or silence.
    Session,
    /// A repeated question about Mesos tasks.
    Reconcile,
    /// Freed resources to ask for, or none to ask for any more.
    Revive,
    /// A Mesos task without an update, or a KILL to repeat.
    Task,
    /// Time to tell why nothing moves.
    Waiting,
    /// Items to take back from slow batches.
    TakeBack,
}

/// The scheduler's decisions.
pub struct Core {
    config: Config,
    session: Session,
    placement: Box<dyn Placement>,
    jobs: BTreeMap<JobId, Job>,
    next_job: u32,
    agents: Agents,
    flights: Flights,
    reconciler: Reconciler,
    appetite: Appetite,
    /// When slow batches are looked at next.
    take_back_at: Option<Instant>,
    /// Uuids of updates that ended Mesos tasks lately: what comes again is told from what is late.
    ended_lately: VecDeque<Bytes>,
    stopping: bool,
    finished: bool,
    counters: Counters,
    actions: VecDeque<Action>,
}

impl Core {
    /// A core with the default placement; it subscribes at once.
    pub fn new(now: Now, config: Config, seed: u64) -> Self {
        let session = Session::new(now, config.framework.clone(), config.timing.clone(), seed);
        let mut core = Self {
            config,
            session,
            placement: Box::new(Spread),
            jobs: BTreeMap::new(),
            next_job: 0,
            agents: Agents::default(),
            flights: Flights::default(),
            reconciler: Reconciler::new(),
            appetite: Appetite::default(),
            take_back_at: None,
            ended_lately: VecDeque::new(),
            stopping: false,
            finished: false,
            counters: Counters::default(),
            actions: VecDeque::new(),
        };
        core.follow_session(now);
        core
    }

    /// Replaces the placement.
    #[must_use]
    pub fn with_placement(mut self, placement: Box<dyn Placement>) -> Self {
        self.placement = placement;
        self
    }

    /// Takes a job.
    ///
    /// # Errors
    /// Names what is wrong with its description.
    pub fn submit(&mut self, now: Now, spec: JobSpec) -> Result<JobId, JobError> {
        spec.check(self.config.limits.bytes_per_batch)?;
        if self.jobs.values().any(|job| job.spec.name == spec.name) {
            return Err(JobError::NameTaken { name: spec.name });
        }
        let id = JobId(self.next_job);
        self.next_job += 1;
        let stall = Stall::new(now.instant, &self.config.timing);
        self.jobs.insert(id, Job::new(id, spec, stall));
        self.settle(now);
        Ok(id)
    }

    /// Takes a fact.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.finished {
            return;
        }
        match input {
            Input::Session(input) => {
                self.session.handle(now, input);
                self.follow_session(now);
            }
            Input::CallFailed { call, why } => self.call_failed(now, *call, why),
            Input::KillJob(job) => self.kill_job(now, job),
            Input::Stop(mode) => self.stop(now, mode),
            Input::Wake => {
                self.session.handle(now, SessionInput::Wake);
                self.follow_session(now);
                self.wake_flights(now);
            }
        }
        self.settle(now);
    }

    /// Gives the next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Wake`] is due, and why.
    pub fn poll_wake(&self) -> Option<(Instant, Why)> {
        if self.finished {
            return None;
        }
        let subscribed = self.session.is_subscribed();
        [
            (self.session.poll_wake(), Why::Session),
            (self.reconciler.poll_wake().filter(|_| subscribed), Why::Reconcile),
            (self.appetite.poll_wake(self.table()).filter(|_| subscribed), Why::Revive),
            (self.flights.poll_wake(), Why::Task),
            (self.stall_at(), Why::Waiting),
            (self.take_back_at.filter(|_| subscribed), Why::TakeBack),
        ]
        .into_iter()
        .filter_map(|(due, why)| due.map(|due| (due, why)))
        .min()
    }

    /// How far a job is; nothing for an id that no job has.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.jobs.get(&job).map(Job::progress)
    }

    /// What the framework did so far.
    pub fn counters(&self) -> Counters {
        Counters { agents: self.agents.len() as u64, ..self.counters }
    }

    /// Performs what the session wants, as far as it concerns the core.
    fn follow_session(&mut self, now: Now) {
        while let Some(action) = self.session.poll_action() {
            match action {
                SessionAction::Event(event) => self.event(now, *event),
                SessionAction::Subscribed { framework_id, master } => {
                    let address = master.as_deref().and_then(|master| {
                        let address = master.address.as_ref()?;
                        let host = address.hostname.as_deref().or(address.ip.as_deref())?;
                        Some(format!("{host}:{}", address.port))
                    });
                    self.actions.push_back(Action::Notice(Notice::Subscribed {
                        framework_id: framework_id.clone(),
                        master: address,
                    }));
                    let subscribed = SessionAction::Subscribed { framework_id, master };
                    self.actions.push_back(Action::Session(subscribed));
                    self.subscribed(now);
                }
                SessionAction::Unsubscribed { why } => {
                    self.reconciler.stop();
                    self.notice(Notice::Unsubscribed { why: why.clone() });
                    self.actions.push_back(Action::Session(SessionAction::Unsubscribed { why }));
                }
                SessionAction::FrameworkRemoved => {
                    self.notice(Notice::FrameworkRemoved);
                    self.actions.push_back(Action::Session(SessionAction::FrameworkRemoved));
                    self.framework_removed(now);
                }
                SessionAction::Stopped(reason) => {
                    self.actions.push_back(Action::Session(SessionAction::Stopped(reason.clone())));
                    self.actions.push_back(Action::Finished(reason));
                    self.finished = true;
                }
                SessionAction::Subscribe(_)
                | SessionAction::Disconnect { .. }
                | SessionAction::StoreFrameworkId(_) => {
                    self.actions.push_back(Action::Session(action));
                }
            }
        }
    }

    /// All earlier offers are void, and what is under way is asked about.
    fn subscribed(&mut self, now: Now) {
        self.counters.subscriptions += 1;
        self.appetite.subscribed(self.session.started_suppressed());
        let open = self.flights.iter();
        let open =
            open.map(|(task_id, flight)| (task_id.clone(), flight.location.agent_id.clone()));
        self.reconciler.start(now.instant, open, &self.config.timing);
        self.repeat_kills(now);
    }

    fn event(&mut self, now: Now, event: Event) {
        match event.r#type() {
            event::Type::Offers => {
                self.offers(now, event.offers.map(|offers| offers.offers).unwrap_or_default());
            }
            event::Type::Rescind => {
                // Offers are answered when they come: nothing is left to forget.
                if let Some(rescind) = event.rescind {
                    self.notice(Notice::Rescinded { offer_id: rescind.offer_id });
                }
            }
            event::Type::Update => {
                if let Some(update) = event.update {
                    self.update(now, update.status);
                }
            }
            event::Type::Failure => {
                if let Some(failure) = event.failure {
                    self.failure(now, failure);
                }
            }
            event::Type::Unknown
            | event::Type::Subscribed
            | event::Type::InverseOffers
            | event::Type::RescindInverseOffer
            | event::Type::UpdateOperationStatus
            | event::Type::Message
            | event::Type::Error
            | event::Type::Heartbeat => {}
        }
    }

    /// Does what follows from the state as it is now, whatever the input was.
    fn settle(&mut self, now: Now) {
        if self.finished {
            return;
        }
        let hungry = self.is_hungry();
        // The first subscription is open: a job comes soon.
        self.session.suppress_on_subscribe(!hungry && self.counters.subscriptions > 0);
        if self.session.is_subscribed() {
            match self.reconciler.wake(now.instant, &self.config.timing) {
                Some(Question::Explicit(tasks)) => self.reconcile(&tasks),
                Some(Question::Implicit) => self.reconcile(&[]),
                None => {}
            }
            match self.appetite.wake(now.instant, self.table()) {
                Some(Craving::Revive) => self.revive(),
                Some(Craving::Suppress) => self.suppress(),
                None => {}
            }
            self.take_back(now);
        }
        self.tell_stalls(now);
        self.end_jobs();
        if self.stopping && self.jobs.values().all(|job| job.phase == Phase::Ended) {
            self.tear_down(now);
        }
    }

    fn end_jobs(&mut self) {
        for job in self.jobs.values_mut() {
            let over = job.mesos_tasks_open == 0 && job.book.is_complete();
            if over && job.phase != Phase::Ended {
                job.phase = Phase::Ended;
                self.actions.push_back(Action::Job(job.id, JobEvent::Ended));
            }
        }
    }

    fn stop(&mut self, now: Now, mode: StopMode) {
        match mode {
            StopMode::Graceful => {
                self.stopping = true;
                let ids = self.jobs.keys().copied().collect::<Vec<_>>();
                for job in ids {
                    self.kill_job(now, job);
                }
            }
            StopMode::Now => self.tear_down(now),
        }
    }

    fn tear_down(&mut self, now: Now) {
        let call = self.session.call(call::Type::Teardown);
        self.send(call);
        self.session.handle(now, SessionInput::Stop);
        self.follow_session(now);
    }

    fn is_hungry(&self) -> bool {
        self.jobs.values().any(|job| job.wanted() > 0)
    }

    fn table(&self) -> Table {
        let timing = &self.config.timing;
        let agents = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        let by_agents = timing.revive_interval_per_agent.saturating_mul(agents);
        Table {
            hungry: self.is_hungry(),
            working: self.jobs.values().map(|job| job.slots).sum(),
            interval: timing.revive_interval.max(by_agents),
            delay: timing.revive_delay,
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.push_back(Action::Notice(notice));
    }
}
