//! How many tasks an agent carries for one executor.

use std::time::{Duration, Instant};

use marmoset_mini::link::ToMaster;
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        ExecutorId, FrameworkId, TaskInfo, TaskState, TaskStatus,
        executor::{Call, Event, call, event},
        task_status::Source,
    },
    recordio,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedReadHalf},
};

use crate::{
    http::{call as json_call, of_e},
    lone::{Lone, idle},
};

/// Tasks of the measurement; the debug build gets fewer.
const TASKS: usize = if cfg!(debug_assertions) { 2_000 } else { 20_000 };
/// Tasks an agent is given before one of them is over.
const AHEAD: usize = 200;

fn request(call: &Call) -> Vec<u8> {
    let body = codec::encode(call, Encoding::Protobuf);
    let mut bytes = format!(
        "POST /api/v1/executor HTTP/1.1\r\nHost: x\r\nAccept: application/x-protobuf\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

fn of_type(kind: call::Type) -> Call {
    Call {
        framework_id: FrameworkId::from("f"),
        executor_id: ExecutorId::from("e"),
        r#type: Some(kind.into()),
        ..Call::default()
    }
}

fn update(task: &TaskInfo, state: TaskState) -> Vec<u8> {
    let status = TaskStatus {
        task_id: task.task_id.clone(),
        state: state.into(),
        source: Some(Source::Executor.into()),
        uuid: Some(uuid::Uuid::new_v4().into_bytes().to_vec().into()),
        ..TaskStatus::default()
    };
    request(&Call { update: Some(call::Update { status }), ..of_type(call::Type::Update) })
}

/// Yields the tasks of LAUNCH events. Chunk borders are records here: one event each.
async fn launches(mut stream: OwnedReadHalf, tasks: tokio::sync::mpsc::Sender<TaskInfo>) {
    let (mut raw, mut piece, mut head) = (Vec::new(), vec![0; 64 << 10], true);
    let mut records = recordio::Decoder::new(1 << 20);
    loop {
        let length = stream.read(&mut piece).await.unwrap_or(0);
        if length == 0 {
            return;
        }
        raw.extend_from_slice(&piece[..length]);
        if head {
            let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            raw.drain(..end + 4);
            head = false;
        }
        let mut at = 0;
        while let Some(line) = raw[at..].windows(2).position(|w| w == b"\r\n") {
            let size = std::str::from_utf8(&raw[at..at + line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let start = at + line + 2;
            if raw.len() < start + size + 2 {
                break;
            }
            records.push(&raw[start..start + size]);
            at = start + size + 2;
        }
        raw.drain(..at);
        while let Some(record) = records.next().unwrap() {
            let event: Event = codec::decode(&record, Encoding::Protobuf).unwrap();
            if event.r#type() == event::Type::Launch
                && tasks.send(event.launch.unwrap().task).await.is_err()
            {
                return;
            }
        }
    }
}

/// An executor that runs nothing: RUNNING and FINISHED for each task, pipelined on one connection.
async fn null_executor(addr: std::net::SocketAddr) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let subscribe = Call { subscribe: Some(Default::default()), ..of_type(call::Type::Subscribe) };
    stream.write_all(&request(&subscribe)).await.unwrap();
    let (reader, _open) = stream.into_split();
    let (sender, mut tasks) = tokio::sync::mpsc::channel(AHEAD);
    tokio::spawn(launches(reader, sender));
    let calls = TcpStream::connect(addr).await.unwrap();
    calls.set_nodelay(true).unwrap();
    let (mut answers, mut calls) = calls.into_split();
    tokio::spawn(async move {
        let mut piece = vec![0; 64 << 10];
        while answers.read(&mut piece).await.unwrap_or(0) > 0 {}
    });
    while let Some(task) = tasks.recv().await {
        let mut updates = update(&task, TaskState::TaskRunning);
        updates.extend_from_slice(&update(&task, TaskState::TaskFinished));
        if calls.write_all(&updates).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_tasks_a_second_pass_through_one_executor() {
    let mut lone = Lone::start().await;
    lone.run(idle("t0"), true);
    let probe = of_e("MESSAGE", "message", serde_json::json!({"data": ""}));
    while json_call(lone.addr, &probe).await.body.starts_with("Framework") {}
    let executor = tokio::spawn(null_executor(lone.addr));
    let start = Instant::now();
    let mut launched = 1;
    let mut finished = 0;
    while finished < TASKS {
        while launched < TASKS && launched - finished < AHEAD {
            lone.run(idle(&format!("t{launched}")), false);
            launched += 1;
        }
        match lone.next().await {
            ToMaster::StatusUpdate { status, .. } => {
                lone.acknowledge(&status);
                finished += usize::from(status.state() == TaskState::TaskFinished);
            }
            other => panic!("{other:?}"),
        }
    }
    let rate = TASKS as f64 / start.elapsed().as_secs_f64();
    eprintln!("{TASKS} tasks with two updates each: {rate:.0} tasks/s");
    executor.abort();
    lone.agent.shutdown().await;
    // The build for people must carry 2,000 a second; this one only must not crawl.
    let floor = if cfg!(debug_assertions) { 100.0 } else { 2_000.0 };
    assert!(rate > floor, "{rate}");
    assert!(start.elapsed() < Duration::from_secs(120));
}
