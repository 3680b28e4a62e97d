//! The task that owns the core and performs what it decides.
//!
//! Selects an input, hands it to the core, performs the actions. It owns the
//! queues behind the core's names of streams and links, and nothing else. The
//! faults of status updates are applied here, on the way out.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use marmoset_proto::mesos::v1::{
    Address, AgentId, MasterInfo, master_info,
    scheduler::{Call, Event, call::Subscribe},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    core::{Action, Caller, Core, LinkId, Now, Registration, Reply, StreamId},
    metrics, version, view,
};
use crate::{
    config::{MasterConfig, MasterTimers},
    faults::Switches,
    http::EventStream,
    link::{ToAgent, ToMaster},
};

/// What the edge and the handle ask for.
#[derive(Debug)]
pub(super) enum Command {
    /// A SUBSCRIBE whose answer has begun.
    Subscribe {
        stream: StreamId,
        events: EventStream<Event>,
        subscribe: Box<Subscribe>,
        principal: Option<String>,
    },
    /// Another call.
    Call { call: Box<Call>, caller: Caller, reply: oneshot::Sender<Reply> },
    /// A document.
    View { view: View, reply: oneshot::Sender<serde_json::Value> },
    /// The client of a stream is gone.
    StreamEnded { stream: StreamId },
    /// Break all streams.
    CutStreams { done: oneshot::Sender<()> },
    /// Give an agent up.
    MarkUnreachable { agent: SocketAddr, done: oneshot::Sender<()> },
    /// Do nothing at all for a while.
    Freeze { time: Duration },
    /// Forget everything and come back as another master.
    FailOver { down: Duration, done: oneshot::Sender<()> },
}

/// Which document.
#[derive(Debug, Clone, Copy)]
pub(super) enum View {
    State,
    Summary,
    Slaves,
    Frameworks,
    Tasks { limit: usize, offset: usize, ascending: bool },
    Flags,
    Metrics,
}

/// The actor.
pub(super) struct Actor {
    core: Core,
    addr: SocketAddr,
    hostname: String,
    timers: MasterTimers,
    seed: Option<u64>,
    switches: Arc<Switches>,
    streams: HashMap<StreamId, EventStream<Event>>,
    links: HashMap<LinkId, mpsc::UnboundedSender<ToAgent>>,
    next_link: u64,
    /// To itself, for the watchers of streams; weak, or it would keep itself alive.
    commands: mpsc::WeakSender<Command>,
    watchers: TaskTracker,
    /// Updates held back by a fault, earliest first.
    delayed: VecDeque<(Instant, StreamId, Box<Event>)>,
    updates_sent: u64,
}

