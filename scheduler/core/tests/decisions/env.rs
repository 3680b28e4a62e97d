//! What decisions are written down with: facts go in, lines come out, and every line counts.

use std::time::{Duration, Instant};

use marmoset_proto::{
    marmoset::v1::{Control, IndexRange, ItemResult, Report, TaskSpec},
    mesos::v1::{
        CommandInfo, Offer, TaskInfo, TaskState, TaskStatus, resource,
        scheduler::{Call, Event, call, event},
        task_status::{Reason, Source},
    },
    resources::{self, Millis, Resources},
};
use marmoset_scheduler_core::{
    Action, BatchSize, Config, Core, ExecutorTemplate, Framework, Input, Items, JobEvent, JobId,
    JobSpec, Limits, Notice, Now, SessionAction, SessionInput, StopMode, StopReason, TaskEnd,
    Timing, WallTime,
};
use prost::Message;

pub struct Env {
    pub core: Core,
    start: Instant,
    elapsed: Duration,
    /// Calls as they were sent, for those who want one back.
    pub calls: Vec<Call>,
    /// Items that ended.
    pub ends: Vec<TaskEnd>,
    /// Whether notices count, too.
    pub notices: bool,
    trace: Vec<String>,
}

/// The wall clock at the start of every test.
const EPOCH: u64 = 1_800_000_000_000_000;

pub fn config() -> Config {
    let command = CommandInfo { value: Some("/x".to_owned()), ..CommandInfo::default() };
    Config {
        framework: Framework::new("test", "root"),
        executor: ExecutorTemplate::new(command),
        limits: Limits::default(),
        timing: Timing::default(),
    }
}

/// One cpu for each item.
pub fn job(count: u64, batch: u64) -> JobSpec {
    let command = CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() };
    let mut spec = JobSpec::new("j", command, Items::Array { count });
    spec.need.cpus = Millis(1000);
    spec.batch = match std::num::NonZeroU64::new(batch) {
        Some(items) => BatchSize::Fixed(items),
        None => BatchSize::Auto,
    };
    spec
}

impl Env {
    pub fn with(config: Config) -> Self {
        let start = Instant::now();
        let now = Now { instant: start, wall: WallTime(EPOCH) };
        Self {
            core: Core::new(now, config, 1),
            start,
            elapsed: Duration::ZERO,
            calls: Vec::new(),
            ends: Vec::new(),
            notices: false,
            trace: Vec::new(),
        }
    }

    /// A core that nothing was said to.
    pub fn new() -> Self {
        Self::with(config())
    }

    /// A core with a subscription and a job.
    pub fn running(spec: JobSpec) -> Self {
        let mut env = Self::new();
        env.submit(spec);
        env.subscribe();
        env.drain();
        env
    }

    pub fn now(&self) -> Now {
        let wall = WallTime(EPOCH + self.elapsed.as_micros() as u64);
        Now { instant: self.start + self.elapsed, wall }
    }

    pub fn submit(&mut self, spec: JobSpec) -> JobId {
        let now = self.now();
        self.core.submit(now, spec).unwrap()
    }

    pub fn input(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(now, input);
        self.collect();
    }

    pub fn session(&mut self, input: SessionInput) {
        self.input(Input::Session(input));
    }

