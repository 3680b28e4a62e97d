//! Random orders of everything that can happen to updates, against a small reference.
//!
//! The reference is an agent with several connections: calls come through in any
//! order across them, are answered or lost, acknowledged in any order, and the
//! whole connection may go at any moment.

use std::collections::{BTreeMap, BTreeSet};

use marmoset_proto::mesos::v1::{TaskState, task_status::Reason};
use proptest::prelude::*;

use super::*;
use crate::{config::UpdatePace, random::Random};

const CONNECTIONS: usize = 3;
const TASKS: u8 = 5;

#[derive(Debug, Clone)]
enum Op {
    /// The next update of a task; which one is chosen by the number.
    Add(u8, u8),
    /// All calls that may go are begun.
    Poll,
    /// One of the calls comes through and is answered.
    Answer(u8),
    /// The agent acknowledges one of the updates that it has.
    Acknowledge(u8),
    Pass(u8),
    /// The connections go; each bit tells whether a call had come through.
    Lose(u8),
    Subscribe,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..TASKS, any::<u8>()).prop_map(|(task, which)| Op::Add(task, which)),
        8 => Just(Op::Poll),
        8 => any::<u8>().prop_map(Op::Answer),
        6 => any::<u8>().prop_map(Op::Acknowledge),
        4 => (0_u8..40).prop_map(Op::Pass),
        1 => any::<u8>().prop_map(Op::Lose),
        2 => Just(Op::Subscribe),
    ]
}

/// An update as it was created.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Made {
    id: UpdateId,
    weight: Weight,
    /// Differs between findings of the one check and the other.
    reason: Option<i32>,
}

struct Model {
    ledger: Ledger,
    policy: UpdatePolicy,
    random: Random,
    now: Instant,
    connected: bool,
    made: BTreeMap<String, Vec<Made>>,
    calls: Vec<(CallId, LaneId, TaskStatus)>,
    /// What the agent got, in the order of the first time.
    arrived: BTreeMap<String, Vec<UpdateId>>,
    unacknowledged: Vec<(TaskId, UpdateId)>,
    acknowledged: BTreeSet<UpdateId>,
}

impl Model {
    fn new(policy: UpdatePolicy, burst: u32) -> Self {
        let ledger = Ledger::new(&Config {
            updates: policy,
            update_pace: UpdatePace { burst, ..UpdatePace::default() },
            update_connections: CONNECTIONS,
            ..Config::new("framework".into(), "executor".into(), [3; 32])
        });
        Self {
            ledger,
            policy,
            random: Random::new([4; 32]),
            now: Instant::now(),
            connected: true,
            made: BTreeMap::new(),
            calls: Vec::new(),
            arrived: BTreeMap::new(),
            unacknowledged: Vec::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Add(task, which) => self.add(task, which),
            Op::Poll if self.connected => self.poll(),
            Op::Answer(number) if !self.calls.is_empty() => {
                let at = usize::from(number) % self.calls.len();
                let (call, _, status) = self.calls.remove(at);
                self.arrive(&status);
                assert!(self.ledger.call_done(self.now, call));
                assert!(!self.ledger.call_done(self.now, call), "answered twice");
            }
            Op::Acknowledge(number) if !self.unacknowledged.is_empty() => {
                self.acknowledge(usize::from(number) % self.unacknowledged.len());
            }
            Op::Pass(ms) => self.now += Duration::from_millis(ms.into()),
            Op::Lose(through) if self.connected => {
                let calls = std::mem::take(&mut self.calls);
                for (at, (_, _, status)) in calls.iter().enumerate() {
                    if through >> at & 1 == 1 {
                        self.arrive(status);
                    }
                }
                // An agent that is away acknowledges nothing; it does so after SUBSCRIBE.
                self.unacknowledged.clear();
                self.ledger.forget_calls(self.now);
                for (call, ..) in calls {
                    assert!(
                        !self.ledger.is_calling(call) && !self.ledger.call_done(self.now, call)
                    );
                }
                self.connected = false;
            }
            Op::Subscribe => self.subscribe(),
            Op::Poll | Op::Answer(_) | Op::Acknowledge(_) | Op::Lose(_) => {}
        }
    }