impl Actor {
    pub(super) fn new(
        config: &MasterConfig,
        addr: SocketAddr,
        hostname: String,
        switches: Arc<Switches>,
        commands: mpsc::WeakSender<Command>,
    ) -> Self {
        let core = new_core(addr, &hostname, &config.timers, config.seed, Vec::new());
        Self {
            core,
            addr,
            hostname,
            timers: config.timers.clone(),
            seed: config.seed,
            switches,
            streams: HashMap::new(),
            links: HashMap::new(),
            next_link: 0,
            commands,
            watchers: TaskTracker::new(),
            delayed: VecDeque::new(),
            updates_sent: 0,
        }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut agents: mpsc::UnboundedReceiver<ToMaster>,
    ) {
        loop {
            self.perform_actions();
            let wake = Instant::from_std(self.core.poll_wake());
            let wake = self.delayed.front().map_or(wake, |(at, ..)| wake.min(*at));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::FailOver { down, done }) => {
                        self.fail_over(down).await;
                        let _gone = done.send(());
                    }
                    Some(Command::Freeze { time }) => tokio::time::sleep(time).await,
                    Some(command) => self.handle_command(command),
                    None => return,
                },
                Some(message) = agents.recv() => self.handle_agent(message),
                () = tokio::time::sleep_until(wake) => self.handle_wake(),
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = now();
        // Whoever asked may be gone by the time there is an answer; then nobody reads it.
        match command {
            Command::Subscribe { stream, events, subscribe, principal } => {
                self.watch(stream.clone(), &events);
                self.streams.insert(stream.clone(), events);
                self.core.handle_subscribe(stream, *subscribe, principal.as_deref(), now);
            }
            Command::Call { call, caller, reply } => {
                let _gone = reply.send(self.core.handle_call(*call, &caller, now));
            }
            Command::View { view, reply } => {
                let _gone = reply.send(self.show(view, now));
            }
            Command::StreamEnded { stream } => {
                self.streams.remove(&stream);
                self.core.handle_stream_ended(&stream, now);
            }
            Command::CutStreams { done } => {
                for events in self.streams.values() {
                    events.cut();
                }
                let _gone = done.send(());
            }
            Command::MarkUnreachable { agent, done } => {
                self.core.handle_agent_at_unreachable(agent, now);
                let _gone = done.send(());
            }
            // Taken care of in `run`, because they wait.
            Command::Freeze { .. } | Command::FailOver { .. } => {}
        }
    }

    fn handle_agent(&mut self, message: ToMaster) {
        let now = now();
        match message {
            ToMaster::Register { info, addr, link } => {
                let link = self.add_link(link);
                let registration = Registration {
                    info,
                    addr,
                    link,
                    frameworks: Vec::new(),
                    executors: Vec::new(),
                    tasks: Vec::new(),
                };
                self.core.handle_registration(registration, now);
            }
            ToMaster::Reregister { info, addr, link, frameworks, executors, tasks } => {
                let link = self.add_link(link);
                let registration = Registration { info, addr, link, frameworks, executors, tasks };
                self.core.handle_registration(registration, now);
            }
            ToMaster::Disconnected { agent_id } => {
                self.core.handle_agent_disconnected(&agent_id, now);
            }
            ToMaster::StatusUpdate {
                agent_id,
                framework_id,
                executor_id: _,
                status,
                latest_state,
            } => {
                self.core.handle_status_update(
                    &agent_id,
                    &framework_id,
                    *status,
                    latest_state,
                    now,
                );
            }
            ToMaster::Message { agent_id, framework_id, executor_id, data } => {
                self.core.handle_message(agent_id, &framework_id, executor_id, data);
            }
            ToMaster::ExitedExecutor { agent_id, framework_id, executor_id, status } => {
                self.core.handle_exited_executor(agent_id, &framework_id, executor_id, status, now);
            }
        }
        // Links of agents that ended without a word.
        self.links.retain(|_, link| !link.is_closed());
    }

    fn handle_wake(&mut self) {
        let due = Instant::now();
        while self.delayed.front().is_some_and(|(at, ..)| *at <= due) {
            if let Some((_, stream, event)) = self.delayed.pop_front() {
                self.send_now(&stream, *event);
            }
        }
        self.core.handle_wake(now());
    }

    fn add_link(&mut self, link: mpsc::UnboundedSender<ToAgent>) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(id, link);
        id
    }

    /// Tells this actor when the client of a stream is gone.
    fn watch(&self, stream: StreamId, events: &EventStream<Event>) {
        let (gone, commands) = (events.gone(), self.commands.clone());
        self.watchers.spawn(async move {
            gone.cancelled().await;
            if let Some(commands) = commands.upgrade() {
                let _ended = commands.send(Command::StreamEnded { stream }).await;
            }
        });
    }

    fn perform_actions(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::SendEvent { stream, event } => self.send(stream, event),
                Action::CloseStream { stream } => {
                    if let Some(events) = self.streams.remove(&stream) {
                        events.close();
                    }
                }
                Action::SendAgent { link: id, message } => {
                    let sent = self.links.get(&id).is_some_and(|link| link.send(message).is_ok());
                    if !sent {
                        // Mostly the agent has told it before.
                        self.links.remove(&id);
                        self.core.handle_link_ended(id, now());
                    }
                }
                Action::CloseLink { link } => {
                    self.links.remove(&link);
                }
            }
        }
    }

    /// Sends an event, unless a fault is in force and says otherwise.
    fn send(&mut self, stream: StreamId, event: Box<Event>) {
        let retried = event.update.as_ref().is_some_and(|update| update.status.uuid.is_some());
        if !retried {
            self.send_now(&stream, *event);
            return;
        }
        let fault = self.switches.updates();
        self.updates_sent += 1;
        let hit = |one_in: u32| one_in > 0 && self.updates_sent.is_multiple_of(u64::from(one_in));
        if hit(fault.drop_one_in) {
            return;
        }
        let copies = if hit(fault.duplicate_one_in) { 2 } else { 1 };
        for _ in 0..copies {
            if fault.delay.is_zero() && self.delayed.is_empty() {
                self.send_now(&stream, (*event).clone());
            } else {
                // Never before one that was held back earlier.
                let at = Instant::now() + fault.delay;
                let at = self.delayed.back().map_or(at, |(last, ..)| at.max(*last));
                self.delayed.push_back((at, stream.clone(), event.clone()));
            }
        }
    }

    fn send_now(&self, stream: &StreamId, event: Event) {
        tracing::trace!(stream = %stream.0, ?event, "event");
        if let Some(events) = self.streams.get(stream) {
            events.send(event);
        }
    }

    fn show(&self, view: View, now: Now) -> serde_json::Value {
        let facts = self.core.facts();
        match view {
            View::State => view::state(facts),
            View::Summary => view::summary(facts),
            View::Slaves => view::slaves(facts),
            View::Frameworks => view::frameworks(facts),
            View::Tasks { limit, offset, ascending } => {
                view::tasks(facts, limit, offset, ascending)
            }
            View::Flags => serde_json::json!({"flags": view::flags(facts)}),
            View::Metrics => metrics::snapshot(facts, now),
        }
    }

    /// Ends everything, waits, and starts as a new master that only knows which agents exist.
    async fn fail_over(&mut self, down: Duration) {
        tracing::info!(?down, "master fails over");
        self.streams.clear();
        self.links.clear();
        self.delayed.clear();
        tokio::time::sleep(down).await;
        let agents = self.core.agent_ids();
        self.core = new_core(self.addr, &self.hostname, &self.timers, self.seed, agents);
    }
}

