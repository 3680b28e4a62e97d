//! An agent and a runtime for tests: the clock jumps, everything is written down.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::{
    marmoset::v1::Report,
    mesos::v1::{
        AgentInfo, DurationInfo, ExecutorInfo, FrameworkInfo, KillPolicy, TaskGroupInfo, TaskInfo,
        TaskStatus,
        executor::{Call, Event, event},
        framework_info::{Capability, capability},
    },
};
use prost::Message as _;

use crate::{
    Action, Answer, Attempt, CallId, Checkpoint, Config, ConnectionId, Core, Disconnection, Input,
    LaneId, Note, Now, Probe, RunEvent, RunId, Signal, StrandId, WallTime,
};

/// Wall clock at the start of a simulation.
const EPOCH: u64 = 1_800_000_000_000_000;

pub(super) struct Sim {
    pub(super) core: Core,
    start: Instant,
    pub(super) at: Duration,
    /// Everything that happened, one line each.
    pub(super) log: String,
    pub(super) connection: Option<ConnectionId>,
    /// The SUBSCRIBE of the last connection.
    pub(super) subscribe: Option<Call>,
    /// Calls that were not answered.
    pub(super) calls: VecDeque<(CallId, TaskStatus)>,
    /// Which lane each of them is in.
    lanes: BTreeMap<LaneId, CallId>,
    /// Updates that the agent got and has not acknowledged.
    pub(super) unacknowledged: VecDeque<TaskStatus>,
    /// Runs that the runtime got, by task.
    pub(super) runs: BTreeMap<String, RunId>,
    pub(super) signals: Vec<(RunId, Signal)>,
    /// Probes under way, the oldest first.
    pub(super) probes: Vec<Probe>,
    /// The framework wants TASK_KILLING.
    pub(super) killing_state: bool,
    pub(super) exit: Option<crate::Exit>,
    names: BTreeMap<Bytes, usize>,
    pub(super) spawned: BTreeSet<RunId>,
    strands: BTreeMap<RunId, StrandId>,
    /// Runs that were not the first of their strand: they need no place to start.
    pub(super) followers: BTreeSet<RunId>,
    /// Runs that the core has given up or wants back.
    cancelled: BTreeSet<RunId>,
}

pub(super) fn config() -> Config {
    Config::new("framework".into(), "executor".into(), [9; 32])
}

pub(super) fn checkpointing() -> Config {
    let checkpoint = Checkpoint::On {
        recovery_timeout: Duration::from_secs(900),
        backoff_max: Duration::from_secs(2),
    };
    Config { checkpoint, ..config() }
}

/// A task whose data is this JSON.
pub(super) fn task(id: &str, spec: &str) -> TaskInfo {
    let data = Some(Bytes::copy_from_slice(spec.as_bytes()));
    TaskInfo { name: id.into(), task_id: id.into(), data, ..TaskInfo::default() }
}

/// A task of one command.
pub(super) fn single(id: &str) -> TaskInfo {
    task(id, r#"{"command": {"value": "work"}}"#)
}

/// A task of one command that needs a file.
pub(super) fn slow(id: &str) -> TaskInfo {
    task(id, r#"{"command": {"value": "work", "uris": [{"value": "/a"}]}}"#)
}

/// A batch of the items 0 to n - 1 of job `j`.
pub(super) fn batch(id: &str, n: u64, width: u32) -> TaskInfo {
    let last = n - 1;
    task(
        id,
        &format!(
            r#"{{"batch": {{"command": {{"value": "work"}}, "job": "j-{id}", "width": {width},
                "ranges": [{{"begin": 0, "end": {last}}}]}}}}"#
        ),
    )
}

/// The same with a file that each item needs.
pub(super) fn slow_batch(id: &str, n: u64, width: u32) -> TaskInfo {
    let last = n - 1;
    task(
        id,
        &format!(
            r#"{{"batch": {{"command": {{"value": "work", "uris": [{{"value": "/a"}}]}},
                "job": "j-{id}", "width": {width}, "ranges": [{{"begin": 0, "end": {last}}}]}}}}"#
        ),
    )
}

