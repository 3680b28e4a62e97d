use std::time::{Duration, Instant};

use marmoset_proto::mesos::v1::{TaskId, TaskState, TaskStatus};

use super::*;
use crate::{config::UpdatePace, random::Random};

const HOLD: Duration = Duration::from_millis(20);

struct Bench {
    ledger: Ledger,
    random: Random,
    now: Instant,
}

impl Bench {
    fn new(policy: UpdatePolicy) -> Self {
        Self::with(policy, UpdatePace { interval: HOLD, burst: 0 })
    }

    /// Two connections.
    fn with(updates: UpdatePolicy, update_pace: UpdatePace) -> Self {
        let ledger = Ledger::new(&Config {
            updates,
            update_hold: HOLD,
            update_pace,
            update_connections: 2,
            ..Config::new("framework".into(), "executor".into(), [1; 32])
        });
        Self { ledger, random: Random::new([1; 32]), now: Instant::now() }
    }

    fn add(&mut self, task: &str, state: TaskState, weight: Weight) -> UpdateId {
        let id = self.random.update_id();
        let status = TaskStatus {
            task_id: TaskId::from(task),
            state: state.into(),
            uuid: Some(bytes::Bytes::copy_from_slice(id.0.as_bytes())),
            ..TaskStatus::default()
        };
        if self.ledger.wants(weight) {
            self.ledger.add(self.now, id, status, weight);
        }
        id
    }

    /// Sends and answers all that is ready; names what was sent.
    fn flush(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some((call, _, status)) = self.ledger.poll_call(self.now) {
            sent.push(format!("{} {}", status.task_id, status.state().short_name()));
            assert!(self.ledger.call_done(self.now, call));
        }
        sent
    }
}

use TaskState::{TaskFailed, TaskFinished, TaskRunning, TaskStarting};
use UpdatePolicy::{All, Coalesce, Terminal};

#[test]
fn policies() {
    for (policy, sent) in [
        (All, vec!["t starting", "t running", "t finished"]),
        (Coalesce, vec!["t finished"]),
        (Terminal, vec!["t finished"]),
    ] {
        let mut bench = Bench::new(policy);
        bench.add("t", TaskStarting, Weight::Light);
        bench.add("t", TaskRunning, Weight::Light);
        bench.add("t", TaskFinished, Weight::Terminal);
        assert_eq!(bench.flush(), sent, "{policy}");
    }
}

#[test]
fn a_held_update_goes_out_when_nothing_replaces_it() {
    let mut bench = Bench::new(Coalesce);
    bench.add("t", TaskStarting, Weight::Passing);
    assert_eq!(bench.ledger.next_release(), Some(bench.now + HOLD));
    assert_eq!(bench.flush(), [""; 0]);
    bench.now += HOLD;
    assert_eq!(bench.flush(), ["t starting"]);
    bench.add("t", TaskRunning, Weight::Light);
    bench.add("t", TaskFailed, Weight::Terminal);
    assert_eq!(bench.flush(), ["t failed"]);
}

#[test]
fn results_are_never_dropped() {
    for policy in [All, Coalesce, Terminal] {
        let mut bench = Bench::new(policy);
        bench.add("b", TaskRunning, Weight::Results);
        assert!(bench.ledger.has_report(&"b".into()));
        bench.add("b", TaskFinished, Weight::Terminal);
        assert_eq!(bench.flush(), ["b running", "b finished"]);
        assert!(bench.ledger.has_report(&"b".into()));
    }
}

#[test]
fn light_updates_go_at_once_while_there_are_few() {
    let mut bench = Bench::with(Coalesce, UpdatePace { interval: HOLD, burst: 3 });
    bench.add("a", TaskStarting, Weight::Passing);
    assert_eq!(bench.flush(), [""; 0]);
    bench.add("a", TaskRunning, Weight::Light);
    assert_eq!(bench.flush(), ["a running"]);
    bench.add("a", TaskFinished, Weight::Terminal);
    bench.add("b", TaskRunning, Weight::Light);
    bench.add("c", TaskRunning, Weight::Light);
    assert_eq!(bench.flush(), ["a finished", "b running"]);
    bench.add("c", TaskFinished, Weight::Terminal);
    assert_eq!(bench.flush(), ["c finished"]);
    bench.now += HOLD * 2;
    bench.add("d", TaskRunning, Weight::Light);
    assert_eq!(bench.flush(), ["d running"]);
}

#[test]
fn a_flood_of_short_tasks_costs_one_update_each() {
    let mut bench = Bench::with(Coalesce, UpdatePace::default());
    let mut sent = Vec::new();
    for number in 0..2000 {
        let name = format!("t{number}");
        bench.add(&name, TaskStarting, Weight::Passing);
        bench.add(&name, TaskRunning, Weight::Light);
        sent.extend(bench.flush());
        bench.now += Duration::from_millis(2);
        bench.add(&name, TaskFinished, Weight::Terminal);
        sent.extend(bench.flush());
    }
    let running = sent.iter().filter(|line| line.ends_with("running")).count();
    assert_eq!(sent.len() - running, 2000);
    assert!((1..20).contains(&running), "{running}");
}

