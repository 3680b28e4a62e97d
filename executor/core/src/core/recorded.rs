//! Streams of a real agent, replayed.

use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::executor::{Event, event},
    recordio::Decoder,
};

use super::sim::{Sim, config};
use crate::{Exit, Input};

/// Takes the events out of an HTTP answer in chunks.
fn events(answer: &[u8]) -> Vec<Event> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    assert!(text.starts_with("http/1.1 200 ok"));
    let encoding =
        if text.contains("application/json") { Encoding::Json } else { Encoding::Protobuf };
    let mut decoder = Decoder::new(1 << 20);
    let mut events = Vec::new();
    let mut rest = &answer[head..];
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("a length");
        let size = usize::from_str_radix(size, 16).expect("a length in hex");
        let start = end + 2;
        let Some(chunk) = rest.get(start..start + size) else { break };
        decoder.push(chunk);
        while let Some(record) = decoder.next().expect("records") {
            events.push(codec::decode(&record, encoding).expect("an event"));
        }
        rest = &rest[(start + size + 2).min(rest.len())..];
    }
    events
}

/// Plays a stream against a core whose tasks start at once and end when the agent
/// acknowledges more than was sent.
fn replay(answer: &[u8]) -> Sim {
    let mut sim = Sim::new(config());
    let connection = sim.connection.expect("a SUBSCRIBE");
    sim.input(Input::Connected(connection));
    for event in events(answer) {
        match event.r#type() {
            event::Type::Acknowledged => {
                let task = event.acknowledged.expect("its content").task_id.value;
                acknowledge(&mut sim, &task);
            }
            _ => sim.event(event),
        }
        let spawned = sim.runs.keys().cloned().collect::<Vec<_>>();
        spawned.iter().for_each(|task| sim.started(task));
    }
    sim
}

/// Acknowledges the oldest update of the task: the recorded uuid is that of another executor.
fn acknowledge(sim: &mut Sim, task: &str) {
    while sim.answer() {}
    let find = |sim: &Sim| sim.unacknowledged.iter().position(|s| s.task_id.as_str() == task);
    if find(sim).is_none() && sim.runs.contains_key(task) {
        sim.exited(task, 0);
        while sim.answer() {}
    }
    if let Some(at) = find(sim) {
        let status = sim.unacknowledged.remove(at).expect("it is there");
        sim.acknowledge_one(&status);
    }
}

#[test]
fn a_group_runs() {
    let sim = replay(include_bytes!("../../testdata/json-group.bin"));
    assert_eq!(sim.exit, Some(Exit::Ordered));
    insta::assert_snapshot!(sim.log);
}

#[test]
fn foreign_data_is_refused_task_by_task() {
    let sim = replay(include_bytes!("../../testdata/json-custom.bin"));
    assert_eq!(sim.exit, Some(Exit::Ordered));
    insta::assert_snapshot!(sim.log);
}

#[test]
fn every_stream_is_understood() {
    for (answer, tasks) in [
        (&include_bytes!("../../testdata/json-crash.bin")[..], 2),
        (include_bytes!("../../testdata/json-errors.bin"), 1),
        (include_bytes!("../../testdata/proto-custom.bin"), 6),
    ] {
        let sim = replay(answer);
        assert!(!sim.log.contains("note: event"), "{}", sim.log);
        assert_eq!(sim.log.matches("note: refused").count(), tasks, "{}", sim.log);
        assert_eq!(sim.core.active_tasks(), 0);
    }
}