fn new_core(
    addr: SocketAddr,
    hostname: &str,
    timers: &MasterTimers,
    seed: Option<u64>,
    agents: Vec<AgentId>,
) -> Core {
    let seed = seed.unwrap_or_else(rand::random);
    Core::new(master_info(addr, hostname), timers.clone(), seed, agents, now())
}

fn master_info(addr: SocketAddr, hostname: &str) -> MasterInfo {
    let ip = match addr.ip() {
        // As the bytes lie in memory, whatever the machine.
        IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
        IpAddr::V6(_) => 0,
    };
    let capability =
        |kind: master_info::capability::Type| master_info::Capability { r#type: Some(kind.into()) };
    MasterInfo {
        id: Uuid::new_v4().to_string(),
        ip,
        port: addr.port().into(),
        pid: Some(format!("master@{addr}")),
        hostname: Some(hostname.to_owned()),
        version: Some(version::VERSION.to_owned()),
        address: Some(Address {
            hostname: Some(hostname.to_owned()),
            ip: Some(addr.ip().to_string()),
            port: addr.port().into(),
        }),
        capabilities: vec![
            capability(master_info::capability::Type::AgentUpdate),
            capability(master_info::capability::Type::AgentDraining),
        ],
        ..MasterInfo::default()
    }
}

fn now() -> Now {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now().into_std(), time: time.as_secs_f64() }
}
