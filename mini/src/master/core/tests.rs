//! The core by itself: exact actions, and books that balance whatever happens.

use std::collections::BTreeSet;

use marmoset_proto::{
    json::from_value,
    mesos::v1::{AgentInfo, TaskId, TaskStatus},
    resources::{Resources, parse},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

struct World {
    core: Core,
    now: Now,
    links: u64,
    streams: u64,
    /// Offers that were sent and may still be there.
    offers: Vec<(FrameworkId, String, String)>,
    /// Tasks that agents were asked to run.
    tasks: Vec<(FrameworkId, AgentId, TaskId)>,
    launched: u64,
}

impl World {
    fn new() -> Self {
        let now = Now { instant: Instant::now(), time: 1000.0 };
        let info = MasterInfo { id: "m".to_owned(), ..MasterInfo::default() };
        let core = Core::new(info, MasterTimers::default(), 1, [], now);
        Self { core, now, links: 0, streams: 0, offers: Vec::new(), tasks: Vec::new(), launched: 0 }
    }

    /// Takes all actions, remembers offers and tasks, and tells the rest as text.
    fn actions(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some(action) = self.core.poll_action() {
            shown.push(match action {
                Action::SendEvent { stream, event } => {
                    for offer in event.offers.iter().flat_map(|offers| &offers.offers) {
                        self.offers.push((
                            offer.framework_id.clone(),
                            offer.id.value.clone(),
                            offer.agent_id.value.clone(),
                        ));
                    }
                    format!("{} {}", stream.0, event.r#type().as_str_name())
                }
                Action::CloseStream { stream } => format!("{} close", stream.0),
                Action::SendAgent { link, message } => {
                    let name = match message {
                        ToAgent::RunTask { framework, task, launch_executor } => {
                            let id = framework.id.unwrap();
                            self.tasks.push((id, task.agent_id, task.task_id));
                            format!("run starts={launch_executor}")
                        }
                        ToAgent::Registered { agent_id } => format!("registered {agent_id}"),
                        ToAgent::ShutdownFramework { framework_id } => {
                            format!("shutdown {framework_id}")
                        }
                        ToAgent::RunTaskGroup { .. } => "run group".to_owned(),
                        ToAgent::KillTask { .. } => "kill".to_owned(),
                        ToAgent::ShutdownExecutor { .. } => "shutdown executor".to_owned(),
                        ToAgent::ReconcileTasks { tasks, .. } => format!("reconcile {tasks:?}"),
                        ToAgent::UpdateFramework { .. } => "update framework".to_owned(),
                        ToAgent::Acknowledge { .. } => "acknowledge".to_owned(),
                        ToAgent::Message { .. } => "message".to_owned(),
                    };
                    format!("link {} {name}", link.0)
                }
                Action::CloseLink { link } => format!("link {} close", link.0),
            });
        }
        shown
    }

    fn agent(&mut self, id: Option<AgentId>) {
        let link = LinkId(self.links);
        self.links += 1;
        let info = AgentInfo {
            id,
            hostname: "h".to_owned(),
            resources: parse("cpus:4;mem:1024;ports:[1-20]").unwrap().to_proto(),
            ..AgentInfo::default()
        };
        let registration = Registration {
            info,
            // After some, others are where those were.
            addr: ([127, 0, 0, 1], (link.0 % 4 + 1) as u16).into(),
            link,
            frameworks: Vec::new(),
            executors: Vec::new(),
            tasks: Vec::new(),
        };
        self.core.handle_registration(registration, self.now);
    }

    fn subscribe(&mut self, id: Option<&FrameworkId>, timeout: f64) {
        let stream = StreamId(format!("s{}", self.streams));
        self.streams += 1;
        let mut info = json!({"user": "u", "name": "n", "failover_timeout": timeout,
            "checkpoint": timeout > 0.0, "roles": ["r"],
            "capabilities": [{"type": "MULTI_ROLE"}]});
        if let Some(id) = id {
            info["id"] = json!({"value": id.value});
        }
        let subscribe = from_value(json!({"framework_info": info})).unwrap();
        self.core.handle_subscribe(stream, subscribe, None, self.now);
    }

    fn call(&mut self, framework: &FrameworkId, mut call: Value) -> Reply {
        call["framework_id"] = json!({"value": framework.value});
        let stream = self
            .core
            .frameworks
            .get(framework)
            .and_then(Framework::stream)
            .map(|stream| stream.0.clone());
        let caller = Caller { stream, principal: None };
        self.core.handle_call(from_value(call).unwrap(), &caller, self.now)
    }

    fn launch(&mut self, offer: usize, cpus: f64) {
        let Some((framework, offer, agent)) = self.offers.get(offer).cloned() else { return };
        self.launched += 1;
        let scalar = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
        let task = json!({
            "name": "t", "task_id": {"value": self.launched.to_string()},
            "agent_id": {"value": agent},
            "resources": [scalar("cpus", cpus), scalar("mem", 8.0)],
            "executor": {"executor_id": {"value": "e"}, "command": {"value": "x"},
                         "resources": [scalar("cpus", 0.1), scalar("mem", 32.0)]}});
        let refuse = if cpus < 1.0 { 0.0 } else { 3.0 };
        self.call(
            &framework,
            json!({"type": "ACCEPT", "accept": {
                "offer_ids": [{"value": offer}],
                "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}],
                "filters": {"refuse_seconds": refuse}}}),
        );
    }

    fn update(&mut self, task: usize, state: TaskState) {
        let Some((framework, agent, task_id)) = self.tasks.get(task).cloned() else { return };
        let status = TaskStatus {
            task_id,
            state: state.into(),
            uuid: Some(vec![1; 16].into()),
            ..TaskStatus::default()
        };
        self.core.handle_status_update(&agent, &framework, status, state, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.time += time.as_secs_f64();
        self.core.handle_wake(self.now);
    }

    /// What is offered or used of each agent is exactly what the allocator thinks, and no more
    /// than there is; every record points to one that exists.
    fn check_books(&self) {
        let core = &self.core;
        for (id, agent) in &core.agents {
            let mut held = agent.offered.clone();
            for used in agent.used.values() {
                held += used;
            }
            held.unallocate();
            assert!(agent.total.contains(&held), "{id}: {held} of {}", agent.total);
            let free = core.allocator.free(id).unwrap();
            let mut whole = free.clone();
            whole += &held;
            assert_eq!(whole, agent.total, "{id}: free {free}, held {held}");
            let offered = agent
                .offers
                .iter()
                .map(|offer| &core.offers[offer].resources)
                .collect::<Resources>();
            assert_eq!(offered, agent.offered, "{id}");
            for (framework, tasks) in &agent.tasks {
                for task in tasks {
                    assert_eq!(core.frameworks[framework].tasks[task].agent_id, *id);
                }
            }
        }
        for (id, offer) in &core.offers {
            assert!(core.frameworks[&offer.framework_id].offers.contains(id));
            assert!(core.frameworks[&offer.framework_id].stream().is_some());
        }
        for (stream, framework) in &core.streams {
            assert_eq!(core.frameworks[framework].stream(), Some(stream));
        }
    }
}

#[test]
fn a_life_in_actions() {
    let mut world = World::new();
    world.agent(None);
    assert_eq!(world.actions(), ["link 0 registered m-S0"]);
    world.subscribe(None, 0.0);
    assert_eq!(world.actions(), ["s0 SUBSCRIBED", "s0 HEARTBEAT", "s0 OFFERS"]);
    world.launch(0, 0.5);
    assert_eq!(world.actions(), ["link 0 run starts=true"], "the rest waits for the next run");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.actions(), ["s0 OFFERS"]);
    world.update(0, TaskState::TaskFinished);
    assert_eq!(world.actions(), ["s0 UPDATE"]);
    world.pass(Duration::from_secs(14));
    assert_eq!(world.actions(), ["s0 HEARTBEAT", "s0 OFFERS"]);
    world.core.handle_agent_disconnected(&"m-S0".into(), world.now);
    assert_eq!(world.actions(), ["s0 RESCIND", "s0 RESCIND"]);
    world.agent(Some("m-S0".into()));
    // What ended with the agent is not asked for: nothing of it was to survive.
    assert_eq!(world.actions(), ["link 1 registered m-S0", "s0 OFFERS"]);
    world.core.handle_stream_ended(&StreamId("s0".to_owned()), world.now);
    assert_eq!(world.actions(), ["link 1 shutdown m-0000"]);
    world.subscribe(Some(&"m-0000".into()), 0.0);
    assert_eq!(world.actions(), ["s1 ERROR", "s1 close"]);
    world.check_books();
}

#[test]
fn a_wake_is_due_when_something_is() {
    let mut world = World::new();
    let start = world.now.instant;
    assert_eq!(world.core.poll_wake(), start + Duration::from_secs(1));
    world.subscribe(None, 0.3);
    world.core.handle_stream_ended(&StreamId("s0".to_owned()), world.now);
    assert_eq!(world.core.poll_wake(), start + Duration::from_millis(300));
    world.actions();
    world.pass(Duration::from_millis(300));
    assert!(world.core.frameworks.is_empty());
    assert_eq!(world.core.completed.len(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Register,
    Reregister(u64),
    Disconnect(u64),
    Unreachable,
    Subscribe { timeout: bool },
    Again(u64),
    Ended(u64),
    Teardown(u64),
    Launch { offer: usize, cpus: f64 },
    Decline(usize),
    Revive(u64),
    Update { task: usize, end: bool },
    Acknowledge(usize),
    ExecutorExited { agent: u64, framework: u64 },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Register),
        1 => (0..3_u64).prop_map(Step::Reregister),
        1 => (0..3_u64).prop_map(Step::Disconnect),
        1 => Just(Step::Unreachable),
        2 => any::<bool>().prop_map(|timeout| Step::Subscribe { timeout }),
        1 => (0..3_u64).prop_map(Step::Again),
        1 => (0..6_u64).prop_map(Step::Ended),
        1 => (0..3_u64).prop_map(Step::Teardown),
        8 => (0..20_usize, prop_oneof![Just(0.2), Just(1.0), Just(3.0), Just(9.0)])
            .prop_map(|(offer, cpus)| Step::Launch { offer, cpus }),
        3 => (0..20_usize).prop_map(Step::Decline),
        2 => (0..3_u64).prop_map(Step::Revive),
        6 => (0..20_usize, any::<bool>()).prop_map(|(task, end)| Step::Update { task, end }),
        3 => (0..20_usize).prop_map(Step::Acknowledge),
        2 => (0..3_u64, 0..3_u64)
            .prop_map(|(agent, framework)| Step::ExecutorExited { agent, framework }),
        4 => (0..5000_u64).prop_map(Step::Pass),
    ]
}

impl World {
    fn step(&mut self, step: Step) {
        let agent = |number: u64| AgentId::from(format!("m-S{number}"));
        let framework = |number: u64| FrameworkId::from(format!("m-{number:04}"));
        match step {
            Step::Register => self.agent(None),
            Step::Reregister(number) => self.agent(Some(agent(number))),
            Step::Disconnect(number) => {
                self.core.handle_agent_disconnected(&agent(number), self.now);
            }
            Step::Unreachable => {
                self.core.handle_agent_at_unreachable(([127, 0, 0, 1], 1).into(), self.now);
            }
            Step::Subscribe { timeout } => self.subscribe(None, if timeout { 5.0 } else { 0.0 }),
            Step::Again(number) => self.subscribe(Some(&framework(number)), 5.0),
            Step::Ended(number) => {
                self.core.handle_stream_ended(&StreamId(format!("s{number}")), self.now);
            }
            Step::Teardown(number) => {
                self.call(&framework(number), json!({"type": "TEARDOWN"}));
            }
            Step::Launch { offer, cpus } => self.launch(offer, cpus),
            Step::Decline(offer) => {
                let Some((framework, offer, _)) = self.offers.get(offer).cloned() else { return };
                self.call(
                    &framework,
                    json!({"type": "DECLINE", "decline": {"offer_ids": [{"value": offer}]}}),
                );
            }
            Step::Revive(number) => {
                self.call(&framework(number), json!({"type": "REVIVE"}));
            }
            Step::Update { task, end } => {
                let state = if end { TaskState::TaskFinished } else { TaskState::TaskRunning };
                self.update(task, state);
            }
            Step::Acknowledge(task) => {
                let Some((framework, agent, task)) = self.tasks.get(task).cloned() else { return };
                self.call(
                    &framework,
                    json!({"type": "ACKNOWLEDGE", "acknowledge": {
                        "agent_id": {"value": agent.value}, "task_id": {"value": task.value},
                        "uuid": "AQEBAQEBAQEBAQEBAQEBAQ=="}}),
                );
            }
            Step::ExecutorExited { agent: number, framework: owner } => {
                let (executor, now) = ("e".into(), self.now);
                let owner = framework(owner);
                self.core.handle_exited_executor(agent(number), &owner, executor, 9, now);
            }
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
        }
    }
}

proptest! {
    #[test]
    fn the_books_balance(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        world.agent(None);
        world.subscribe(None, 5.0);
        for step in steps {
            world.step(step);
            world.actions();
            world.check_books();
        }
        // When everybody is gone everything is free.
        let frameworks = world.core.frameworks.keys().cloned().collect::<BTreeSet<_>>();
        for id in frameworks {
            world.core.remove_framework(&id, world.now);
        }
        world.check_books();
        for agent in world.core.agents.values() {
            prop_assert!(agent.used.is_empty() && agent.offered.is_empty());
        }
    }
}
