use marmoset_proto::mesos::v1::TaskState::{self, TaskFinished, TaskRunning, TaskStarting};
use proptest::prelude::*;

use super::*;

const RETRY: Retry = Retry { first: Duration::from_secs(10), longest: Duration::from_secs(35) };

fn key(task: &str) -> StreamKey {
    StreamKey { framework: "f".into(), task: task.into() }
}

fn uuid(number: u8) -> Bytes {
    Bytes::from(vec![number; 16])
}

fn status(task: &str, state: TaskState, number: u8) -> TaskStatus {
    TaskStatus {
        task_id: task.into(),
        state: state.into(),
        uuid: Some(uuid(number)),
        ..TaskStatus::default()
    }
}

fn sent(forwards: Vec<Forward>) -> Vec<(u8, TaskState)> {
    forwards.into_iter().map(|f| (f.status.uuid.unwrap()[0], f.latest)).collect()
}

fn streams(now: Instant) -> UpdateStreams {
    let mut streams = UpdateStreams::new(RETRY);
    assert!(streams.resume(now).is_empty());
    streams
}

#[test]
fn one_update_is_in_flight_and_the_latest_state_goes_with_it() {
    let now = Instant::now();
    let mut streams = streams(now);
    let mut receive =
        |state, number| match streams.receive(now, key("t"), None, status("t", state, number)) {
            Receipt::Forward(forward) => Some((forward.status.uuid.unwrap()[0], forward.latest)),
            Receipt::Queued => None,
            Receipt::Duplicate => Some((0, TaskState::TaskUnknown)),
        };
    assert_eq!(receive(TaskStarting, 1), Some((1, TaskStarting)));
    assert_eq!(receive(TaskRunning, 2), None);
    assert_eq!(receive(TaskRunning, 2), Some((0, TaskState::TaskUnknown)), "a duplicate");
    assert_eq!(receive(TaskFinished, 3), None);
    let mut acknowledge = |number| match streams.acknowledge(now, &key("t"), &uuid(number)) {
        Acknowledgement::Next(Some(next)) => {
            format!("{} {:?}", next.status.uuid.unwrap()[0], next.latest)
        }
        other => format!("{other:?}"),
    };
    assert_eq!(acknowledge(2), "Ignored", "not in flight");
    assert_eq!(acknowledge(1), "2 TaskFinished");
    assert_eq!(acknowledge(1), "Ignored", "again");
    assert_eq!(acknowledge(2), "3 TaskFinished");
    assert_eq!(acknowledge(3), "Terminal");
    assert_eq!(acknowledge(3), "Ignored", "gone");
    assert_eq!(streams.poll_wake(), None);
}

#[test]
fn an_unacknowledged_update_is_sent_again_at_doubling_intervals() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut streams = streams(start);
    streams.receive(start, key("t"), None, status("t", TaskRunning, 1));
    let mut times = Vec::new();
    for _ in 0..5 {
        let wake = streams.poll_wake().unwrap();
        assert!(streams.handle_wake(wake - Duration::from_millis(1)).is_empty());
        assert_eq!(sent(streams.handle_wake(wake)), [(1, TaskRunning)]);
        times.push(wake - start);
    }
    assert_eq!(times.map_secs(), [10, 30, 65, 100, 135]);
    // The next update starts with a short interval again.
    streams.receive(at(135), key("t"), None, status("t", TaskRunning, 2));
    streams.acknowledge(at(136), &key("t"), &uuid(1));
    assert_eq!(streams.poll_wake(), Some(at(146)));
}

trait MapSecs {
    fn map_secs(&self) -> Vec<u64>;
}

impl MapSecs for Vec<Duration> {
    fn map_secs(&self) -> Vec<u64> {
        self.iter().map(Duration::as_secs).collect()
    }
}

