//! Random inputs against a small reference: what an agent may rely on.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use bytes::Bytes;
use marmoset_proto::{
    marmoset::v1::Report,
    mesos::v1::{CommandInfo, TaskInfo, TaskState, TaskStatus},
};
use proptest::prelude::*;
use prost::Message as _;

use super::sim::{Sim, batch, checkpointing, single, slow, slow_batch};
use crate::{Config, Input, QueueBounds, RunId, UpdatePolicy};

const QUEUE: QueueBounds = QueueBounds { tasks: 6, items: 40 };
const STARTING: usize = 3;
const STARTING_SLOW: usize = 2;
const CALLS: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    Launch,
    LaunchBad,
    LaunchGroup(u8),
    LaunchBatch { items: u8, width: u8 },
    LaunchSlow,
    LaunchSlowBatch { items: u8, width: u8 },
    Again(u8),
    Kill { task: u8, grace: Option<u16> },
    KillStranger,
    TakeBack { task: u8, begin: u8, len: u8 },
    KillItems { task: u8, begin: u8, len: u8 },
    Started(u8),
    Refused(u8),
    Returned(u8),
    Exited(u8, i32),
    Answer(u8),
    Acknowledge(u8),
    Pass(u16),
    LoseStream { delivered: u8 },
    Accept,
    LauncherDied,
}

