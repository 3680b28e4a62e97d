//! The life of one command, decided without I/O.
//!
//! ```text
//!         LAUNCH             spawned                     exited
//!  Idle ──────────▶ Spawning ───────▶ Running ───────────────────▶ Ended ──ACK──▶ (exit)
//!                    STARTING          RUNNING    │                terminal      or 60 s
//!                                                 │ KILL, SHUTDOWN, time over, unhealthy
//!                                                 ▼
//!                                              Running { end: SIGTERM, grace, SIGKILL }
//! ```
//!
//! * *Idle*: subscribed, waiting for the task.
//! * *Spawning*: a process is there at once, a container takes its time; a KILL waits for it.
//! * *Running*: the command's process lives, perhaps on its way out.
//! * *Ended*: the terminal update waits for its acknowledgement.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::{
    mesos::v1::{
        CheckStatusInfo, ContainerStatus, KillPolicy, NetworkInfo, TaskId, TaskInfo, TaskState,
        TaskStatus,
        executor::{Call, Event, event},
        framework_info,
        network_info::IpAddress,
        task_status::{Reason, Source},
    },
    status,
};

use super::{
    check::{Answer, Health, Judgement, Probe, Watch},
    config::Config,
    running::{Cause, End, Running, empty_check, grace_of},
    session::{Loss, Session},
};
use crate::clock::Now;

/// From SIGTERM to SIGKILL, if nobody says otherwise.
const KILL_GRACE: Duration = Duration::from_secs(3);
/// The same after `max_completion_time`: no more than a process needs to take note.
const OVERTIME_GRACE: Duration = Duration::from_millis(100);
/// What the last update needs of a shutdown's grace period.
const REPORTING: Duration = Duration::from_secs(2);
/// How long the terminal update may wait for its acknowledgement.
const FAREWELL: Duration = Duration::from_secs(60);

/// A fact.
#[derive(Debug)]
pub(super) enum Input {
    /// The agent said something.
    Event(Box<Event>),
    /// The stream or a call broke, or no connection could be made.
    Lost,
    /// The agent will never have this executor.
    Refused(String),
    /// The command's process, or its container, runs.
    Spawned(Option<Box<Placed>>),
    /// The command's process ended, as wait(2) gives it.
    Exited(i32),
    /// The container could not be asked for.
    NotRun(String),
    /// A health check's probe is done.
    Healthy(Answer),
    /// A check's probe is done.
    Watched(Answer),
    /// The time of [`Core::poll_wake`] has come.
    Wake,
}

/// An order to the edge.
#[derive(Debug)]
pub(super) enum Action {
    /// Opens a new stream, closing an old one.
    Subscribe(Call),
    /// Sends a call.
    Send(Call),
    /// Starts the task's command, with these variables on top of its own.
    Spawn(Box<TaskInfo>, Vec<(String, String)>),
    /// Sends SIGTERM to the command and all it started; a container gets SIGKILL after the time, too.
    Terminate(Duration),
    /// Sends SIGKILL to the command and all it started.
    Kill,
    /// Probes for the health check.
    Health(Probe, Option<Duration>),
    /// Probes for the check.
    Watch(Probe, Option<Duration>),
    /// Ends this process.
    Exit(Exit),
}

/// How this process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exit {
    /// Nothing is left to do.
    Done,
    /// For a reason worth a line.
    Failed(String),
}

/// What is known of a container that runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// The engine's own words about it.
    pub(super) data: Bytes,
    /// Its address, if it has one of its own.
    pub(super) ip: Option<String>,
}

/// Why a task is to end that does not run yet.
#[derive(Debug, Clone, Copy)]
struct Doomed {
    cause: Cause,
    grace: Duration,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Spawning(Box<TaskInfo>, Option<Doomed>),
    Running(Box<Running>),
    Ended { task: TaskId, uuid: Bytes, leave: Instant },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    session: Session,
    stage: Stage,
    tells_killing: bool,
    rng: rand::rngs::StdRng,
    actions: VecDeque<Action>,
}

