//! What lies between a task's arrival and its process, piece by piece.
//!
//! `cargo bench -p marmoset-executor --bench path`. The whole path is measured by
//! `marmoset bench spawn`, the ways to create a process by `--bench spawn`.
#![expect(clippy::unwrap_used, reason = "a measurement that fails may end")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use marmoset_executor::{
    bench::{RequestBench, decode_spawn, encode_spawn},
    floor::floor,
    launcher::{LauncherConfig, RateOutput, SpawnRateConfig, spawn_rate},
};
use marmoset_executor_core::bench::LedgerBench;
use marmoset_proto::{
    codec::{self, Encoding},
    marmoset::v1::TaskSpec,
    mesos::v1::{
        CommandInfo, TaskInfo, TaskState, TaskStatus,
        executor::{Call, Event, call, event},
    },
};

/// Requests that travel together.
const FRAME: usize = 64;

/// Variables that tasks inherit from an agent.
const VARIABLES: usize = 20;

fn ledger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger: three updates of a task");
    for waiting in [0, 10_000] {
        let mut bench = LedgerBench::new(Instant::now(), waiting);
        group.bench_function(format!("{waiting} others wait"), |bencher| {
            bencher.iter(|| bench.task());
        });
    }
}

fn request(criterion: &mut Criterion) {
    let mut bench = RequestBench::new(VARIABLES);
    criterion.bench_function("request of an item", |bencher| {
        bencher.iter(|| black_box(bench.request()));
    });
}

fn wire(criterion: &mut Criterion) {
    let mut bench = RequestBench::new(VARIABLES);
    let mut group = criterion.benchmark_group("wire of the launcher");
    group.throughput(Throughput::Elements(FRAME as u64));
    group.bench_function("encode", |bencher| {
        let spawns = || (0..FRAME).map(|_| bench.request()).collect::<Vec<_>>();
        bencher.iter_batched(spawns, encode_spawn, BatchSize::SmallInput);
    });
    let mut bench = RequestBench::new(VARIABLES);
    let frame = encode_spawn((0..FRAME).map(|_| bench.request()).collect());
    group.bench_function("decode", |bencher| {
        bencher.iter(|| assert_eq!(decode_spawn(black_box(&frame)), FRAME));
    });
}

/// What the agent says and hears: in which encoding, and whether it is worth a thread of its own.
fn agent(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("agent");
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let launch = codec::encode(&launch(), encoding);
        group.bench_function(format!("decode LAUNCH, {encoding:?}"), |bencher| {
            bencher.iter(|| codec::decode::<Event>(black_box(&launch), encoding).unwrap());
        });
        for (name, data) in [("a task", 40), ("a full report", 256 << 10)] {
            let update = update(data);
            group.bench_function(format!("encode UPDATE of {name}, {encoding:?}"), |bencher| {
                bencher.iter(|| codec::encode(black_box(&update), encoding));
            });
        }
    }
}

fn launch() -> Event {
    let command = CommandInfo { value: Some("exit 0".into()), ..CommandInfo::default() };
    let spec = TaskSpec { command: Some(command), ..TaskSpec::default() };
    let task = TaskInfo {
        name: "job.7".into(),
        task_id: "job.7".into(),
        agent_id: "3110ccd5-37df-41c0-bc9b-768e09c0b344-S0".into(),
        data: Some(codec::encode(&spec, Encoding::Protobuf)),
        ..TaskInfo::default()
    };
    let launch = Some(event::Launch { task });
    Event { r#type: Some(event::Type::Launch.into()), launch, ..Event::default() }
}

fn update(data: usize) -> Call {
    let status = TaskStatus {
        task_id: "job.7".into(),
        state: TaskState::TaskFinished.into(),
        message: Some("Command exited with status 0".into()),
        uuid: Some(vec![7; 16].into()),
        data: Some(vec![1; data].into()),
        ..TaskStatus::default()
    };
    Call {
        executor_id: "marmoset".into(),
        framework_id: "3110ccd5-37df-41c0-bc9b-768e09c0b344-0000".into(),
        r#type: Some(call::Type::Update.into()),
        update: Some(call::Update { status }),
        ..Call::default()
    }
}

/// Time for a process: of a bare loop, and of the launcher with as many workers.
fn spawn(criterion: &mut Criterion) {
    let program = || env!("CARGO_BIN_EXE_marmoset-executor").into();
    let launcher = LauncherConfig::new(program(), vec!["launcher".into()]);
    let workers = launcher.worker_count().get();
    let mut group = criterion.benchmark_group("spawn");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("bare loop", |bencher| {
        bencher.iter_custom(|count| floor(workers, count as usize, false).unwrap().elapsed);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    group.bench_function("launcher", |bencher| {
        bencher.iter_custom(|count| {
            let config = SpawnRateConfig {
                launcher: launcher.clone(),
                count: count as usize,
                in_flight: 64,
                output: RateOutput::Null,
            };
            runtime.block_on(spawn_rate(config)).unwrap().elapsed
        });
    });
    group.finish();
}

criterion_group!(path, ledger, request, wire, agent, spawn);
criterion_main!(path);