    pub fn event(&mut self, kind: event::Type, fill: impl FnOnce(&mut Event)) {
        let mut event = Event { r#type: Some(kind.into()), ..Event::default() };
        fill(&mut event);
        self.session(SessionInput::Event(Box::new(event)));
    }

    pub fn subscribe(&mut self) {
        self.session(SessionInput::Connected);
        self.subscribed("F");
    }

    pub fn subscribed(&mut self, id: &str) {
        self.event(event::Type::Subscribed, |event| {
            event.subscribed = Some(event::Subscribed {
                framework_id: id.into(),
                heartbeat_interval_seconds: Some(15.0),
                master_info: None,
            });
        });
    }

    pub fn error(&mut self, message: &str) {
        self.event(event::Type::Error, |event| {
            event.error = Some(event::Error { message: message.to_owned() });
        });
    }

    /// Offers as `id agent resources [executor ids]`, all in one event.
    pub fn offers(&mut self, offers: &[(&str, &str, &str, &[&str])]) {
        let offers = offers.iter().map(|(id, agent, text, executors)| Offer {
            id: (*id).into(),
            framework_id: "F".into(),
            agent_id: (*agent).into(),
            hostname: format!("{agent}.example"),
            resources: resources::parse(text).unwrap().allocated("*").to_proto(),
            executor_ids: executors.iter().map(|id| (*id).into()).collect(),
            allocation_info: Some(resource::AllocationInfo { role: Some("*".to_owned()) }),
            ..Offer::default()
        });
        let offers = offers.collect();
        self.event(event::Type::Offers, |event| event.offers = Some(event::Offers { offers }));
    }

    pub fn offer(&mut self, id: &str, agent: &str, text: &str) {
        self.offers(&[(id, agent, text, &[])]);
    }

    pub fn update(&mut self, update: Update) {
        let timestamp = self.now().wall.0 as f64 / 1e6;
        let mut status = update.0;
        status.timestamp = Some(timestamp);
        self.event(event::Type::Update, |event| event.update = Some(event::Update { status }));
    }

    /// Lets time pass; wakes the core whenever it wants to be.
    pub fn advance(&mut self, by: Duration) {
        let target = self.elapsed + by;
        while let Some((due, _)) = self.core.poll_wake() {
            let due = due.saturating_duration_since(self.start);
            if due > target {
                break;
            }
            self.elapsed = self.elapsed.max(due);
            self.input(Input::Wake);
        }
        self.elapsed = target;
    }

    /// Notes what was decided, line by line.
    fn collect(&mut self) {
        while let Some(action) = self.core.poll_action() {
            if let Action::Send(call) = &action {
                self.calls.push((**call).clone());
            }
            if let Action::Job(_, JobEvent::TaskEnded(end)) = &action {
                self.ends.push(end.clone());
            }
            if let Some(line) = line(&action, self.notices) {
                let at = self.elapsed.as_secs_f64();
                self.trace.push(format!("{at:9.3}  {line}"));
            }
        }
    }

    /// Everything decided since the last look, without times.
    pub fn drain(&mut self) -> Vec<String> {
        self.collect();
        self.trace.drain(..).map(|line| line[11..].to_owned()).collect()
    }

    /// Everything decided since the last look, with times.
    pub fn timeline(&mut self) -> String {
        self.collect();
        let mut text = self.trace.drain(..).collect::<Vec<_>>().join("\n");
        text.push('\n');
        text
    }

    /// Checks that this was decided since the last look, and nothing else.
    #[track_caller]
    pub fn expect(&mut self, lines: &[&str]) {
        let decided = self.drain();
        assert_eq!(decided, lines, "\ndecided:\n{}\n", decided.join("\n"));
    }

    /// What the last ACCEPT says.
    pub fn last_accept_after_drain(&mut self) -> call::Accept {
        self.drain();
        self.last_accept().accept.unwrap()
    }

    /// The last ACCEPT that was sent.
    pub fn last_accept(&self) -> Call {
        let accepts = self.calls.iter().filter(|call| call.r#type() == call::Type::Accept);
        accepts.last().unwrap().clone()
    }
}

/// An update to be told.
pub struct Update(TaskStatus);

impl Update {
    /// From the executor, to be acknowledged.
    pub fn new(task: &str, state: TaskState, uuid: &str) -> Self {
        Self(TaskStatus {
            task_id: task.into(),
            state: state.into(),
            agent_id: Some("S0".into()),
            source: Some(Source::Executor.into()),
            uuid: Some(uuid.to_owned().into()),
            ..TaskStatus::default()
        })
    }

    /// From the master, not to be acknowledged.
    pub fn master(task: &str, state: TaskState, reason: Reason) -> Self {
        let mut update = Self::new(task, state, "");
        update.0.uuid = None;
        update.0.source = Some(Source::Master.into());
        update.0.reason = Some(reason.into());
        update
    }

    /// From the agent, to be acknowledged.
    pub fn agent(task: &str, state: TaskState, uuid: &str, reason: Reason) -> Self {
        let mut update = Self::new(task, state, uuid);
        update.0.source = Some(Source::Agent.into());
        update.0.reason = Some(reason.into());
        update
    }

    pub fn message(mut self, text: &str) -> Self {
        self.0.message = Some(text.to_owned());
        self
    }

    pub fn healthy(mut self, healthy: bool) -> Self {
        self.0.healthy = Some(healthy);
        self
    }

    pub fn data(mut self, data: &'static [u8]) -> Self {
        self.0.data = Some(data.into());
        self
    }

    /// Results as index and exit status: started after 1 ms, ended after 3.
    pub fn results(self, results: &[(u64, i32)]) -> Self {
        let results = results.iter().map(|(index, exit)| ItemResult {
            index: *index,
            state: (*exit != 0).then_some(TaskState::TaskFailed.into()),
            wait_status: Some(exit << 8),
            started_us: Some(1000),
            ended_us: Some(3000),
            ..ItemResult::default()
        });
        let report = Report {
            received_us: Some(EPOCH + 500),
            results: results.collect(),
            returned: Vec::new(),
        };
        self.report(report)
    }

    pub fn returned(self, begin: u64, end: u64) -> Self {
        let returned = vec![IndexRange { begin, end }];
        self.report(Report { returned, ..Report::default() })
    }

    pub fn report(mut self, report: Report) -> Self {
        self.0.data = Some(report.encode_to_vec().into());
        self
    }
}

fn line(action: &Action, notices: bool) -> Option<String> {
    Some(match action {
        Action::Session(action) => session_line(action),
        Action::Send(call) => call_line(call),
        Action::Job(_, event) => job_line(event)?,
        Action::Notice(notice) if notices => notice_line(notice)?,
        Action::Notice(_) => return None,
        Action::Finished(reason) => format!("finished: {}", reason_text(reason)),
    })
}

fn reason_text(reason: &StopReason) -> String {
    match reason {
        StopReason::Requested => "requested".to_owned(),
        StopReason::FailedOver => "failed over".to_owned(),
        StopReason::Rejected { message } => format!("rejected, {message}"),
        StopReason::Unreachable { why } => format!("unreachable, {why}"),
    }
}

fn session_line(action: &SessionAction) -> String {
    match action {
        SessionAction::Subscribe(call) => {
            let subscribe = call.subscribe.as_ref().unwrap();
            let id = call.framework_id.as_ref().map_or("-", |id| id.as_str());
            assert_eq!(call.framework_id, subscribe.framework_info.id, "both ids");
            let suppressed = if subscribe.suppressed_roles.is_empty() { "" } else { " suppressed" };
            format!("SUBSCRIBE {id}{suppressed}")
        }
        SessionAction::Disconnect { why } => format!("disconnect: {why}"),
        SessionAction::StoreFrameworkId(id) => format!("store {id}"),
        SessionAction::Subscribed { framework_id, .. } => format!("subscribed {framework_id}"),
        SessionAction::Unsubscribed { why } => format!("unsubscribed: {why}"),
        SessionAction::FrameworkRemoved => "framework removed".to_owned(),
        SessionAction::Event(_) => panic!("an event among the actions"),
        SessionAction::Stopped(reason) => format!("stopped: {}", reason_text(reason)),
    }
}

fn call_line(call: &Call) -> String {
    let name = call.r#type().as_str_name();
    assert!(call.framework_id.is_some(), "{name} without framework id");
    match call.r#type() {
        call::Type::Accept => {
            let accept = call.accept.as_ref().unwrap();
            let ids = accept.offer_ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" ");
            let refuse = accept.filters.as_ref().unwrap().refuse_seconds.unwrap();
            let tasks = accept.operations.iter().flat_map(|operation| {
                operation.launch.as_ref().unwrap().task_infos.iter().map(task_text)
            });
            let tasks = tasks.collect::<Vec<_>>().join(", ");
            format!("ACCEPT {ids} refuse {refuse}: {tasks}")
        }
        call::Type::Decline => {
            let decline = call.decline.as_ref().unwrap();
            let ids = decline.offer_ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" ");
            let refuse = decline.filters.as_ref().unwrap().refuse_seconds.unwrap();
            format!("DECLINE {ids} refuse {refuse}")
        }
        call::Type::Acknowledge => {
            let acknowledge = call.acknowledge.as_ref().unwrap();
            let uuid = String::from_utf8_lossy(&acknowledge.uuid);
            format!("ACKNOWLEDGE {} {uuid}", acknowledge.task_id)
        }
        call::Type::Kill => {
            let kill = call.kill.as_ref().unwrap();
            let agent = kill.agent_id.as_ref().map_or("?", |id| id.as_str());
            format!("KILL {} at {agent}", kill.task_id)
        }
        call::Type::Reconcile => {
            let tasks = &call.reconcile.as_ref().unwrap().tasks;
            let tasks = tasks
                .iter()
                .map(|task| format!("{} at {}", task.task_id, task.agent_id.as_ref().unwrap()));
            let tasks = tasks.collect::<Vec<_>>().join(", ");
            format!("RECONCILE {}", if tasks.is_empty() { "all" } else { &tasks })
        }
        call::Type::Message => {
            let message = call.message.as_ref().unwrap();
            let control = Control::decode(message.data.as_ref()).unwrap();
            let select = control.take_back.unwrap();
            let indices = select.indices.iter().map(|range| range_text(range.begin, range.end));
            let indices = indices.collect::<Vec<_>>().join(" ");
            let (executor, agent) = (&message.executor_id, &message.agent_id);
            format!("MESSAGE {executor} at {agent}: take back {} {indices}", select.task_id)
        }
        call::Type::Revive | call::Type::Suppress | call::Type::Teardown => name.to_owned(),
        other => panic!("unexpected call {other:?}"),
    }
}