    fn add(&mut self, task: u8, which: u8) {
        let name = format!("t{task}");
        let made = self.made.entry(name.clone()).or_default();
        let weight = match (made.last().map(|made| made.weight), which % 6) {
            (Some(Weight::Terminal), _) => return,
            (None, 0) => Weight::Passing,
            (None | Some(Weight::Passing), 1) => Weight::Light,
            (_, 3) => Weight::Terminal,
            (Some(_), 4 | 5) => Weight::Finding,
            (..) => Weight::Results,
        };
        let reason = match (weight, which % 6) {
            (Weight::Finding, 4) => Some(Reason::TaskHealthCheckStatusUpdated),
            (Weight::Finding, _) => Some(Reason::TaskCheckStatusUpdated),
            (Weight::Passing | Weight::Light | Weight::Results | Weight::Terminal, _) => None,
        };
        let reason = reason.map(i32::from);
        let state = match weight {
            Weight::Passing => TaskState::TaskStarting,
            Weight::Light | Weight::Finding | Weight::Results => TaskState::TaskRunning,
            Weight::Terminal => TaskState::TaskFinished,
        };
        if !self.ledger.wants(weight) {
            return;
        }
        let id = self.random.update_id();
        made.push(Made { id, weight, reason });
        let status = TaskStatus {
            task_id: name.as_str().into(),
            state: state.into(),
            reason,
            uuid: Some(bytes::Bytes::copy_from_slice(id.0.as_bytes())),
            ..TaskStatus::default()
        };
        self.ledger.add(self.now, id, status, weight);
    }

    fn poll(&mut self) {
        while let Some((call, lane, status)) = self.ledger.poll_call(self.now) {
            assert!(lane.0 < CONNECTIONS);
            assert!(self.calls.iter().all(|(_, other, _)| *other != lane), "two calls in a lane");
            let twin = self.calls.iter().any(|(.., other)| other.task_id == status.task_id);
            assert!(!twin, "two calls of one task may change places");
            let id = UpdateId::from_bytes(status.uuid.as_ref().unwrap()).unwrap();
            let known = self.arrived.get(status.task_id.as_str());
            assert!(known.is_none_or(|known| !known.contains(&id)), "called twice");
            self.calls.push((call, lane, status));
        }
    }

    fn subscribe(&mut self) {
        // Nobody will hear of calls that are on their way; none had come through.
        self.calls.clear();
        self.unacknowledged.clear();
        for update in self.ledger.for_subscription(self.now) {
            self.arrive(&update.status);
        }
        assert!(self.ledger.is_all_sent());
        self.connected = true;
    }

    fn arrive(&mut self, status: &TaskStatus) {
        let id = UpdateId::from_bytes(status.uuid.as_ref().unwrap()).unwrap();
        assert!(!self.acknowledged.contains(&id), "sent although it is acknowledged");
        self.unacknowledged.push((status.task_id.clone(), id));
        let made = &self.made[status.task_id.as_str()];
        let arrived = self.arrived.entry(status.task_id.value.clone()).or_default();
        if arrived.contains(&id) {
            return;
        }
        let place = |id: UpdateId| made.iter().position(|made| made.id == id).expect("made");
        if let Some(last) = arrived.last() {
            assert!(place(*last) < place(id), "out of order: {arrived:?}, then {id:?}");
        }
        arrived.push(id);
    }

    fn acknowledge(&mut self, at: usize) {
        let (task, id) = self.unacknowledged.swap_remove(at);
        let made = &self.made[task.as_str()];
        let weight = made.iter().find(|made| made.id == id).expect("made").weight;
        let expected = match (self.acknowledged.insert(id), weight) {
            (false, _) => Acknowledged::Unknown,
            (true, Weight::Terminal) => Acknowledged::Last,
            (true, Weight::Passing | Weight::Light | Weight::Finding | Weight::Results) => {
                Acknowledged::Earlier
            }
        };
        assert_eq!(self.ledger.acknowledge(&task, id), expected);
    }

    fn finish(mut self) {
        for task in 0..TASKS {
            self.add(task, 3);
        }
        if !self.connected {
            self.subscribe();
        }
        self.now += Duration::from_secs(1);
        loop {
            self.poll();
            match self.calls.len() {
                0 => break,
                calls => self.apply(Op::Answer(calls as u8 - 1)),
            }
        }
        assert!(self.ledger.is_all_sent());
        while !self.unacknowledged.is_empty() {
            self.acknowledge(0);
        }
        assert_eq!(self.ledger.len(), 0, "something was never sent: {:?}", self.ledger);
        for (name, made) in &self.made {
            let arrived = &self.arrived[name];
            assert_eq!(arrived.last(), made.last().map(|made| &made.id), "the last one is the end");
            for (at, one) in made.iter().enumerate() {
                let may_drop = match one.weight {
                    Weight::Passing | Weight::Light => self.policy == UpdatePolicy::Coalesce,
                    Weight::Finding => made[at + 1..].iter().any(|made| made.reason == one.reason),
                    Weight::Results | Weight::Terminal => false,
                };
                assert!(may_drop || arrived.contains(&one.id), "lost: {one:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_each_task_keeps_its_order(
        ops in proptest::collection::vec(op(), 0..200),
        policy in prop_oneof![
            Just(UpdatePolicy::All), Just(UpdatePolicy::Coalesce), Just(UpdatePolicy::Terminal)
        ],
        burst in prop_oneof![Just(0), Just(2), Just(10)],
    ) {
        let mut model = Model::new(policy, burst);
        for op in ops {
            model.apply(op);
        }
        model.finish();
    }
}
