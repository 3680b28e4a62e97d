//! A model of a Mesos master and its agents, driven by a clock that jumps.
//!
//! It checks what a real master would check, and more: every launch must fit into the offers it
//! names, every update with a uuid must be acknowledged, KILL and RECONCILE are answered as the
//! real thing does.

use std::collections::{BTreeMap, VecDeque};

use marmoset_proto::{
    marmoset::v1::Report,
    mesos::v1::{
        AgentId, ExecutorId, ExecutorInfo, FrameworkId, Offer, OfferId, TaskId, TaskInfo,
        TaskState, TaskStatus, resource,
        scheduler::{Call, Event, call, event},
        task_status::{Reason, Source},
    },
    resources::{self, Resources},
};
use prost::Message;

use crate::executor::{Executor, Script, Wish};

/// What can go wrong, in parts of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chaos {
    pub lose_update: u64,
    pub repeat_update: u64,
    pub lose_call: u64,
    pub stale_offer: u64,
    /// Microseconds between two such events; 0: never.
    pub kill_executor_every: u64,
    pub drop_stream_every: u64,
    pub lose_agent_every: u64,
}

#[derive(Debug)]
pub struct Agent {
    available: Resources,
    executors: BTreeMap<ExecutorId, Resident>,
    streams: BTreeMap<TaskId, VecDeque<TaskStatus>>,
    reachable: bool,
}

#[derive(Debug)]
struct Resident {
    run: u64,
    info: ExecutorInfo,
    model: Executor,
}

#[derive(Debug)]
struct Known {
    agent: AgentId,
    executor: ExecutorId,
    resources: Resources,
    state: TaskState,
}

#[derive(Debug)]
pub enum Happening {
    ToScheduler { epoch: u64, event: Box<Event> },
    StreamEnds { epoch: u64 },
    Connected { epoch: u64 },
    ToMaster { epoch: u64, call: Box<Call> },
    Allocate,
    EndItem { agent: AgentId, run: u64, task: TaskId, index: u64 },
    ReportDue { agent: AgentId, run: u64, task: TaskId },
    Resend { agent: AgentId, task: TaskId, uuid: bytes::Bytes, delay: u64 },
    KillExecutor,
    DropStream,
    LoseAgent,
    FindAgent(AgentId),
}

/// What reaches the scheduler.
#[derive(Debug)]
pub enum Delivery {
    Connected,
    Event(Box<Event>),
    StreamEnded,
}

pub struct Cluster {
    pub now: u64,
    script: Script,
    chaos: Chaos,
    rng: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub epoch: u64,
    subscribed: bool,
    suppressed: bool,
    agents: BTreeMap<AgentId, Agent>,
    offers: BTreeMap<OfferId, (AgentId, Resources)>,
    filters: Vec<(AgentId, Resources, u64)>,
    tasks: BTreeMap<TaskId, Known>,
    counter: u64,
    pub launched: u64,
    pub torn_down: bool,
}

const LATENCY: u64 = 300;
pub const FRAMEWORK: &str = "F-0000";

impl Cluster {
    pub fn new(agents: &[&str], script: Script, chaos: Chaos, seed: u64) -> Self {
        let agents = agents.iter().enumerate().map(|(position, text)| {
            let available = resources::parse(text).unwrap().allocated("*");
            let agent = Agent {
                available,
                executors: BTreeMap::new(),
                streams: BTreeMap::new(),
                reachable: true,
            };
            (AgentId::from(format!("S{position}")), agent)
        });
        let mut cluster = Self {
            now: 1_000_000,
            script,
            chaos,
            rng: seed | 1,
            queue: BTreeMap::new(),
            sequence: 0,
            epoch: 0,
            subscribed: false,
            suppressed: false,
            agents: agents.collect(),
            offers: BTreeMap::new(),
            filters: Vec::new(),
            tasks: BTreeMap::new(),
            counter: 0,
            launched: 0,
            torn_down: false,
        };
        cluster.at(cluster.now + 1_000_000, Happening::Allocate);
        cluster.repeat_chaos();
        cluster
    }

    fn repeat_chaos(&mut self) {
        let (now, chaos) = (self.now, self.chaos);
        for (every, happening) in [
            (chaos.kill_executor_every, Happening::KillExecutor),
            (chaos.drop_stream_every, Happening::DropStream),
            (chaos.lose_agent_every, Happening::LoseAgent),
        ] {
            if every > 0 {
                let at = now + 1 + self.random(2 * every);
                self.at(at, happening);
            }
        }
    }

