//! A framework of a few lines on an embedded cluster, for what `marmoset run` never launches.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

use std::{collections::BTreeMap, time::Duration};

use marmoset_http::{Calls, Client, ClientConfig, Endpoint, SCHEDULER_PATH, Subscription};
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        AgentId, CommandInfo, DurationInfo, ExecutorInfo, FrameworkId, FrameworkInfo, KillPolicy,
        Offer, Resource, TaskInfo, TaskStatus, executor_info,
        framework_info::{Capability, capability},
        offer::{Operation, operation},
        scheduler::{Call, Event, call, event},
    },
};
use tokio::time::timeout;

use crate::{Scene, TestCluster, programs};

const PATIENCE: Duration = Duration::from_secs(60);

/// State, reason, health and message of an update.
pub type Told = (&'static str, &'static str, Option<bool>, String);

/// A framework of one offer. Its methods panic when the cluster does not do its part.
pub struct Framework {
    /// Where it is registered.
    pub cluster: TestCluster,
    /// Its id.
    pub id: FrameworkId,
    events: Subscription<Event>,
    calls: Calls,
    offer: Option<Offer>,
    /// What was told of each task.
    pub told: BTreeMap<String, Vec<TaskStatus>>,
}

impl Framework {
    /// Starts a cluster of one agent and registers there.
    pub fn new(scene: &Scene, capabilities: &[capability::Type]) -> Self {
        let cluster = TestCluster::single(scene, "cpus:16;mem:8192;disk:4096");
        let capabilities =
            capabilities.iter().map(|kind| Capability { r#type: Some((*kind).into()) }).collect();
        let framework_info = FrameworkInfo {
            name: "checks".into(),
            user: "root".into(),
            capabilities,
            ..FrameworkInfo::default()
        };
        let subscribe = Call {
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(call::Subscribe { framework_info, ..Default::default() }),
            ..Call::default()
        };
        let master = Endpoint::tcp(&cluster.master()).unwrap();
        let (mut events, calls) = cluster.block_on(async {
            let client = Client::new(ClientConfig::default()).unwrap();
            let events = client.subscribe(&master, SCHEDULER_PATH, &subscribe).await.unwrap();
            let calls = Subscription::<Event>::calls(&events);
            (events, calls)
        });
        let first = cluster.block_on(next(&mut events));
        let id = first.subscribed.unwrap().framework_id;
        Self { cluster, id, events, calls, offer: None, told: BTreeMap::new() }
    }

    /// Sends a call.
    pub fn send(&self, call: Call) {
        let call = Call { framework_id: Some(self.id.clone()), ..call };
        self.cluster.block_on(self.calls.send(&call)).unwrap();
    }

    /// Takes one event in; acknowledges what asks for it.
    pub fn turn(&mut self) {
        let event = self.cluster.block_on(next(&mut self.events));
        match event.r#type() {
            event::Type::Offers => self.offer = event.offers.unwrap().offers.into_iter().next(),
            event::Type::Update => {
                let status = event.update.unwrap().status;
                if let Some(uuid) = status.uuid.clone() {
                    self.send(Call {
                        r#type: Some(call::Type::Acknowledge.into()),
                        acknowledge: Some(call::Acknowledge {
                            agent_id: status.agent_id.clone().unwrap(),
                            task_id: status.task_id.clone(),
                            uuid,
                        }),
                        ..Call::default()
                    });
                }
                self.told.entry(status.task_id.value.clone()).or_default().push(status);
            }
            event::Type::Error => panic!("{event:?}"),
            _ => {}
        }
    }

    /// Accepts an offer with these operations.
    pub fn accept(&mut self, operations: impl FnOnce(&AgentId) -> Vec<Operation>) {
        while self.offer.is_none() {
            self.turn();
        }
        let offer = self.offer.take().unwrap();
        self.send(Call {
            r#type: Some(call::Type::Accept.into()),
            accept: Some(call::Accept {
                offer_ids: vec![offer.id],
                operations: operations(&offer.agent_id),
                ..Default::default()
            }),
            ..Call::default()
        });
    }

    /// Launches tasks on the one agent.
    pub fn launch(&mut self, tasks: Vec<TaskInfo>) {
        self.accept(|agent| {
            let on = |task: TaskInfo| TaskInfo { agent_id: agent.clone(), ..task };
            let task_infos = tasks.into_iter().map(on).collect();
            vec![Operation {
                r#type: Some(operation::Type::Launch.into()),
                launch: Some(operation::Launch { task_infos }),
                ..Operation::default()
            }]
        });
    }

    /// Kills a task.
    pub fn kill(&self, task: &str, grace: Option<Duration>) {
        self.send(Call {
            r#type: Some(call::Type::Kill.into()),
            kill: Some(call::Kill {
                task_id: task.into(),
                kill_policy: grace.map(policy),
                ..Default::default()
            }),
            ..Call::default()
        });
    }

    /// Waits until what is known satisfies somebody.
    pub fn until(&mut self, enough: impl Fn(&BTreeMap<String, Vec<TaskStatus>>) -> bool) {
        while !enough(&self.told) {
            self.turn();
        }
    }

    /// Waits until these tasks have ended.
    pub fn until_ended(&mut self, tasks: &[&str]) {
        self.until(|told| {
            tasks.iter().all(|task| {
                told.get(*task).is_some_and(|told| told.last().unwrap().state().is_terminal())
            })
        });
    }

    /// Everything that was told of a task.
    pub fn story(&self, task: &str) -> Vec<Told> {
        self.told[task]
            .iter()
            .map(|status| {
                let reason = status.reason.map_or("", |_| status.reason().as_str_name());
                (status.state().as_str_name(), reason, status.healthy, status.message().to_owned())
            })
            .collect()
    }

    /// Our executor, which tells every state as the built-in one does.
    pub fn executor(&self) -> ExecutorInfo {
        let value = format!("{} --updates all", programs::executor().display());
        ExecutorInfo {
            executor_id: "ours".into(),
            framework_id: Some(self.id.clone()),
            r#type: Some(executor_info::Type::Custom.into()),
            command: Some(CommandInfo { value: Some(value), ..CommandInfo::default() }),
            resources: vec![
                Resource::scalar("cpus", 0.1),
                Resource::scalar("mem", 32.0),
                Resource::scalar("disk", 32.0),
            ],
            ..ExecutorInfo::default()
        }
    }

    /// Launches `task`, which has no command, both ways: as `ours` and as `builtin`.
    pub fn launch_both(&mut self, script: &str, task: &TaskInfo) {
        let command = CommandInfo { value: Some(script.into()), ..CommandInfo::default() };
        let spec = marmoset_proto::marmoset::v1::TaskSpec {
            command: Some(command.clone()),
            ..Default::default()
        };
        let ours = TaskInfo {
            task_id: "ours".into(),
            executor: Some(self.executor()),
            data: Some(codec::encode(&spec, Encoding::Protobuf)),
            ..task.clone()
        };
        let builtin =
            TaskInfo { task_id: "builtin".into(), command: Some(command), ..task.clone() };
        self.launch(vec![ours, builtin]);
    }

    /// Asserts that both told the same, and gives it.
    pub fn assert_same(&mut self) -> Vec<Told> {
        self.until_ended(&["ours", "builtin"]);
        assert_eq!(self.story("ours"), self.story("builtin"));
        self.story("ours")
    }
}

async fn next(events: &mut Subscription<Event>) -> Event {
    let event = timeout(PATIENCE, events.next()).await.expect("the master says something");
    event.unwrap().expect("the stream goes on")
}

/// A kill policy of nothing but its grace.
#[must_use]
pub fn policy(grace: Duration) -> KillPolicy {
    KillPolicy { grace_period: Some(DurationInfo::from(grace)) }
}