impl Core {
    /// Makes an executor that subscribes at its first wake-up.
    pub(super) fn new(config: Config, now: Instant, seed: u64) -> Self {
        Self {
            session: Session::new(config, now),
            stage: Stage::Idle,
            tells_killing: false,
            rng: rand::SeedableRng::seed_from_u64(seed),
            actions: VecDeque::new(),
        }
    }

    /// Yields what is to be done next.
    pub(super) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if let Some(call) = self.session.poll_subscribe(now) {
            self.actions.push_back(Action::Subscribe(call));
        }
        self.actions.pop_front()
    }

    /// Tells when [`Input::Wake`] is due.
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Idle | Stage::Spawning(..) => None,
            Stage::Running(running) => running.poll_wake(),
            Stage::Ended { leave, .. } => Some(*leave),
        };
        [stage, self.session.poll_wake()].into_iter().flatten().min()
    }

    /// Takes a fact in.
    pub(super) fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Event(event) => self.handle_event(now, *event),
            Input::Lost => self.handle_lost(now),
            Input::Refused(why) => self.exit(Exit::Failed(why)),
            Input::Spawned(placed) => self.handle_spawned(now, placed),
            Input::Exited(status) => self.handle_exited(now, status),
            Input::NotRun(why) => self.handle_not_run(now, &why),
            Input::Healthy(answer) => self.handle_health(now, answer),
            Input::Watched(answer) => self.handle_watch(now, answer),
            Input::Wake => self.handle_wake(now),
        }
    }

    fn handle_event(&mut self, now: Now, event: Event) {
        match event.r#type() {
            event::Type::Subscribed => {
                self.session.handle_subscribed();
                self.send_updates();
                let capabilities = event.subscribed.map(|s| s.framework_info.capabilities);
                self.tells_killing = capabilities.unwrap_or_default().iter().any(|capability| {
                    capability.r#type() == framework_info::capability::Type::TaskKillingState
                });
            }
            event::Type::Launch => {
                if let Some(launch) = event.launch {
                    self.launch(now, launch.task);
                }
            }
            event::Type::LaunchGroup => {
                for task in event.launch_group.unwrap_or_default().task_group.tasks {
                    self.refuse(now, task);
                }
            }
            event::Type::Kill => {
                if let Some(kill) = event.kill {
                    self.handle_kill(now, &kill.task_id, kill.kill_policy.as_ref());
                }
            }
            event::Type::Acknowledged => {
                if let Some(acknowledged) = event.acknowledged {
                    self.handle_acknowledged(&acknowledged.uuid);
                }
            }
            event::Type::Shutdown => self.shut_down(now),
            event::Type::Error => {
                let message = event.error.map(|error| error.message).unwrap_or_default();
                self.exit(Exit::Failed(message));
            }
            event::Type::Unknown | event::Type::Message | event::Type::Heartbeat => {}
        }
    }

    fn launch(&mut self, now: Now, task: TaskInfo) {
        let known = match &self.stage {
            Stage::Idle => false,
            Stage::Spawning(known, _) => known.task_id == task.task_id,
            Stage::Running(running) => running.task.task_id == task.task_id,
            Stage::Ended { task: known, .. } => *known == task.task_id,
        };
        if known {
            return;
        }
        if !matches!(self.stage, Stage::Idle) || task.command.is_none() {
            self.refuse(now, task);
            return;
        }
        self.session.add_task(task.clone());
        let starting = TaskStatus {
            check_status: self.empty_check(now.instant, &task),
            ..self.status(now, &task.task_id, TaskState::TaskStarting)
        };
        self.tell(starting);
        let role = task
            .resources
            .iter()
            .find_map(|resource| resource.allocation_info.as_ref()?.role.clone());
        let environment = role.map(|role| ("MESOS_ALLOCATION_ROLE".to_owned(), role));
        let spawn = Action::Spawn(Box::new(task.clone()), environment.into_iter().collect());
        self.actions.push_back(spawn);
        self.stage = Stage::Spawning(Box::new(task), None);
    }

    /// Answers for a task that this executor cannot have.
    fn refuse(&mut self, now: Now, task: TaskInfo) {
        let message = match task.command {
            Some(_) => {
                format!("Attempted to run multiple tasks using a \"{}\" executor", self.kind())
            }
            None => "`command` of the task is not set".to_owned(),
        };
        let failed = TaskStatus {
            message: Some(message),
            ..self.status(now, &task.task_id, TaskState::TaskFailed)
        };
        self.session.add_task(task);
        self.tell(failed);
    }

    fn handle_spawned(&mut self, now: Now, placed: Option<Box<Placed>>) {
        let (task, doomed) = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Spawning(task, doomed) => (task, doomed),
            other @ (Stage::Idle | Stage::Running(_) | Stage::Ended { .. }) => {
                self.stage = other;
                return;
            }
        };
        let instant = now.instant;
        let checked = self.empty_check(instant, &task);
        let container = placed.as_ref().and_then(|placed| network_of(&task, placed.ip.as_ref()?));
        let update = TaskStatus {
            check_status: checked,
            data: placed.map(|placed| placed.data),
            container_status: container.clone(),
            ..self.status(now, &task.task_id, TaskState::TaskRunning)
        };
        self.tell(update);
        let overtime = task.max_completion_time.as_ref().map(|time| instant + time.to_duration());
        self.stage = Stage::Running(Box::new(Running {
            overtime,
            health: task.health_check.as_ref().and_then(|check| Health::new(instant, check)),
            watch: task
                .check
                .as_ref()
                .filter(|_| !self.in_container())
                .and_then(|check| Watch::new(instant, check)),
            healthy: None,
            checked,
            container,
            end: None,
            task: *task,
        }));
        if let Some(Doomed { cause, grace }) = doomed {
            self.kill(now, cause, grace);
        }
    }

    fn handle_kill(&mut self, now: Now, task: &TaskId, policy: Option<&KillPolicy>) {
        let known = match &self.stage {
            Stage::Spawning(task, _) => task,
            Stage::Running(running) => &running.task,
            Stage::Idle | Stage::Ended { .. } => return,
        };
        if known.task_id != *task {
            return;
        }
        let grace = grace_of(policy).unwrap_or_else(|| self.kill_grace(known));
        self.kill(now, Cause::Killed, grace);
    }

    /// How long a task that is killed lives on, if the kill does not say it.
    fn kill_grace(&self, task: &TaskInfo) -> Duration {
        let usual =
            if self.in_container() { self.session.config().shutdown_grace } else { KILL_GRACE };
        grace_of(task.kill_policy.as_ref()).unwrap_or(usual)
    }

    fn in_container(&self) -> bool {
        self.session.config().place.is_some()
    }

    fn kind(&self) -> &'static str {
        if self.in_container() { "docker" } else { "command" }
    }

    /// A task in a container has no checks: that executor does not know them.
    fn empty_check(&self, now: Instant, task: &TaskInfo) -> Option<CheckStatusInfo> {
        if self.in_container() { None } else { empty_check(now, task) }
    }

    /// Begins to end the command, or brings its end forward.
    fn kill(&mut self, now: Now, cause: Cause, grace: Duration) {
        if let Stage::Spawning(_, doomed) = &mut self.stage {
            doomed.get_or_insert(Doomed { cause, grace });
        }
        let in_container = self.in_container();
        let Stage::Running(running) = &mut self.stage else { return };
        if let Some(end) = &mut running.end {
            // A later order may shorten the grace period, never extend it.
            let sooner = end.since + grace;
            end.escalate = end.escalate.map(|at| at.min(sooner));
            return;
        }
        running.end = Some(End { cause, since: now.instant, escalate: Some(now.instant + grace) });
        running.health = None;
        running.watch = None;
        running.overtime = None;
        let (task, checked) =
            (running.task.task_id.clone(), running.checked_at_end(in_container, now.instant));
        if self.tells_killing && cause != Cause::Overtime {
            let killing = TaskStatus {
                healthy: (cause == Cause::Unhealthy).then_some(false),
                check_status: checked,
                ..self.status(now, &task, TaskState::TaskKilling)
            };
            self.tell(killing);
        }
        self.actions.push_back(Action::Terminate(grace));
    }

    fn handle_exited(&mut self, now: Now, wait_status: i32) {
        let in_container = self.in_container();
        let (task, cause, checked) = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Spawning(task, _) => (task.task_id, None, None),
            Stage::Running(running) => {
                let checked = running.checked_at_end(in_container, now.instant);
                let cause = running.end.map(|end| end.cause);
                (running.task.task_id, cause, checked)
            }
            other @ (Stage::Idle | Stage::Ended { .. }) => {
                self.stage = other;
                return;
            }
        };
        let good = status::is_success(wait_status);
        let state = match cause {
            // What ends well in a container after a kill has ended well.
            Some(Cause::Killed | Cause::Unhealthy) if good && in_container => {
                TaskState::TaskFinished
            }
            Some(Cause::Killed | Cause::Unhealthy) => TaskState::TaskKilled,
            Some(Cause::Overtime) => TaskState::TaskFailed,
            None if good => TaskState::TaskFinished,
            None => TaskState::TaskFailed,
        };
        let reason = (cause == Some(Cause::Overtime)).then_some(Reason::MaxCompletionTimeReached);
        let update = TaskStatus {
            message: Some(describe(wait_status, in_container)),
            reason: reason.map(Into::into),
            healthy: (cause == Some(Cause::Unhealthy)).then_some(false),
            check_status: checked,
            ..self.status(now, &task, state)
        };
        self.end(now, task, update);
    }

    fn handle_not_run(&mut self, now: Now, why: &str) {
        let Stage::Spawning(task, _) = &self.stage else { return };
        let task = task.task_id.clone();
        let update = TaskStatus {
            message: Some(format!("Failed to run docker container: {why}")),
            ..self.status(now, &task, TaskState::TaskFailed)
        };
        self.end(now, task, update);
    }

    /// Sends the terminal update; this process leaves once it is acknowledged.
    fn end(&mut self, now: Now, task: TaskId, update: TaskStatus) {
        self.stage = Stage::Ended {
            task,
            uuid: update.uuid.clone().unwrap_or_default(),
            leave: now.instant + FAREWELL,
        };
        self.tell(update);
        if self.session.is_orphaned() {
            self.exit(Exit::Done);
        }
    }

    fn handle_acknowledged(&mut self, uuid: &Bytes) {
        self.session.handle_acknowledged(uuid);
        if let Stage::Ended { uuid: terminal, .. } = &self.stage
            && terminal == uuid
        {
            self.exit(Exit::Done);
        }
    }

    fn handle_lost(&mut self, now: Now) {
        let jitter = rand::RngExt::random(&mut self.rng);
        match self.session.handle_lost(now.instant, jitter) {
            Loss::Temporary => {}
            Loss::Final => self.shut_down(now),
        }
    }

    fn shut_down(&mut self, now: Now) {
        match &self.stage {
            Stage::Spawning(..) if !self.in_container() => self.exit(Exit::Done),
            Stage::Idle => self.exit(Exit::Done),
            Stage::Spawning(..) | Stage::Running(_) => {
                let grace = self.session.config().shutdown_grace.saturating_sub(REPORTING);
                self.kill(now, Cause::Killed, grace);
            }
            Stage::Ended { .. } if self.session.is_orphaned() => self.exit(Exit::Done),
            Stage::Ended { .. } => {}
        }
    }

    fn handle_health(&mut self, now: Now, answer: Answer) {
        let Stage::Running(running) = &mut self.stage else { return };
        let Some(health) = &mut running.health else { return };
        let (healthy, kill) = match health.handle(now.instant, answer) {
            Judgement::Unchanged => return,
            Judgement::Healthy => (true, false),
            Judgement::Unhealthy { kill } => (false, kill),
        };
        running.healthy = Some(healthy);
        let task = running.task.clone();
        let grace = self.kill_grace(&task);
        self.repeat(now, Reason::TaskHealthCheckStatusUpdated);
        if kill {
            self.kill(now, Cause::Unhealthy, grace);
        }
    }

    fn handle_watch(&mut self, now: Now, answer: Answer) {
        let Stage::Running(running) = &mut self.stage else { return };
        let Some(watch) = &mut running.watch else { return };
        let Some(status) = watch.handle(now.instant, answer) else { return };
        running.checked = Some(status);
        self.repeat(now, Reason::TaskCheckStatusUpdated);
    }

    /// Tells RUNNING again, with what is known of health and checks.
    fn repeat(&mut self, now: Now, reason: Reason) {
        let Stage::Running(running) = &self.stage else { return };
        let (task, healthy) = (running.task.task_id.clone(), running.healthy);
        let check_status = running.checked;
        let container_status = running.container.clone();
        let update = TaskStatus {
            reason: Some(reason.into()),
            healthy,
            check_status,
            container_status,
            ..self.status(now, &task, TaskState::TaskRunning)
        };
        self.tell(update);
    }

    fn handle_wake(&mut self, now: Now) {
        let instant = now.instant;
        match &mut self.stage {
            Stage::Idle | Stage::Spawning(..) => {}
            Stage::Ended { leave, .. } => {
                if *leave <= instant {
                    self.exit(Exit::Failed("the last update was never acknowledged".to_owned()));
                }
            }
            Stage::Running(running) => {
                if let Some((probe, timeout)) =
                    running.health.as_mut().and_then(|health| health.poll(instant))
                {
                    self.actions.push_back(Action::Health(probe, timeout));
                }
                if let Some((probe, timeout)) =
                    running.watch.as_mut().and_then(|watch| watch.poll(instant))
                {
                    self.actions.push_back(Action::Watch(probe, timeout));
                }
                if let Some(end) = &mut running.end
                    && end.escalate.is_some_and(|at| at <= instant)
                {
                    end.escalate = None;
                    self.actions.push_back(Action::Kill);
                }
                if running.overtime.is_some_and(|at| at <= instant) {
                    self.kill(now, Cause::Overtime, OVERTIME_GRACE);
                }
            }
        }
    }

    /// Takes an update over and sends it, if there is a connection.
    fn tell(&mut self, status: TaskStatus) {
        self.session.add_update(status);
        self.send_updates();
    }

    fn send_updates(&mut self) {
        while let Some(call) = self.session.poll_update() {
            self.actions.push_back(Action::Send(call));
        }
    }

    fn exit(&mut self, exit: Exit) {
        self.actions.push_back(Action::Exit(exit));
    }

    fn status(&mut self, now: Now, task: &TaskId, state: TaskState) -> TaskStatus {
        let mut bytes = [0; 16];
        rand::Rng::fill_bytes(&mut self.rng, &mut bytes);
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        TaskStatus {
            task_id: task.clone(),
            state: state.into(),
            source: Some(Source::Executor.into()),
            executor_id: Some(self.session.config().executor.clone()),
            timestamp: Some(now.epoch),
            uuid: Some(Bytes::copy_from_slice(uuid.as_bytes())),
            ..TaskStatus::default()
        }
    }
}

fn describe(wait_status: i32, in_container: bool) -> String {
    let told = status::describe(wait_status);
    if in_container { told.replacen("Command", "Container", 1) } else { told }
}

/// The address of a container, beside what its network was asked for.
fn network_of(task: &TaskInfo, ip: &str) -> Option<ContainerStatus> {
    let asked = task.container.as_ref().and_then(|container| container.network_infos.first());
    let address = IpAddress { protocol: None, ip_address: Some(ip.to_owned()) };
    let network = NetworkInfo { ip_addresses: vec![address], ..asked.cloned().unwrap_or_default() };
    Some(ContainerStatus { network_infos: vec![network], ..ContainerStatus::default() })
}

#[cfg(test)]
mod tests;
