//! Recorded streams of a real master, event by event.
//!
//! `testdata/*.bin` is what a Mesos master sent to other schedulers: one HTTP response each.
//! The core did not launch the Mesos tasks they tell of, so it kills what runs, and must
//! acknowledge exactly what asks for it.

use std::path::Path;

use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        TaskState,
        scheduler::{Event, call, event},
    },
    recordio,
};
use marmoset_scheduler_core::SessionInput;

use crate::env::{Env, config, job};

/// The events of a recorded response.
fn events(name: &str) -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    let bytes = std::fs::read(&path).unwrap();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let encoding = match headers.contains("application/json") {
        true => Encoding::Json,
        false => Encoding::Protobuf,
    };
    let mut decoder = recordio::Decoder::new(1 << 20);
    let mut rest = &bytes[head + 4..];
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let begin = line + 2;
        if size == 0 || rest.len() < begin + size {
            break;
        }
        decoder.push(&rest[begin..begin + size]);
        rest = &rest[begin + size + 2..];
    }
    std::iter::from_fn(|| decoder.next().unwrap())
        .map(|record| codec::decode::<Event>(&record, encoding).unwrap())
        .collect()
}

fn replay(name: &str) {
    let events = events(name);
    assert!(events.len() > 3, "{name}: {} events", events.len());
    let mut config = config();
    config.timing.waiting_notice = std::time::Duration::from_secs(1000);
    let mut env = Env::with(config);
    env.notices = true;
    let mut spec = job(1, 1);
    // More than the agent has: offers are read and declined.
    spec.need.cpus = marmoset_proto::resources::Millis(1_000_000);
    env.submit(spec);
    env.session(SessionInput::Connected);
    let (mut wanted, mut running, mut offers, mut errors) = (Vec::new(), 0, 0, 0);
    for event in events {
        match event.r#type() {
            event::Type::Update => {
                let status = &event.update.as_ref().unwrap().status;
                if let (Some(uuid), Some(agent)) = (&status.uuid, &status.agent_id) {
                    wanted.push((status.task_id.clone(), agent.clone(), uuid.clone()));
                }
                running += u32::from(matches!(
                    status.state(),
                    TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskRunning
                ));
            }
            event::Type::Offers => offers += event.offers.as_ref().unwrap().offers.len(),
            event::Type::Error => errors += 1,
            _ => {}
        }
        env.session(SessionInput::Event(Box::new(event)));
    }
    let acknowledged = env
        .calls
        .iter()
        .filter_map(|call| call.acknowledge.clone())
        .map(|call| (call.task_id, call.agent_id, call.uuid))
        .collect::<Vec<_>>();
    assert_eq!(acknowledged, wanted, "{name}");
    let count = |kind| env.calls.iter().filter(|call| call.r#type() == kind).count();
    assert_eq!(count(call::Type::Kill), running as usize, "{name}");
    let declined = env
        .calls
        .iter()
        .filter_map(|call| call.decline.as_ref())
        .map(|decline| decline.offer_ids.len());
    assert_eq!(declined.sum::<usize>(), offers, "{name}");
    assert_eq!(errors, 0, "{name}");
    let malformed = env.drain().into_iter().filter(|line| line.contains("note: offer `"));
    assert_eq!(malformed.collect::<Vec<_>>(), Vec::<String>::new(), "{name}");
}

#[test]
fn recorded_streams() {
    for name in [
        "json-builtin.bin",
        "json-crash.bin",
        "json-custom.bin",
        "json-docker-builtin.bin",
        "json-errors.bin",
        "json-group.bin",
        "proto-builtin.bin",
        "proto-custom.bin",
    ] {
        replay(name);
    }
}

/// The first offer of a recording is used as it came.
#[test]
fn a_recorded_offer_is_enough_to_launch() {
    let mut env = Env::with(config());
    let mut spec = job(40, 20);
    spec.need.ports = 1;
    env.submit(spec);
    env.session(SessionInput::Connected);
    for event in events("json-custom.bin").into_iter().take(3) {
        env.session(SessionInput::Event(Box::new(event)));
    }
    let accept = env.last_accept_after_drain();
    let tasks = &accept.operations[0].launch.as_ref().unwrap().task_infos;
    let own = tasks[0].executor.as_ref().unwrap();
    assert_eq!(
        own.framework_id.as_ref().unwrap().as_str(),
        "3110ccd5-37df-41c0-bc9b-768e09c0b344-0000"
    );
    assert_eq!(own.resources.len(), 2);
    let of = |task: &marmoset_proto::mesos::v1::TaskInfo| {
        marmoset_proto::resources::Resources::from_proto(&task.resources).unwrap().to_string()
    };
    let used = tasks.iter().map(of).collect::<Vec<_>>();
    assert_eq!(
        used,
        [
            "cpus(allocated: *):4; mem(allocated: *):64; ports(allocated: *):[8000-8003]",
            "cpus(allocated: *):3; mem(allocated: *):48; ports(allocated: *):[8004-8006]",
        ]
    );
}
