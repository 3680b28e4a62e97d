//! One job from its description to its summary.
//!
//! Owns the dispatcher: the one task that owns the core, performs its actions
//! and feeds it facts. Decides nothing about offers, batches and retries.
//!
//! ```text
//!             job ended                outputs fetched             TEARDOWN sent
//! Running ───────────────▶ Collecting ────────────────▶ Parting ───────────────▶ summary
//!    │ stop                    ▲
//!    ▼              job ended  │
//! Stopping ────────────────────┘
//! ```
//!
//! - *Running*: offers are turned into tasks.
//! - *Stopping*: what runs is killed, what waits will not start.
//! - *Collecting*: every task has ended; agents still have their files.
//! - *Parting*: the framework is torn down, and executors with it.

mod outputs;
mod tally;

use std::time::Duration;

use marmoset_scheduler_core::{
    Action, Core, Input, JobEvent as CoreEvent, JobId, SessionAction, SessionInput, StopMode,
    StopReason, WaitReason,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{FrameworkConfig, Job},
    error::{RunError, SessionError},
    event::{JobEvent, Progress},
    link::{Fact, Link},
    narrative,
    summary::{Outcome, Summary},
    time::{now, until},
    trace::{Recorder, Trace},
};
use outputs::Outputs;
use tally::Tally;

/// Pause between two reports of progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// Runs a job as a framework of its own, and tears the framework down at the end.
///
/// `events` tells how it goes; nothing waits for whoever reads it. When `stop` is cancelled, what
/// runs is killed, and the summary tells what was.
///
/// # Errors
/// The job could not be run: no master, not allowed, an executor that does not start. A task that
/// fails is no error.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn run(
    config: FrameworkConfig,
    job: impl Into<Job>,
    events: mpsc::Sender<JobEvent>,
    stop: CancellationToken,
) -> Result<Summary, RunError> {
    perform(config, job.into(), events, stop, |_| None).await.map(|(summary, _)| summary)
}

/// [`run`], and tells the times of every task: for measurements, some forty bytes for each.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`run`].
pub async fn run_traced(
    config: FrameworkConfig,
    job: impl Into<Job>,
    events: mpsc::Sender<JobEvent>,
    stop: CancellationToken,
) -> Result<(Summary, Trace), RunError> {
    perform(config, job.into(), events, stop, |begun| Some(Recorder::new(begun))).await
}

async fn perform(
    config: FrameworkConfig,
    job: Job,
    events: mpsc::Sender<JobEvent>,
    stop: CancellationToken,
    recorder: impl FnOnce(Instant) -> Option<Recorder>,
) -> Result<(Summary, Trace), RunError> {
    let Job { spec, output } = job;
    let outputs = match output {
        Some(folder) => Some(Outputs::new(folder, &config.connection, &spec)?),
        None => None,
    };
    let name = spec.name.clone();
    let is_empty = spec.items.count() == 0;
    let link = Link::new(&config.connection, config.core.framework.principal.as_deref())?;
    let program = config.core.executor.command.value.clone().unwrap_or_default();
    let mut core = Core::new(now(), config.core, rand::random());
    let id = core.submit(now(), spec)?;
    let begun = Instant::now();
    let mut dispatcher = Dispatcher {
        core,
        link,
        id,
        name,
        program,
        tally: Tally::new(begun),
        recorder: recorder(begun),
        outputs,
        events,
        phase: Phase::Running,
        failure: None,
        was_stopped: false,
        story: narrative::Connection::default(),
    };
    if is_empty {
        return Ok((dispatcher.summary(), Trace::default()));
    }
    let reason = dispatcher.dispatch(stop).await;
    dispatcher.end(reason).await
}

/// How far the run is; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Collecting,
    Parting,
}

/// What wakes the dispatcher.
#[derive(Debug)]
enum Wake {
    Core(Input),
    Stop,
    OutputFetched,
    ShowProgress,
}

struct Dispatcher {
    core: Core,
    link: Link,
    id: JobId,
    name: String,
    program: String,
    tally: Tally,
    /// Present if somebody wants the times of every task.
    recorder: Option<Recorder>,
    outputs: Option<Outputs>,
    events: mpsc::Sender<JobEvent>,
    phase: Phase,
    /// Why the run is given up, once it is.
    failure: Option<RunError>,
    was_stopped: bool,
    story: narrative::Connection,
}

impl Dispatcher {
    async fn dispatch(&mut self, stop: CancellationToken) -> StopReason {
        let mut ticks = interval(PROGRESS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(action) = self.core.poll_action() {
                if let Some(reason) = self.perform(action) {
                    return reason;
                }
            }
            if self.phase == Phase::Collecting && self.outputs.as_ref().is_none_or(Outputs::is_idle)
            {
                self.phase = Phase::Parting;
                self.core.handle(now(), Input::Stop(StopMode::Graceful));
                continue;
            }
            let wake = tokio::select! {
                biased;
                () = stop.cancelled(), if self.phase == Phase::Running => Wake::Stop,
                fact = self.link.next() => Wake::Core(input(fact)),
                () = fetched(&mut self.outputs) => Wake::OutputFetched,
                () = until(self.core.poll_wake().map(|(moment, _)| moment)) => {
                    Wake::Core(Input::Wake)
                }
                _ = ticks.tick() => Wake::ShowProgress,
            };
            match wake {
                Wake::Core(input) => self.core.handle(now(), input),
                Wake::Stop => {
                    self.phase = Phase::Stopping;
                    self.was_stopped = true;
                    self.core.handle(now(), Input::KillJob(self.id));
                }
                Wake::OutputFetched => {}
                Wake::ShowProgress => self.show_progress(),
            }
        }
    }