impl Op {
    /// Whether it can happen only with a stream, or only without one.
    fn needs_stream(&self) -> Option<bool> {
        match self {
            Self::Launch
            | Self::LaunchBad
            | Self::LaunchGroup(_)
            | Self::LaunchBatch { .. }
            | Self::LaunchSlow
            | Self::LaunchSlowBatch { .. }
            | Self::Again(_)
            | Self::Kill { .. }
            | Self::KillStranger
            | Self::TakeBack { .. }
            | Self::KillItems { .. }
            | Self::Answer(_)
            | Self::Acknowledge(_)
            | Self::LoseStream { .. } => Some(true),
            Self::Accept => Some(false),
            Self::Started(_)
            | Self::Refused(_)
            | Self::Returned(_)
            | Self::Exited(..)
            | Self::Pass(_)
            | Self::LauncherDied => None,
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let wait_status = prop_oneof![3 => Just(0), 1 => Just(256), 1 => Just(9)];
    prop_oneof![
        3 => Just(Op::Launch),
        1 => Just(Op::LaunchBad),
        1 => (1_u8..4).prop_map(Op::LaunchGroup),
        3 => (1_u8..30, 1_u8..5).prop_map(|(items, width)| Op::LaunchBatch { items, width }),
        1 => Just(Op::LaunchSlow),
        1 => (1_u8..30, 1_u8..5).prop_map(|(items, width)| Op::LaunchSlowBatch { items, width }),
        1 => any::<u8>().prop_map(Op::Again),
        2 => (any::<u8>(), proptest::option::of(0_u16..4000))
            .prop_map(|(task, grace)| Op::Kill { task, grace }),
        1 => Just(Op::KillStranger),
        2 => (any::<u8>(), 0_u8..30, 0_u8..10)
            .prop_map(|(task, begin, len)| Op::TakeBack { task, begin, len }),
        2 => (any::<u8>(), 0_u8..30, 0_u8..10)
            .prop_map(|(task, begin, len)| Op::KillItems { task, begin, len }),
        14 => any::<u8>().prop_map(Op::Started),
        1 => any::<u8>().prop_map(Op::Refused),
        3 => any::<u8>().prop_map(Op::Returned),
        14 => (any::<u8>(), wait_status).prop_map(|(run, status)| Op::Exited(run, status)),
        8 => any::<u8>().prop_map(Op::Answer),
        8 => any::<u8>().prop_map(Op::Acknowledge),
        6 => (0_u16..400).prop_map(Op::Pass),
        1 => any::<u8>().prop_map(|delivered| Op::LoseStream { delivered }),
        3 => Just(Op::Accept),
        1 => Just(Op::LauncherDied),
    ]
}

/// What a Mesos task must come to.
struct Given {
    /// Items of a batch; 1 for a single task.
    items: u64,
    width: u32,
    is_batch: bool,
}

/// The Mesos task of a run's name.
fn task_of(run: &str) -> &str {
    let name = run.strip_prefix("j-").unwrap_or(run);
    name.split_once('.').map_or(name, |(task, _)| task)
}

struct Model {
    sim: Sim,
    policy: UpdatePolicy,
    subscribed: bool,
    given: BTreeMap<String, Given>,
    names: Vec<String>,
    /// Tasks that need something before they start.
    slow: BTreeSet<String>,
    running: BTreeSet<RunId>,
    /// Every update the agent saw, in the order of the first time.
    seen: BTreeMap<String, Vec<TaskStatus>>,
    by_uuid: BTreeMap<Bytes, TaskStatus>,
    last_acknowledged: BTreeMap<String, usize>,
}

impl Model {
    fn new(updates: UpdatePolicy) -> Self {
        let config = Config {
            updates,
            queue: QUEUE,
            starting: STARTING,
            starting_slow: STARTING_SLOW,
            update_connections: CALLS,
            shutdown_grace: Duration::from_secs(3600),
            ..checkpointing()
        };
        Self {
            sim: Sim::subscribed(config),
            policy: updates,
            subscribed: true,
            given: BTreeMap::new(),
            names: Vec::new(),
            slow: BTreeSet::new(),
            running: BTreeSet::new(),
            seen: BTreeMap::new(),
            by_uuid: BTreeMap::new(),
            last_acknowledged: BTreeMap::new(),
        }
    }

    fn give(&mut self, items: u64, width: u32, is_batch: bool) -> String {
        let name = format!("t{}", self.names.len());
        self.given.insert(name.clone(), Given { items, width, is_batch });
        self.names.push(name.clone());
        name
    }

    fn pick<T>(from: &[T], number: u8) -> Option<&T> {
        from.get(usize::from(number) % from.len().max(1))
    }

    fn apply(&mut self, op: Op) {
        if op.needs_stream().is_some_and(|needed| needed != self.subscribed) {
            return;
        }
        match op {
            Op::Launch => {
                let name = self.give(1, 1, false);
                self.sim.launch(single(&name));
            }
            Op::LaunchBad => {
                let name = self.give(1, 1, false);
                self.sim.launch(TaskInfo { data: None, ..single(&name) });
            }
            Op::LaunchGroup(members) => {
                let command = CommandInfo { value: Some("work".into()), ..Default::default() };
                let tasks = (0..members).map(|_| {
                    let name = self.give(1, 1, false);
                    TaskInfo { command: Some(command.clone()), ..single(&name) }
                });
                let tasks = tasks.collect();
                self.sim.launch_group(tasks);
            }
            Op::LaunchBatch { items, width } => {
                let name = self.give(items.into(), width.into(), true);
                self.sim.launch(batch(&name, items.into(), width.into()));
            }
            Op::LaunchSlow => {
                let name = self.give(1, 1, false);
                self.slow.insert(name.clone());
                self.sim.launch(slow(&name));
            }
            Op::LaunchSlowBatch { items, width } => {
                let name = self.give(items.into(), width.into(), true);
                self.slow.insert(name.clone());
                self.sim.launch(slow_batch(&name, items.into(), width.into()));
            }
            Op::Again(task) => {
                let known = self.names.iter().filter(|name| !self.is_acknowledged(name));
                let known = known.cloned().collect::<Vec<_>>();
                if let Some(name) = Self::pick(&known, task) {
                    self.sim.launch(single(name));
                }
            }
            Op::Kill { task, grace } => {
                if let Some(name) = Self::pick(&self.names, task) {
                    let grace = grace.map(|ms| Duration::from_millis(ms.into()));
                    self.sim.kill(&name.clone(), grace);
                }
            }
            Op::KillStranger => self.sim.kill("stranger", None),
            Op::TakeBack { task, begin, len } => {
                self.select("take_back", task, begin, len);
            }
            Op::KillItems { task, begin, len } => {
                self.select("kill", task, begin, len);
            }
            Op::Started(number) => {
                if let Some((name, run)) = self.pick_run(number, false) {
                    self.sim.started(&name);
                    self.running.insert(run);
                }
            }
            Op::Refused(number) => {
                if let Some((name, _)) = self.pick_run(number, false) {
                    self.sim.refused(&name, "not here");
                }
            }
            Op::Returned(number) => {
                let cancelled = self.sim.cancelled_tasks();
                let cancelled = cancelled
                    .into_iter()
                    .filter(|name| !self.running.contains(&self.sim.run(name)))
                    .collect::<Vec<_>>();
                if let Some(name) = Self::pick(&cancelled, number) {
                    self.sim.returned(name);
                }
            }
            Op::Exited(number, wait_status) => {
                if let Some((name, run)) = self.pick_run(number, true) {
                    self.running.remove(&run);
                    self.sim.exited(&name, wait_status);
                }
            }
            Op::Answer(number) => self.answer(number),
            Op::Acknowledge(number) => self.acknowledge(number),
            Op::Pass(ms) => {
                self.sim.pass(Duration::from_millis(ms.into()));
            }
            Op::LoseStream { delivered } => {
                // Each lane has one call, and either it came through or not.
                let calls = mem::take(&mut self.sim.calls);
                for (_, (_, status)) in
                    calls.into_iter().enumerate().filter(|(at, _)| delivered >> at & 1 == 1)
                {
                    self.arrive(&status);
                }
                self.sim.unacknowledged.clear();
                self.sim.lose_stream();
                self.subscribed = false;
            }
            Op::Accept => self.accept(),
            Op::LauncherDied => {
                // What waits for files was not at the launcher.
                let (slow, running) = (&self.slow, mem::take(&mut self.running));
                self.sim
                    .runs
                    .retain(|name, run| slow.contains(task_of(name)) && !running.contains(run));
                self.sim.input(Input::LauncherDied("for a test".into()));
            }
        }
        self.check_bounds();
        self.sim.take_log();
    }

    fn select(&mut self, verb: &str, task: u8, begin: u8, len: u8) {
        if let Some(name) = Self::pick(&self.names, task) {
            let end = begin + len;
            let control = format!(
                r#"{{"{verb}": {{"task_id": {{"value": "{name}"}},
                     "indices": [{{"begin": {begin}, "end": {end}}}]}}}}"#
            );
            self.sim.message(&control);
        }
    }

    fn pick_run(&self, number: u8, running: bool) -> Option<(String, RunId)> {
        let runs =
            self.sim.runs.iter().filter(|(_, run)| {
                self.running.contains(run) == running && !self.sim.is_behind(**run)
            });
        let runs = runs.map(|(name, run)| (name.clone(), *run)).collect::<Vec<_>>();
        Self::pick(&runs, number).cloned()
    }

    fn accept(&mut self) {
        while self.sim.connection.is_none() {
            self.sim.pass(Duration::from_millis(100));
        }
        let call = self.sim.subscribe.clone().expect("a SUBSCRIBE");
        let subscribe = call.subscribe.expect("its content");
        subscribe.unacknowledged_updates.iter().for_each(|update| self.arrive(&update.status));
        // Whatever has no acknowledged update would be declared dropped otherwise.
        let named = subscribe.unacknowledged_tasks.iter().map(|task| task.task_id.value.clone());
        let named = named.collect::<BTreeSet<_>>();
        for name in self.names.iter().filter(|name| !self.last_acknowledged.contains_key(*name)) {
            assert!(named.contains(name), "`{name}` is not named");
        }
        self.sim.accept();
        self.subscribed = true;
    }

    /// Answers any of the calls: no connection waits for another.
    fn answer(&mut self, number: u8) {
        let at = usize::from(number) % self.sim.calls.len().max(1);
        if let Some((_, status)) = self.sim.calls.get(at).cloned() {
            self.arrive(&status);
            self.sim.answer_one(at);
        }
    }

    /// Acknowledges any of the updates the agent has.
    fn acknowledge(&mut self, number: u8) {
        let waiting = self.sim.unacknowledged.len();
        if waiting > 0 {
            let at = usize::from(number) % waiting;
            let status = self.sim.unacknowledged.remove(at).expect("it is there");
            let uuid = status.uuid.clone().expect("a uuid");
            let place = self.seen[status.task_id.as_str()]
                .iter()
                .position(|seen| seen.uuid.as_ref() == Some(&uuid));
            let place = place.expect("only what arrived is acknowledged");
            let last = self.last_acknowledged.entry(status.task_id.value.clone()).or_insert(0);
            *last = place.max(*last);
            self.sim.acknowledge_one(&status);
        }
    }

    /// The agent gets an update, perhaps not for the first time.
    fn arrive(&mut self, status: &TaskStatus) {
        let name = status.task_id.value.clone();
        assert!(self.given.contains_key(&name), "an update for `{name}`, which was never given");
        let uuid = status.uuid.clone().expect("every update has a uuid");
        assert_eq!(uuid.len(), 16);
        if let Some(before) = self.by_uuid.get(&uuid) {
            assert_eq!(before, status, "a retransmission differs");
            return;
        }
        self.by_uuid.insert(uuid, status.clone());
        let seen = self.seen.entry(name).or_default();
        if let Some(last) = seen.last() {
            assert!(!last.state().is_terminal(), "something follows the end: {status:?}");
            assert!(last.timestamp <= status.timestamp, "out of order: {last:?} {status:?}");
            assert!(rank(last) <= rank(status), "out of order: {last:?} {status:?}");
        }
        if self.policy == UpdatePolicy::Terminal {
            assert!(status.state().is_terminal() || status.data.is_some());
        }
        seen.push(status.clone());
    }

    fn is_acknowledged(&self, name: &str) -> bool {
        let seen = self.seen.get(name);
        seen.and_then(|seen| seen.last()).is_some_and(|last| last.state().is_terminal())
            && self.last_acknowledged.get(name).copied() == seen.map(|seen| seen.len() - 1)
    }

    fn check_bounds(&self) {
        assert!(self.sim.calls.len() <= CALLS);
        let starting =
            self.sim.runs.iter().filter(|(_, run)| {
                !self.running.contains(run) && !self.sim.followers.contains(run)
            });
        let (slow, quick) = starting
            .map(|(name, _)| task_of(name))
            .partition::<Vec<_>, _>(|name| self.slow.contains(*name));
        assert!(quick.len() <= STARTING);
        for name in &slow {
            assert!(slow.iter().filter(|other| *other == name).count() <= STARTING_SLOW);
        }
        for (name, given) in &self.given {
            let prefix = format!("j-{name}.");
            let runs = self
                .sim
                .runs
                .iter()
                .filter(|(task, run)| task.starts_with(&prefix) && !self.sim.is_behind(**run));
            let runs = runs.count();
            assert!(runs <= given.width as usize, "`{name}` runs {runs} at a time");
        }
    }

    /// Lets everything end, and compares.
    fn finish(mut self) {
        if !self.subscribed {
            self.accept();
        }
        let mut rounds = 0;
        while self.sim.core.tasks() > 0 {
            rounds += 1;
            assert!(rounds < 10_000, "never ends: {}", self.sim.log);
            self.sim.take_log();
            let runs = self.sim.runs.clone();
            for (name, run) in runs {
                if self.sim.is_behind(run) {
                    continue;
                }
                if self.running.insert(run) {
                    self.sim.started(&name);
                }
                self.sim.exited(&name, 0);
            }
            while !self.sim.calls.is_empty() {
                self.answer(0);
            }
            while !self.sim.unacknowledged.is_empty() {
                self.acknowledge(0);
            }
            self.sim.pass(Duration::from_millis(100));
        }
        assert_eq!(self.sim.core.active_tasks(), 0);
        for (name, given) in &self.given {
            let seen = self.seen.get(name).unwrap_or_else(|| panic!("`{name}` said nothing"));
            let terminal = seen.iter().filter(|status| status.state().is_terminal()).count();
            assert_eq!(terminal, 1, "{name}: {seen:?}");
            self.check_results(name, given, seen);
        }
    }

    fn check_results(&self, name: &str, given: &Given, seen: &[TaskStatus]) {
        let last = seen.last().expect("at least one");
        let refused = last.data.is_none();
        if refused {
            assert!(matches!(last.state(), TaskState::TaskError | TaskState::TaskFailed));
            assert_eq!(seen.iter().filter(|status| status.data.is_some()).count(), 0);
            return;
        }
        let mut indices = Vec::new();
        for status in seen {
            let Some(data) = &status.data else { continue };
            let report = Report::decode(data.clone()).expect("a report");
            indices.extend(report.results.iter().map(|result| result.index));
            for result in &report.results {
                assert!(result.wait_status.is_some() || result.message.is_some());
            }
            indices.extend(report.returned.iter().flat_map(|range| range.begin..=range.end));
        }
        indices.sort_unstable();
        let all = (0..given.items).collect::<Vec<_>>();
        assert_eq!(indices, all, "`{name}`, batch: {}", given.is_batch);
    }
}

/// States of one task never go back.
fn rank(status: &TaskStatus) -> u8 {
    match status.state() {
        TaskState::TaskStarting => 0,
        // Results arrive with RUNNING, also after KILLING.
        TaskState::TaskRunning | TaskState::TaskKilling => 1,
        _ => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_is_told_twice(
        ops in proptest::collection::vec(op(), 0..250),
        policy in prop_oneof![
            Just(UpdatePolicy::All), Just(UpdatePolicy::Coalesce), Just(UpdatePolicy::Terminal)
        ],
    ) {
        let mut model = Model::new(policy);
        for op in ops {
            model.apply(op);
        }
        model.finish();
    }
}