pub(super) fn policy(grace: Duration) -> KillPolicy {
    KillPolicy { grace_period: Some(DurationInfo::from(grace)) }
}

pub(super) fn event(kind: event::Type) -> Event {
    Event { r#type: Some(kind.into()), ..Event::default() }
}

impl Sim {
    /// A core that has just sent its first SUBSCRIBE.
    pub(super) fn new(config: Config) -> Self {
        let start = Instant::now();
        let core = Core::new(config, Now { instant: start, wall: WallTime(EPOCH) });
        let mut sim = Self {
            core,
            start,
            at: Duration::ZERO,
            log: String::new(),
            connection: None,
            subscribe: None,
            calls: VecDeque::new(),
            lanes: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            runs: BTreeMap::new(),
            signals: Vec::new(),
            probes: Vec::new(),
            killing_state: true,
            exit: None,
            names: BTreeMap::new(),
            spawned: BTreeSet::new(),
            strands: BTreeMap::new(),
            followers: BTreeSet::new(),
            cancelled: BTreeSet::new(),
        };
        sim.perform();
        sim
    }

    /// A core that is subscribed.
    pub(super) fn subscribed(config: Config) -> Self {
        let mut sim = Self::new(config);
        sim.accept();
        sim
    }

    pub(super) fn wall(&self) -> WallTime {
        WallTime(EPOCH + self.at.as_micros() as u64)
    }

    pub(super) fn input(&mut self, input: Input) {
        let now = Now { instant: self.start + self.at, wall: self.wall() };
        self.core.handle(now, input);
        self.perform();
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.log, "{:>9.3} {text}", self.at.as_secs_f64());
    }

    /// Takes everything that was written down since the last time.
    pub(super) fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log)
    }

    /// Lets time pass, with all the wake-ups in it.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.at + time;
        while let Some((at, _)) = self.core.poll_wake()
            && at <= self.start + end
        {
            self.at = self.at.max(at.saturating_duration_since(self.start));
            self.input(Input::Wake);
        }
        self.at = end;
    }

    /// The agent accepts the last SUBSCRIBE and takes its updates over.
    pub(super) fn accept(&mut self) {
        let connection = self.connection.expect("a connection was asked for");
        self.line("agent: SUBSCRIBED");
        self.input(Input::Connected(connection));
        let repeated = self.subscribe.take().and_then(|call| call.subscribe).unwrap_or_default();
        for update in repeated.unacknowledged_updates {
            self.unacknowledged.push_back(update.status);
        }
        let capability = Capability { r#type: Some(capability::Type::TaskKillingState.into()) };
        let capabilities = self.killing_state.then_some(capability).into_iter().collect();
        let subscribed = event::Subscribed {
            executor_info: ExecutorInfo::default(),
            framework_info: FrameworkInfo { capabilities, ..FrameworkInfo::default() },
            agent_info: AgentInfo { id: Some("agent".into()), ..AgentInfo::default() },
            container_id: None,
        };
        self.event(Event { subscribed: Some(subscribed), ..event(event::Type::Subscribed) });
    }

    pub(super) fn event(&mut self, event: Event) {
        let connection = self.connection.expect("there is a connection");
        self.input(Input::Event(connection, Box::new(event)));
    }

    pub(super) fn launch(&mut self, task: TaskInfo) {
        self.line(&format!("agent: LAUNCH {}", task.task_id));
        let launch = Some(event::Launch { task });
        self.event(Event { launch, ..event(event::Type::Launch) });
    }

    pub(super) fn launch_group(&mut self, tasks: Vec<TaskInfo>) {
        self.line("agent: LAUNCH_GROUP");
        let launch_group = Some(event::LaunchGroup { task_group: TaskGroupInfo { tasks } });
        self.event(Event { launch_group, ..event(event::Type::LaunchGroup) });
    }

    pub(super) fn kill(&mut self, id: &str, grace: Option<Duration>) {
        self.line(&format!("agent: KILL {id}"));
        let kill = Some(event::Kill { task_id: id.into(), kill_policy: grace.map(policy) });
        self.event(Event { kill, ..event(event::Type::Kill) });
    }

    pub(super) fn message(&mut self, control: &str) {
        self.line("agent: MESSAGE");
        let data = Bytes::copy_from_slice(control.as_bytes());
        let message = Some(event::Message { data });
        self.event(Event { message, ..event(event::Type::Message) });
    }

    pub(super) fn shutdown(&mut self) {
        self.line("agent: SHUTDOWN");
        self.event(event(event::Type::Shutdown));
    }

    pub(super) fn lose_stream(&mut self) {
        self.line("stream ends");
        let connection = self.connection.take().expect("there is a connection");
        self.calls.clear();
        self.input(Input::Disconnected(connection, Disconnection::Ended));
    }

    /// Answers the oldest call with 202.
    pub(super) fn answer(&mut self) -> bool {
        self.answer_one(0)
    }

    /// Answers one of those calls: they are in different lanes.
    pub(super) fn answer_one(&mut self, at: usize) -> bool {
        let Some((call, status)) = self.calls.remove(at) else { return false };
        self.lanes.retain(|_, other| *other != call);
        self.unacknowledged.push_back(status);
        self.input(Input::CallDone(call));
        true
    }

    /// Acknowledges the oldest update that the agent has.
    pub(super) fn acknowledge(&mut self) -> bool {
        let Some(status) = self.unacknowledged.pop_front() else { return false };
        self.acknowledge_one(&status);
        true
    }

    pub(super) fn acknowledge_one(&mut self, status: &TaskStatus) {
        let acknowledged = Some(event::Acknowledged {
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap_or_default(),
        });
        self.event(Event { acknowledged, ..event(event::Type::Acknowledged) });
    }

    /// Answers and acknowledges until there is nothing left.
    pub(super) fn flush(&mut self) {
        while self.answer() || self.acknowledge() {}
    }

    pub(super) fn run(&self, task: &str) -> RunId {
        *self.runs.get(task).unwrap_or_else(|| panic!("`{task}` was not spawned"))
    }

    pub(super) fn started(&mut self, task: &str) {
        let (run, at) = (self.run(task), self.wall());
        self.input(Input::Run(run, RunEvent::Started { at, details: None }));
    }

    pub(super) fn exited(&mut self, task: &str, wait_status: i32) {
        self.line(&format!("{task} exits, wait status {wait_status}"));
        let (run, at) = (self.run(task), self.wall());
        self.runs.remove(task);
        let (stdout_bytes, stderr_bytes, remark) = (0, 0, None);
        let exited = RunEvent::Exited { wait_status, at, stdout_bytes, stderr_bytes, remark };
        self.input(Input::Run(run, exited));
    }

    /// Answers the oldest probe.
    pub(super) fn probed(&mut self, answer: Answer) {
        assert!(!self.probes.is_empty(), "no probe is under way: {}", self.log);
        let probe = self.probes.remove(0);
        self.line(&format!("probe of {} gives {answer:?}", probe.spawn.task));
        self.input(Input::Probed(probe.id, answer));
    }

    /// Lets time pass until a probe is made.
    pub(super) fn next_probe(&mut self) -> &Probe {
        while self.probes.is_empty() {
            let (at, _) = self.core.poll_wake().expect("a probe is to come");
            self.pass((at - self.start).saturating_sub(self.at));
        }
        &self.probes[0]
    }

    pub(super) fn refused(&mut self, task: &str, message: &str) {
        let (run, at) = (self.run(task), self.wall());
        self.runs.remove(task);
        self.input(Input::Run(
            run,
            RunEvent::Refused { message: message.into(), reason: None, at },
        ));
    }

    /// Whether another run is to end before this one may start.
    pub(super) fn is_behind(&self, run: RunId) -> bool {
        let Some(strand) = self.strands.get(&run) else { return false };
        self.runs.values().any(|other| *other < run && self.strands.get(other) == Some(strand))
    }

    /// Tasks whose runs the core has given up or wants back.
    pub(super) fn cancelled_tasks(&self) -> Vec<String> {
        let tasks = self.runs.iter().filter(|(_, run)| self.cancelled.contains(run));
        tasks.map(|(task, _)| task.clone()).collect()
    }

    /// The runtime gives a run back that it has not started.
    pub(super) fn returned(&mut self, task: &str) {
        self.line(&format!("{task} is given back"));
        let run = self.run(task);
        self.runs.remove(task);
        self.input(Input::Run(run, RunEvent::Returned));
    }

    /// The runtime gives a run up that it was told to cancel.
    pub(super) fn cancelled(&mut self, task: &str) {
        self.line(&format!("{task} is given up"));
        self.refused(task, "Killed before it was started");
    }

    fn perform(&mut self) {
        while let Some(action) = self.core.poll_action() {
            assert!(self.exit.is_none(), "nothing follows the end: {action:?}");
            let line = self.show(&action);
            self.line(&line);
            match action {
                Action::Subscribe(connection, call) => {
                    self.connection = Some(connection);
                    self.calls.clear();
                    self.subscribe = Some(*call);
                }
                Action::Disconnect => self.connection = None,
                Action::Update(call, lane, body) => {
                    let twin = self.lanes.insert(lane, call);
                    assert!(twin.is_none_or(|twin| !self.calls.iter().any(|(id, _)| *id == twin)));
                    let status = body.update.expect("an UPDATE").status;
                    self.calls.push_back((call, status));
                }
                Action::Spawn(spawn) => {
                    assert!(self.spawned.insert(spawn.run), "a run starts once");
                    let twin = self.runs.insert(spawn.task.clone(), spawn.run);
                    assert_eq!(twin, None, "`{}` runs twice", spawn.task);
                    if let Some(strand) = spawn.strand {
                        if self.strands.values().any(|other| *other == strand) {
                            self.followers.insert(spawn.run);
                        }
                        self.strands.insert(spawn.run, strand);
                    }
                }
                Action::Signal(run, signal) => {
                    assert!(self.spawned.contains(&run));
                    self.signals.push((run, signal));
                }
                Action::Probe(probe) => {
                    assert!(self.spawned.contains(&probe.spawn.run), "a run that was started");
                    assert!(
                        self.probes.iter().filter(|p| p.spawn.run == probe.spawn.run).count() < 2,
                        "one of each check at a time"
                    );
                    self.probes.push(*probe);
                }
                Action::Abandon(id) => {
                    let at = self.probes.iter().position(|probe| probe.id == id);
                    self.probes.remove(at.expect("only what is under way is abandoned"));
                }
                Action::Cancel(run) => {
                    assert!(self.spawned.contains(&run));
                    self.cancelled.insert(run);
                }
                Action::Note(_) => {}
                Action::Exit(exit) => self.exit = Some(exit),
            }
        }
    }

    fn show(&mut self, action: &Action) -> String {
        match action {
            Action::Subscribe(_, call) => {
                let subscribe = call.subscribe.clone().unwrap_or_default();
                let mut text = "SUBSCRIBE".to_string();
                for task in subscribe.unacknowledged_tasks {
                    let _ = write!(text, " {}", task.task_id);
                }
                for update in subscribe.unacknowledged_updates {
                    let _ = write!(text, " [{}]", self.show_status(&update.status));
                }
                text
            }
            Action::Disconnect => "disconnect".to_string(),
            Action::Update(_, _, call) => {
                let status = &call.update.as_ref().expect("an UPDATE").status;
                format!("UPDATE {}", self.show_status(status))
            }
            Action::Spawn(spawn) => {
                let behind = if self.strand_is_busy(spawn.strand) { " behind others" } else { "" };
                format!("spawn {} ports {:?}{behind}", spawn.task, spawn.ports)
            }
            Action::Signal(run, signal) => {
                format!("signal {} {signal:?}", self.name(*run))
            }
            Action::Probe(probe) => {
                let kind = match &*probe.attempt {
                    Attempt::Command(_) => "COMMAND",
                    Attempt::Http(_) => "HTTP",
                    Attempt::Tcp(_) => "TCP",
                };
                format!("probe {} {kind}", probe.spawn.task)
            }
            Action::Abandon(id) => {
                let probe = self.probes.iter().find(|probe| probe.id == *id);
                format!("abandon the probe of {}", probe.map_or("?", |probe| &probe.spawn.task))
            }
            Action::Cancel(run) => format!("cancel {}", self.name(*run)),
            Action::Note(note) => format!("note: {}", show_note(note)),
            Action::Exit(exit) => format!("exit: {exit:?}"),
        }
    }

    fn strand_is_busy(&self, strand: Option<StrandId>) -> bool {
        strand.is_some_and(|strand| {
            self.runs.values().any(|run| self.strands.get(run) == Some(&strand))
        })
    }

    fn name(&self, run: RunId) -> &str {
        let task = self.runs.iter().find(|(_, id)| **id == run).map(|(task, _)| task);
        task.map_or("?", |task| task.as_str())
    }

    fn show_status(&mut self, status: &TaskStatus) -> String {
        let next = self.names.len() + 1;
        let uuid = status.uuid.clone().expect("every update has a uuid");
        let number = *self.names.entry(uuid).or_insert(next);
        let mut text = format!("#{number} {} {}", status.task_id, status.state().short_name());
        if let Some(message) = &status.message {
            let _ = write!(text, " `{message}`");
        }
        if status.reason.is_some() {
            let _ = write!(text, " {}", status.reason().as_str_name());
        }
        if let Some(healthy) = status.healthy {
            let _ = write!(text, " healthy={healthy}");
        }
        if let Some(check) = &status.check_status {
            let command = check.command.as_ref().map(|command| command.exit_code);
            let http = check.http.as_ref().map(|http| http.status_code);
            let tcp = check.tcp.as_ref().map(|tcp| tcp.succeeded);
            let _ = write!(text, " check");
            let _ = command.map(|code| write!(text, " exit_code={code:?}"));
            let _ = http.map(|code| write!(text, " status_code={code:?}"));
            let _ = tcp.map(|succeeded| write!(text, " succeeded={succeeded:?}"));
        }
        if let Some(data) = &status.data {
            let report = Report::decode(data.clone()).expect("a report");
            for result in &report.results {
                let _ = write!(text, " {}:{}", result.index, result.state().short_name());
            }
            for range in &report.returned {
                let _ = write!(text, " returned {}-{}", range.begin, range.end);
            }
        }
        text
    }
}