    fn random(&mut self, bound: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % bound.max(1)
    }

    fn chance(&mut self, thousandths: u64) -> bool {
        thousandths > 0 && self.random(1000) < thousandths
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), happening);
    }

    pub fn next_at(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    fn tell(&mut self, kind: event::Type, fill: impl FnOnce(&mut Event)) {
        if self.subscribed {
            let mut event = Event { r#type: Some(kind.into()), ..Event::default() };
            fill(&mut event);
            let happening = Happening::ToScheduler { epoch: self.epoch, event: Box::new(event) };
            self.at(self.now + LATENCY, happening);
        }
    }

    /// The scheduler opens a connection.
    pub fn subscribe(&mut self, call: &Call) {
        self.epoch += 1;
        let subscribe = call.subscribe.as_ref().unwrap();
        self.suppressed = !subscribe.suppressed_roles.is_empty();
        self.return_offers();
        self.filters.clear();
        self.subscribed = true;
        self.at(self.now + LATENCY, Happening::Connected { epoch: self.epoch });
        self.tell(event::Type::Subscribed, |event| {
            event.subscribed = Some(event::Subscribed {
                framework_id: FrameworkId::from(FRAMEWORK),
                heartbeat_interval_seconds: Some(1e6),
                master_info: None,
            });
        });
        let agents = self.agents.keys().cloned().collect::<Vec<_>>();
        for agent in agents {
            let waiting = self.agents[&agent].streams.keys().cloned().collect::<Vec<_>>();
            for task in waiting {
                self.forward(&agent, &task, 10_000_000);
            }
        }
        self.allocate();
    }

    /// The scheduler sends a call.
    pub fn call(&mut self, call: Box<Call>) {
        if self.chance(self.chaos.lose_call) && loseable(&call) {
            return;
        }
        self.at(self.now + LATENCY, Happening::ToMaster { epoch: self.epoch, call });
    }

    /// The scheduler closes its connections.
    pub fn disconnect(&mut self) {
        self.subscribed = false;
        self.epoch += 1;
        self.return_offers();
    }

    /// Lets time pass to the next happening; gives what reaches the scheduler.
    pub fn step(&mut self) -> Option<Delivery> {
        let ((at, _), happening) = self.queue.pop_first()?;
        self.now = at;
        match happening {
            Happening::ToScheduler { epoch, event } if epoch == self.epoch => {
                return Some(Delivery::Event(event));
            }
            Happening::StreamEnds { epoch } if epoch == self.epoch => {
                return Some(Delivery::StreamEnded);
            }
            Happening::Connected { epoch } if epoch == self.epoch => {
                return Some(Delivery::Connected);
            }
            Happening::ToMaster { epoch, call } if epoch == self.epoch && self.subscribed => {
                self.handle(*call);
            }
            Happening::ToScheduler { .. }
            | Happening::StreamEnds { .. }
            | Happening::Connected { .. }
            | Happening::ToMaster { .. } => {}
            Happening::Allocate => {
                self.allocate();
                self.at(self.now + 1_000_000, Happening::Allocate);
            }
            Happening::EndItem { agent, run, task, index } => {
                let now = self.now;
                self.with_executor(&agent, run, |model| model.end_item(now, &task, index));
            }
            Happening::ReportDue { agent, run, task } => {
                self.with_executor(&agent, run, |model| model.report(&task));
            }
            Happening::Resend { agent, task, uuid, delay } => {
                let head = self.agents[&agent].streams.get(&task).and_then(VecDeque::front);
                if head.is_some_and(|head| head.uuid.as_ref() == Some(&uuid)) {
                    self.forward(&agent, &task, delay * 2);
                }
            }
            Happening::KillExecutor => {
                self.kill_random_executor();
                let at = self.now + 1 + self.random(2 * self.chaos.kill_executor_every);
                self.at(at, Happening::KillExecutor);
            }
            Happening::DropStream => {
                if self.subscribed {
                    self.subscribed = false;
                    self.return_offers();
                    self.at(self.now + LATENCY, Happening::StreamEnds { epoch: self.epoch });
                }
                let at = self.now + 1 + self.random(2 * self.chaos.drop_stream_every);
                self.at(at, Happening::DropStream);
            }
            Happening::LoseAgent => {
                self.lose_random_agent();
                let at = self.now + 1 + self.random(2 * self.chaos.lose_agent_every);
                self.at(at, Happening::LoseAgent);
            }
            Happening::FindAgent(agent) => self.find_agent(&agent),
        }
        None
    }

    fn handle(&mut self, call: Call) {
        match call.r#type() {
            call::Type::Accept => self.accept(call.accept.unwrap()),
            call::Type::Decline => {
                let decline = call.decline.unwrap();
                let refuse = decline.filters.and_then(|filters| filters.refuse_seconds);
                for offer_id in decline.offer_ids {
                    if let Some((agent, offered)) = self.offers.remove(&offer_id) {
                        self.give_back(&agent, &offered, refuse.unwrap_or(5.0));
                    }
                }
            }
            call::Type::Revive => {
                self.suppressed = false;
                self.filters.clear();
                self.allocate();
            }
            call::Type::Suppress => self.suppressed = true,
            call::Type::Acknowledge => {
                let acknowledge = call.acknowledge.unwrap();
                self.acknowledge(&acknowledge.agent_id, &acknowledge.task_id, &acknowledge.uuid);
            }
            call::Type::Kill => {
                let kill = call.kill.unwrap();
                self.kill(&kill.task_id, kill.agent_id.as_ref());
            }
            call::Type::Reconcile => {
                let tasks = call.reconcile.unwrap().tasks;
                if tasks.is_empty() {
                    for task in self.tasks.keys().cloned().collect::<Vec<_>>() {
                        self.reconcile(&task, None);
                    }
                }
                for task in tasks {
                    self.reconcile(&task.task_id, task.agent_id.as_ref());
                }
            }
            call::Type::Message => {
                let message = call.message.unwrap();
                let now = self.now;
                let agent = &self.agents[&message.agent_id];
                if let Some(run) = agent.executors.get(&message.executor_id).map(|own| own.run) {
                    self.with_executor(&message.agent_id, run, |model| {
                        model.message(now, &message.data)
                    });
                }
            }
            call::Type::Teardown => {
                self.torn_down = true;
                self.subscribed = false;
            }
            other => panic!("unexpected call {other:?}"),
        }
    }

    // Offers

    fn allocate(&mut self) {
        if !self.subscribed || self.suppressed {
            return;
        }
        let now = self.now;
        self.filters.retain(|(_, _, until)| *until > now);
        let mut offers = Vec::new();
        let least = resources::parse("cpus:0.01").unwrap();
        for (agent_id, agent) in &mut self.agents {
            let free = &agent.available;
            let enough = free.cpus() >= least.cpus();
            let filtered = self
                .filters
                .iter()
                .any(|(filtered, refused, _)| filtered == agent_id && refused.contains(free));
            if !agent.reachable || !enough || filtered {
                continue;
            }
            let offered = std::mem::take(&mut agent.available);
            let id = OfferId::from(format!("O{}", self.counter));
            self.counter += 1;
            offers.push(Offer {
                id: id.clone(),
                framework_id: FRAMEWORK.into(),
                agent_id: agent_id.clone(),
                hostname: format!("{agent_id}.example"),
                resources: offered.to_proto(),
                executor_ids: agent.executors.keys().cloned().collect(),
                allocation_info: Some(resource::AllocationInfo { role: Some("*".to_owned()) }),
                ..Offer::default()
            });
            self.offers.insert(id, (agent_id.clone(), offered));
        }
        if !offers.is_empty() {
            self.tell(event::Type::Offers, |event| {
                event.offers = Some(event::Offers { offers });
            });
        }
    }

    fn return_offers(&mut self) {
        for (_, (agent, offered)) in std::mem::take(&mut self.offers) {
            self.agents.get_mut(&agent).unwrap().available += &offered;
        }
    }

    fn give_back(&mut self, agent_id: &AgentId, rest: &Resources, refuse: f64) {
        self.agents.get_mut(agent_id).unwrap().available += rest;
        if refuse > 0.0 {
            let until = self.now + (refuse.max(1.0) * 1e6) as u64;
            self.filters.push((agent_id.clone(), rest.clone(), until));
        }
    }

    fn accept(&mut self, accept: call::Accept) {
        let mut agents = Vec::new();
        let mut pool = Resources::default();
        let stale = self.chance(self.chaos.stale_offer);
        for offer_id in &accept.offer_ids {
            let Some((agent, offered)) = self.offers.remove(offer_id) else { continue };
            pool += &offered;
            agents.push(agent);
        }
        let tasks = accept
            .operations
            .into_iter()
            .flat_map(|operation| operation.launch.unwrap().task_infos)
            .collect::<Vec<_>>();
        assert!(!tasks.is_empty(), "an ACCEPT without tasks");
        if stale || agents.len() != accept.offer_ids.len() {
            if let Some(agent) = agents.first() {
                self.give_back(&agent.clone(), &pool, 0.0);
            }
            for task in tasks {
                self.master_update(
                    &task.task_id,
                    &task.agent_id,
                    TaskState::TaskDropped,
                    |status| {
                        status.reason = Some(Reason::InvalidOffers.into());
                        status.message = Some("Task launched with invalid offers".to_owned());
                    },
                );
            }
            return;
        }
        let agent_id = agents[0].clone();
        assert!(agents.iter().all(|agent| *agent == agent_id), "offers of several agents");
        for task in tasks {
            self.launch(&agent_id, &mut pool, task);
        }
        let refuse = accept.filters.and_then(|filters| filters.refuse_seconds);
        self.give_back(&agent_id, &pool, refuse.unwrap_or(5.0));
    }

    fn launch(&mut self, agent_id: &AgentId, pool: &mut Resources, task: TaskInfo) {
        assert_eq!(task.agent_id, *agent_id);
        assert!(!self.tasks.contains_key(&task.task_id), "task id `{}` twice", task.task_id);
        assert!(task.data.as_ref().unwrap().len() < 600 * 1024, "too large");
        let executor = task.executor.clone().unwrap();
        let used = Resources::from_proto(&task.resources).unwrap();
        let own = Resources::from_proto(&executor.resources).unwrap();
        let agent = self.agents.get_mut(agent_id).unwrap();
        let needed = match agent.executors.get(&executor.executor_id) {
            Some(resident) => {
                assert_eq!(resident.info, executor, "another ExecutorInfo under the same id");
                used.clone()
            }
            None => {
                let mut needed = used.clone();
                needed += &own;
                needed
            }
        };
        let Some(rest) = pool.checked_sub(&needed) else {
            // Only an executor that ended meanwhile excuses it.
            assert!(pool.contains(&used), "{used} is more than {pool}");
            return self.master_update(&task.task_id, agent_id, TaskState::TaskError, |status| {
                status.reason = Some(Reason::TaskInvalid.into());
                status.message = Some(
                    "Total resources required by task and its executor is more than available"
                        .to_owned(),
                );
            });
        };
        *pool = rest;
        self.launched += 1;
        let script = self.script;
        self.sequence += 1;
        let run = self.sequence;
        let resident = agent.executors.entry(executor.executor_id.clone()).or_insert_with(|| {
            Resident { run, info: executor.clone(), model: Executor::new(script) }
        });
        let run = resident.run;
        self.tasks.insert(
            task.task_id.clone(),
            Known {
                agent: agent_id.clone(),
                executor: executor.executor_id,
                resources: used,
                state: TaskState::TaskStaging,
            },
        );
        let now = self.now;
        self.with_executor(agent_id, run, |model| model.launch(now, &task));
    }

    // Executors

    fn with_executor(
        &mut self,
        agent_id: &AgentId,
        run: u64,
        act: impl FnOnce(&mut Executor) -> Vec<Wish>,
    ) {
        let agent = self.agents.get_mut(agent_id).unwrap();
        let Some(resident) = agent.executors.values_mut().find(|own| own.run == run) else {
            return;
        };
        let executor_id = resident.info.executor_id.clone();
        for wish in act(&mut resident.model) {
            match wish {
                Wish::EndItem { task, index, at } => {
                    let agent = agent_id.clone();
                    self.at(at, Happening::EndItem { agent, run, task, index });
                }
                Wish::ReportAt { task, at } => {
                    let agent = agent_id.clone();
                    self.at(at, Happening::ReportDue { agent, run, task });
                }
                Wish::Update { task, state, report } => {
                    self.agent_update(agent_id, &executor_id, task, state, report, |_| ());
                }
            }
        }
    }

    fn agent_update(
        &mut self,
        agent_id: &AgentId,
        executor_id: &ExecutorId,
        task: TaskId,
        state: TaskState,
        report: Option<Report>,
        change: impl FnOnce(&mut TaskStatus),
    ) {
        self.sequence += 1;
        let mut uuid = vec![0; 8];
        uuid.extend(self.sequence.to_be_bytes());
        let mut status = TaskStatus {
            task_id: task.clone(),
            state: state.into(),
            source: Some(Source::Executor.into()),
            agent_id: Some(agent_id.clone()),
            executor_id: Some(executor_id.clone()),
            uuid: Some(uuid.into()),
            timestamp: Some(self.now as f64 / 1e6),
            data: report.map(|report| report.encode_to_vec().into()),
            ..TaskStatus::default()
        };
        change(&mut status);
        let agent = self.agents.get_mut(agent_id).unwrap();
        if let Some(known) = self.tasks.get_mut(&task) {
            if state.is_terminal() && !known.state.is_terminal() {
                agent.available += &known.resources;
            }
            known.state = state;
        }
        let stream = agent.streams.entry(task.clone()).or_default();
        stream.push_back(status);
        if stream.len() == 1 {
            self.forward(agent_id, &task, 10_000_000);
        }
    }

    /// Sends the oldest update of a stream.
    fn forward(&mut self, agent_id: &AgentId, task: &TaskId, delay: u64) {
        let agent = &self.agents[agent_id];
        let Some(status) = agent.streams.get(task).and_then(VecDeque::front).cloned() else {
            return;
        };
        let again = Happening::Resend {
            agent: agent_id.clone(),
            task: task.clone(),
            uuid: status.uuid.clone().unwrap(),
            delay: delay.min(600_000_000),
        };
        self.at(self.now + delay, again);
        if !self.agents[agent_id].reachable {
            return;
        }
        if !self.chance(self.chaos.lose_update) {
            self.deliver(status.clone());
        }
        if self.chance(self.chaos.repeat_update) {
            self.deliver(status);
        }
    }

    fn deliver(&mut self, status: TaskStatus) {
        self.tell(event::Type::Update, |event| {
            event.update = Some(event::Update { status });
        });
    }

    fn master_update(
        &mut self,
        task: &TaskId,
        agent: &AgentId,
        state: TaskState,
        change: impl FnOnce(&mut TaskStatus),
    ) {
        let mut status = TaskStatus {
            task_id: task.clone(),
            state: state.into(),
            source: Some(Source::Master.into()),
            agent_id: Some(agent.clone()),
            timestamp: Some(self.now as f64 / 1e6),
            ..TaskStatus::default()
        };
        change(&mut status);
        self.deliver(status);
    }

    fn acknowledge(&mut self, agent_id: &AgentId, task: &TaskId, uuid: &[u8]) {
        let agent = self.agents.get_mut(agent_id).unwrap();
        let Some(stream) = agent.streams.get_mut(task) else { return };
        if stream.front().is_none_or(|head| head.uuid.as_deref() != Some(uuid)) {
            return;
        }
        let head = stream.pop_front().unwrap();
        if head.state().is_terminal() {
            agent.streams.remove(task);
            self.tasks.remove(task);
        } else {
            self.forward(agent_id, task, 10_000_000);
        }
    }

    fn kill(&mut self, task: &TaskId, agent_id: Option<&AgentId>) {
        let Some(known) = self.tasks.get(task) else {
            return self.reconcile(task, agent_id);
        };
        let agent = &self.agents[&known.agent];
        let Some(resident) = agent.executors.get(&known.executor).filter(|_| agent.reachable)
        else {
            return;
        };
        let (agent_id, run, now) = (known.agent.clone(), resident.run, self.now);
        self.with_executor(&agent_id, run, |model| model.kill(now, task));
    }

    fn reconcile(&mut self, task: &TaskId, agent_id: Option<&AgentId>) {
        let (agent, state) = match (self.tasks.get(task), agent_id) {
            (Some(known), _) if !self.agents[&known.agent].reachable => {
                (known.agent.clone(), TaskState::TaskUnreachable)
            }
            (Some(known), _) => (known.agent.clone(), known.state),
            (None, Some(agent)) => (agent.clone(), TaskState::TaskGone),
            (None, None) => ("?".into(), TaskState::TaskUnknown),
        };
        self.master_update(task, &agent, state, |status| {
            status.reason = Some(Reason::Reconciliation.into());
        });
    }

    // Chaos

    fn kill_random_executor(&mut self) {
        let all = self.agents.iter().flat_map(|(agent, own)| {
            own.executors.keys().map(move |executor| (agent.clone(), executor.clone()))
        });
        let all = all.collect::<Vec<_>>();
        if all.is_empty() {
            return;
        }
        let chosen = self.random(all.len() as u64) as usize;
        let (agent_id, executor_id) = all[chosen].clone();
        let agent = self.agents.get_mut(&agent_id).unwrap();
        let resident = agent.executors.remove(&executor_id).unwrap();
        agent.available += &Resources::from_proto(&resident.info.resources).unwrap();
        for task in resident.model.tasks() {
            self.agent_update(
                &agent_id,
                &executor_id,
                task,
                TaskState::TaskFailed,
                None,
                |status| {
                    status.source = Some(Source::Agent.into());
                    status.reason = Some(Reason::ExecutorTerminated.into());
                    status.message = Some("Executor terminated".to_owned());
                },
            );
        }
        if self.chance(500) {
            self.tell(event::Type::Failure, |event| {
                event.failure = Some(event::Failure {
                    agent_id: Some(agent_id),
                    executor_id: Some(executor_id),
                    status: Some(9),
                });
            });
        }
    }

    fn lose_random_agent(&mut self) {
        let chosen = self.random(self.agents.len() as u64) as usize;
        let agent_id = self.agents.keys().nth(chosen).unwrap().clone();
        if !self.agents[&agent_id].reachable {
            return;
        }
        self.agents.get_mut(&agent_id).unwrap().reachable = false;
        let back = self.now + 1 + self.random(40_000_000);
        self.at(back, Happening::FindAgent(agent_id.clone()));
        let gone = self.offers.iter().filter(|(_, (agent, _))| *agent == agent_id);
        for offer_id in gone.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let (_, offered) = self.offers.remove(&offer_id).unwrap();
            self.agents.get_mut(&agent_id).unwrap().available += &offered;
            self.tell(event::Type::Rescind, |event| {
                event.rescind = Some(event::Rescind { offer_id });
            });
        }
        let tasks = self.tasks.iter().filter(|(_, known)| known.agent == agent_id);
        for task in tasks.map(|(task, _)| task.clone()).collect::<Vec<_>>() {
            self.master_update(&task, &agent_id, TaskState::TaskUnreachable, |status| {
                status.reason = Some(Reason::AgentRemoved.into());
            });
        }
        self.tell(event::Type::Failure, |event| {
            event.failure =
                Some(event::Failure { agent_id: Some(agent_id), executor_id: None, status: None });
        });
    }

    fn find_agent(&mut self, agent_id: &AgentId) {
        self.agents.get_mut(agent_id).unwrap().reachable = true;
        let tasks = self.tasks.iter().filter(|(_, known)| known.agent == *agent_id);
        let tasks = tasks.map(|(task, known)| (task.clone(), known.state)).collect::<Vec<_>>();
        for (task, state) in tasks {
            self.master_update(&task, agent_id, state, |status| {
                status.reason = Some(Reason::AgentReregistered.into());
            });
        }
        let streams = self.agents[agent_id].streams.keys().cloned().collect::<Vec<_>>();
        for task in streams {
            self.forward(agent_id, &task, 10_000_000);
        }
    }

    /// What must hold when nothing of the framework is left.
    pub fn assert_clean(&self) {
        for (id, agent) in &self.agents {
            assert!(agent.streams.is_empty(), "{id}: updates without acknowledgement");
            let running = agent.executors.values().map(|own| own.model.tasks().len());
            assert_eq!(running.sum::<usize>(), 0, "{id}: Mesos tasks that nobody knows");
        }
        assert!(self.tasks.is_empty(), "Mesos tasks that the master still knows");
    }
}

/// Calls whose loss a real network can cause without breaking the connection do not exist; these
/// are dropped further on, between master and agent.
fn loseable(call: &Call) -> bool {
    matches!(call.r#type(), call::Type::Acknowledge | call::Type::Kill | call::Type::Message)
}