#[test]
fn without_a_master_updates_wait_and_then_go_out_together() {
    let now = Instant::now();
    let mut streams = UpdateStreams::new(RETRY);
    assert_eq!(streams.receive(now, key("a"), None, status("a", TaskRunning, 1)), Receipt::Queued);
    assert_eq!(streams.receive(now, key("b"), None, status("b", TaskRunning, 2)), Receipt::Queued);
    assert_eq!(streams.poll_wake(), None);
    assert_eq!(sent(streams.resume(now)), [(1, TaskRunning), (2, TaskRunning)]);
    streams.pause();
    assert_eq!(streams.poll_wake(), None);
    assert!(streams.handle_wake(now + Duration::from_secs(60)).is_empty());
    assert_eq!(sent(streams.resume(now)), [(1, TaskRunning), (2, TaskRunning)]);
}

#[test]
fn a_framework_that_is_back_gets_only_its_own_heads() {
    let now = Instant::now();
    let mut streams = streams(now);
    let other = StreamKey { framework: "g".into(), task: "t".into() };
    streams.receive(now, key("t"), None, status("t", TaskRunning, 1));
    streams.receive(now, other.clone(), None, status("t", TaskRunning, 2));
    assert_eq!(sent(streams.resend(now, &"f".into())), [(1, TaskRunning)]);
    streams.remove_framework(&"f".into());
    assert!(streams.resend(now, &"f".into()).is_empty());
    assert_eq!(streams.frameworks().into_iter().collect::<Vec<_>>(), ["g".into()]);
    assert_eq!(sent(streams.resume(now)), [(2, TaskRunning)]);
}

#[derive(Debug, Clone)]
enum Step {
    Receive(u8, bool),
    AcknowledgeSent,
    AcknowledgeWrong(u8),
    Wait(u64),
    Pause,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..40, prop::bool::weighted(0.1)).prop_map(|(n, end)| Step::Receive(n, end)),
        4 => Just(Step::AcknowledgeSent),
        1 => (1u8..40).prop_map(Step::AcknowledgeWrong),
        2 => (0u64..40).prop_map(Step::Wait),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
    ]
}

proptest! {
    /// Against a queue: what is sent is always the oldest update not acknowledged.
    #[test]
    fn only_the_head_is_ever_sent(steps in prop::collection::vec(step(), 0..60)) {
        let mut now = Instant::now();
        let mut streams = streams(now);
        let mut queue: VecDeque<(u8, bool)> = VecDeque::new();
        let mut received = BTreeSet::new();
        for step in steps {
            let sent = match step {
                Step::Receive(number, end) => {
                    let state = if end { TaskFinished } else { TaskRunning };
                    let receipt = streams.receive(now, key("t"), None, status("t", state, number));
                    prop_assert_eq!(receipt == Receipt::Duplicate, received.contains(&number));
                    if received.insert(number) {
                        queue.push_back((number, end));
                    }
                    match receipt {
                        Receipt::Forward(forward) => vec![*forward],
                        Receipt::Queued | Receipt::Duplicate => Vec::new(),
                    }
                }
                Step::AcknowledgeSent => {
                    let Some((number, end)) = queue.pop_front() else { continue };
                    let got = streams.acknowledge(now, &key("t"), &uuid(number));
                    if end {
                        prop_assert_eq!(&got, &Acknowledgement::Terminal);
                        queue.clear();
                        received.clear();
                    }
                    match got {
                        Acknowledgement::Next(Some(next)) => vec![*next],
                        Acknowledgement::Next(None) | Acknowledgement::Terminal => Vec::new(),
                        Acknowledgement::Ignored => {
                            return Err(TestCaseError::fail("the head's acknowledgement counts"));
                        }
                    }
                }
                Step::AcknowledgeWrong(number) => {
                    if queue.front().is_some_and(|head| head.0 == number) {
                        continue;
                    }
                    let got = streams.acknowledge(now, &key("t"), &uuid(number));
                    prop_assert_eq!(got, Acknowledgement::Ignored);
                    Vec::new()
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    streams.handle_wake(now)
                }
                Step::Pause => {
                    streams.pause();
                    Vec::new()
                }
                Step::Resume => streams.resume(now),
            };
            for forward in sent {
                prop_assert_eq!(forward.status.uuid.unwrap()[0], queue.front().unwrap().0);
            }
            prop_assert!(streams.poll_wake().is_none_or(|_| !queue.is_empty()));
        }
    }
}