fn range_text(begin: u64, end: u64) -> String {
    if begin == end { begin.to_string() } else { format!("{begin}-{end}") }
}

fn task_text(task: &TaskInfo) -> String {
    let spec = TaskSpec::decode(task.data.clone().unwrap()).unwrap();
    let executor = &task.executor.as_ref().unwrap().executor_id;
    let cpus = Resources::from_proto(&task.resources).unwrap().cpus().unwrap_or_default();
    let what = match (&spec.item, &spec.batch) {
        (Some(item), None) => item_text(item),
        (None, Some(batch)) => {
            let ranges = batch.ranges.iter().map(|range| range_text(range.begin, range.end));
            let items = ranges.chain(batch.items.iter().map(item_text)).collect::<Vec<_>>();
            format!("{} x{}", items.join(" "), batch.width())
        }
        other => panic!("{other:?}"),
    };
    format!("{}({what} cpus:{cpus} {executor})", task.task_id)
}

fn item_text(item: &marmoset_proto::marmoset::v1::Item) -> String {
    let attempt = match item.attempt() {
        0 => String::new(),
        again => format!("r{again}"),
    };
    let line = item.line.as_deref().map(|line| format!("={line}")).unwrap_or_default();
    format!("{}{attempt}{line}", item.index)
}

fn job_line(event: &JobEvent) -> Option<String> {
    Some(match event {
        JobEvent::Launched { .. } => return None,
        JobEvent::TaskStarted(start) => format!("started {}", start.index),
        JobEvent::TaskRetried(retry) => {
            format!("retry {}.{} {:?}: {}", retry.index, retry.attempt, retry.why, retry.text)
        }
        JobEvent::TaskEnded(end) => {
            format!("ended {}.{} {}: {}", end.index, end.attempt, end.state, end.text())
        }
        JobEvent::NeverStarted { begin, end } => {
            format!("never started {}", range_text(*begin, *end))
        }
        JobEvent::Waiting { waited, why } => format!("waiting {}s: {why}", waited.as_secs()),
        JobEvent::Ended => "job ended".to_owned(),
    })
}

fn notice_line(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::CallFailed { call, why } => format!("note: {call} failed, {why}"),
        Notice::Malformed { what } => format!("note: {what}"),
        Notice::ExecutorEnded { agent_id, executor_id } => {
            format!("note: {executor_id} at {agent_id} ended")
        }
        Notice::Rescinded { offer_id } => format!("note: {offer_id} rescinded"),
        Notice::Offered { offer_id, hostname, resources, .. } => {
            format!("note: {offer_id} from {hostname}: {resources}")
        }
        Notice::Updated { task_id, state, .. } => {
            format!("note: {task_id} is {}", state.short_name())
        }
        Notice::Subscribed { .. }
        | Notice::Unsubscribed { .. }
        | Notice::FrameworkRemoved
        | Notice::Declined { .. } => return None,
    })
}

pub fn stop(mode: StopMode) -> Input {
    Input::Stop(mode)
}