fn show_note(note: &Note) -> String {
    match note {
        Note::Subscribed { tasks, updates, .. } => {
            format!("subscribed, {tasks} tasks and {updates} updates not acknowledged")
        }
        Note::Disconnected { reason, .. } => format!("disconnected: {reason}"),
        Note::ShuttingDown { reason, within } => {
            format!("shutting down within {within:?}: {reason}")
        }
        Note::TaskReceived { task, items } => format!("received {task} of {items}"),
        Note::TaskEnded { task, state, .. } => format!("ended {task} {state}"),
        Note::TaskRefused { task, message } => format!("refused {task}: {message}"),
        Note::Unhealthy { task, failures, limit, reason } => {
            format!("{task} is not healthy, {failures} of {limit}: {reason}")
        }
        Note::FailureIgnored { task, reason } => format!("failure of {task} ignored: {reason}"),
        Note::CheckFailed { task, reason } => format!("check of {task} gave nothing: {reason}"),
        Note::LaunchIgnored { task, reason } => format!("LAUNCH of {task} ignored: {reason}"),
        Note::KillIgnored { task } => format!("KILL of {task} ignored"),
        Note::AcknowledgementIgnored { task, .. } => format!("acknowledgement for {task} ignored"),
        Note::MessageIgnored { reason } => format!("MESSAGE ignored: {reason}"),
        Note::EventIgnored { kind } => format!("event {kind} ignored"),
        Note::AcknowledgementOverdue { task, .. } => format!("acknowledgement for {task} overdue"),
        Note::LauncherDied { reason, runs } => format!("launcher died with {runs} runs: {reason}"),
    }
}
