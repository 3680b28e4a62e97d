use std::time::{Duration, Instant};

use marmoset_proto::mesos::v1::{TaskId, TaskState, TaskStatus};

use super::*;
use crate::random::Random;

const HOLD: Duration = Duration::from_millis(20);

struct Bench {
    ledger: Ledger,
    random: Random,
    now: Instant,
}

impl Bench {
    fn new(policy: UpdatePolicy) -> Self {
        let hold = if policy == UpdatePolicy::Coalesce { HOLD } else { Duration::ZERO };
        let ledger = Ledger::new(policy, hold, 2);
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
        while let Some((call, status)) = self.ledger.poll_call(self.now) {
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
    bench.add("t", TaskStarting, Weight::Light);
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
fn calls_are_bounded() {
    let mut bench = Bench::new(All);
    for state in [TaskStarting, TaskRunning] {
        bench.add("a", state, Weight::Light);
    }
    bench.add("a", TaskFinished, Weight::Terminal);
    let (first, _) = bench.ledger.poll_call(bench.now).unwrap();
    let (second, _) = bench.ledger.poll_call(bench.now).unwrap();
    assert!(bench.ledger.poll_call(bench.now).is_none());
    assert!(bench.ledger.is_calling(first) && bench.ledger.is_calling(second));
    assert!(bench.ledger.call_done(bench.now, first));
    assert!(!bench.ledger.call_done(bench.now, first));
    assert_eq!(bench.flush(), ["a finished"]);
    assert!(!bench.ledger.is_all_sent());
    bench.ledger.call_done(bench.now, second);
    assert!(bench.ledger.is_all_sent());
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
    let (call, _) = bench.ledger.poll_call(bench.now).unwrap();
    assert_eq!(bench.ledger.acknowledge(&"t".into(), id), Acknowledged::Last);
    assert!(bench.ledger.call_done(bench.now, call));
    assert_eq!(bench.ledger.oldest_sent(), None);
}

#[test]
fn a_subscription_repeats_everything_in_order_and_unchanged() {
    let mut bench = Bench::new(Coalesce);
    let first = bench.add("a", TaskRunning, Weight::Results);
    let (_, sent) = bench.ledger.poll_call(bench.now).unwrap();
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