    /// Does one thing that the core wants; yields a reason when nothing follows.
    fn perform(&mut self, action: Action) -> Option<StopReason> {
        match action {
            Action::Session(action) => self.perform_session(action),
            Action::Send(call) => {
                tracing::trace!(call = call.r#type().as_str_name(), "sending");
                self.link.send(call);
            }
            Action::Job(_, event) => self.job_event(event),
            Action::Notice(notice) => narrative::notice(&mut self.story, &notice),
            Action::Finished(reason) => return Some(reason),
        }
        None
    }

    fn perform_session(&mut self, action: SessionAction) {
        match action {
            SessionAction::Subscribe(call) => self.link.subscribe(*call),
            SessionAction::Disconnect { why } => {
                tracing::debug!(why, "closing the connection");
                self.link.disconnect();
            }
            // A run ends with its process: nobody could take up its life.
            SessionAction::StoreFrameworkId(framework_id) => {
                tracing::debug!(%framework_id, "not stored");
            }
            // Notices tell these, and the core keeps events to itself.
            SessionAction::Subscribed { .. }
            | SessionAction::Unsubscribed { .. }
            | SessionAction::FrameworkRemoved
            | SessionAction::Event(_)
            | SessionAction::Stopped(_) => {}
        }
    }

    fn job_event(&mut self, event: CoreEvent) {
        match event {
            CoreEvent::Launched { location, items, width } => {
                narrative::launched(&location, items, width);
                self.tally.launched();
                if let Some(recorder) = &mut self.recorder {
                    recorder.launched(&location.task_id, Instant::now());
                }
            }
            CoreEvent::TaskStarted(start) => {
                narrative::started(&self.name, &start);
                self.tally.started();
            }
            CoreEvent::TaskRetried(retry) => narrative::retried(&self.name, &retry),
            CoreEvent::TaskEnded(end) => {
                narrative::ended(&self.name, &end);
                if let Some(outputs) = &mut self.outputs {
                    outputs.add(&self.name, &end);
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.ended(&end);
                }
                self.tally.ended(&self.name, &end, self.was_stopped, Instant::now());
            }
            CoreEvent::NeverStarted { begin, end } => self.tally.never_started(begin, end),
            CoreEvent::Waiting { waited, why } => self.waiting(waited, why),
            CoreEvent::Ended => {
                self.phase = Phase::Collecting;
                if let Some(outputs) = &mut self.outputs {
                    outputs.job_ended();
                }
            }
        }
    }

    fn waiting(&mut self, since: Duration, why: WaitReason) {
        if let WaitReason::ExecutorsFail { message, hostname } = &why
            && self.phase == Phase::Running
            && !self.tally.has_seen_a_task_run()
        {
            // Not one task ever ran: it is the executor, and waiting does not mend it.
            self.failure = Some(RunError::Executor {
                program: self.program.clone(),
                agent: hostname.clone(),
                message: message.clone(),
            });
            self.phase = Phase::Parting;
            self.core.handle(now(), Input::Stop(StopMode::Now));
            return;
        }
        self.tell(JobEvent::Waiting { since, why });
    }

    fn show_progress(&self) {
        if let Some(progress) = self.core.progress(self.id) {
            self.tell(JobEvent::Progress(Progress {
                total: progress.total,
                ended: self.tally.counts(),
                under_way: progress.under_way,
            }));
        }
    }

    /// What cannot be told now is old by the time it could be.
    fn tell(&self, event: JobEvent) {
        let _ = self.events.try_send(event);
    }

    async fn end(mut self, reason: StopReason) -> Result<(Summary, Trace), RunError> {
        let session = self.link.error(reason).map(RunError::from);
        let summary = self.summary();
        let counters = self.core.counters();
        let trace = self.recorder.map(|recorder| recorder.into_trace(counters)).unwrap_or_default();
        self.link.finish().await;
        match self.failure.or(session) {
            // It was to stop, and could not tell the master: the tasks are dead all the same.
            Some(RunError::Session(SessionError::Unreachable { .. })) if self.was_stopped => {
                Ok((summary, trace))
            }
            Some(error) => Err(error),
            None => Ok((summary, trace)),
        }
    }

    fn summary(&mut self) -> Summary {
        let tally = std::mem::replace(&mut self.tally, Tally::new(Instant::now()));
        let outcome = if self.was_stopped { Outcome::Stopped } else { Outcome::Complete };
        let warnings = self.outputs.as_mut().and_then(Outputs::take_warning).into_iter().collect();
        tally.into_summary(self.core.counters().executors, outcome, warnings)
    }
}

/// Waits for one output; for ever if none is on its way.
async fn fetched(outputs: &mut Option<Outputs>) {
    match outputs {
        Some(outputs) => outputs.next().await,
        None => std::future::pending().await,
    }
}

fn input(fact: Fact) -> Input {
    match fact {
        Fact::Connected => Input::Session(SessionInput::Connected),
        Fact::ConnectFailed(failure) => Input::Session(SessionInput::ConnectFailed(failure)),
        Fact::Event(event) => Input::Session(SessionInput::Event(event)),
        Fact::Disconnected { why } => Input::Session(SessionInput::Disconnected { why }),
        Fact::CallFailed { call, why } => Input::CallFailed { call, why },
    }
}