#[test]
fn each_lane_has_one_call_and_each_task_one_lane() {
    let mut bench = Bench::new(All);
    for state in [TaskStarting, TaskRunning] {
        bench.add("a", state, Weight::Light);
        bench.add("b", state, Weight::Light);
    }
    let (first, lane_a, status_a) = bench.ledger.poll_call(bench.now).unwrap();
    let (second, lane_b, status_b) = bench.ledger.poll_call(bench.now).unwrap();
    assert_eq!((status_a.task_id.as_str(), status_b.task_id.as_str()), ("a", "b"));
    assert_eq!((lane_a, lane_b), (LaneId(0), LaneId(1)));
    assert!(bench.ledger.poll_call(bench.now).is_none());
    assert!(bench.ledger.is_calling(first) && bench.ledger.is_calling(second));
    // The second lane is free; what waits belongs to it as well as to the other.
    assert!(bench.ledger.call_done(bench.now, second));
    assert!(!bench.ledger.call_done(bench.now, second));
    let (third, lane, status) = bench.ledger.poll_call(bench.now).unwrap();
    assert_eq!((lane, status.task_id.as_str()), (lane_b, "b"));
    assert!(bench.ledger.poll_call(bench.now).is_none());
    assert!(bench.ledger.call_done(bench.now, third));
    assert!(bench.ledger.poll_call(bench.now).is_none());
    assert!(bench.ledger.call_done(bench.now, first));
    assert!(!bench.ledger.is_all_sent());
    assert_eq!(bench.flush(), ["a running"]);
    assert!(bench.ledger.is_all_sent());
}

#[test]
fn one_lane_is_enough_where_little_is_said() {
    let mut bench = Bench::new(All);
    for number in 0..10 {
        let id = bench.add(&format!("t{number}"), TaskFinished, Weight::Terminal);
        let (call, lane, status) = bench.ledger.poll_call(bench.now).unwrap();
        assert_eq!(lane, LaneId(0));
        assert!(bench.ledger.call_done(bench.now, call));
        assert_eq!(bench.ledger.acknowledge(&status.task_id, id), Acknowledged::Last);
    }
}

#[test]
fn acknowledgements_match_task_and_uuid() {
    let mut bench = Bench::new(All);
    let starting = bench.add("t", TaskStarting, Weight::Light);
    let finished = bench.add("t", TaskFinished, Weight::Terminal);
    bench.flush();
    assert_eq!(bench.ledger.acknowledge(&"u".into(), starting), Acknowledged::Unknown);
    assert_eq!(bench.ledger.acknowledge(&"t".into(), starting), Acknowledged::Earlier);
    assert_eq!(bench.ledger.acknowledge(&"t".into(), starting), Acknowledged::Unknown);
    assert_eq!(bench.ledger.acknowledge(&"t".into(), finished), Acknowledged::Last);
    assert_eq!(bench.ledger.len(), 0);
}

#[test]
fn an_acknowledgement_may_overtake_the_answer_to_its_call() {
    let mut bench = Bench::new(All);
    let id = bench.add("t", TaskFinished, Weight::Terminal);
    let (call, ..) = bench.ledger.poll_call(bench.now).unwrap();
    assert_eq!(bench.ledger.acknowledge(&"t".into(), id), Acknowledged::Last);
    assert!(bench.ledger.call_done(bench.now, call));
    assert_eq!(bench.ledger.oldest_sent(), None);
}

#[test]
fn a_subscription_repeats_everything_in_order_and_unchanged() {
    let mut bench = Bench::new(Coalesce);
    let first = bench.add("a", TaskRunning, Weight::Results);
    let (.., sent) = bench.ledger.poll_call(bench.now).unwrap();
    bench.add("b", TaskStarting, Weight::Light);
    bench.add("a", TaskFinished, Weight::Terminal);
    let updates = bench.ledger.for_subscription(bench.now);
    let names = updates.iter().map(|u| u.status.task_id.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["a", "b", "a"]);
    assert_eq!(updates[0].status, sent);
    // Nothing is sent a second time by a call; nothing can be dropped any more.
    bench.now += HOLD;
    assert_eq!(bench.flush(), [""; 0]);
    bench.add("b", TaskFinished, Weight::Terminal);
    assert_eq!(bench.flush(), ["b finished"]);
    assert_eq!(bench.ledger.for_subscription(bench.now).len(), 4);
    assert_eq!(bench.ledger.acknowledge(&"a".into(), first), Acknowledged::Earlier);
}

#[test]
fn what_waits_while_disconnected_is_still_coalesced() {
    let mut bench = Bench::new(Coalesce);
    bench.add("a", TaskStarting, Weight::Light);
    bench.add("a", TaskRunning, Weight::Light);
    bench.add("a", TaskFinished, Weight::Terminal);
    assert_eq!(bench.ledger.for_subscription(bench.now).len(), 1);
}

#[test]
fn each_update_raises_one_alarm() {
    let mut bench = Bench::new(All);
    let id = bench.add("t", TaskFinished, Weight::Terminal);
    bench.flush();
    assert_eq!(bench.ledger.oldest_sent(), Some(bench.now));
    assert_eq!(bench.ledger.doubt_oldest(), Some(("t".into(), id)));
    assert_eq!(bench.ledger.oldest_sent(), None);
    bench.ledger.for_subscription(bench.now);
    assert_eq!(bench.ledger.oldest_sent(), None);
}
