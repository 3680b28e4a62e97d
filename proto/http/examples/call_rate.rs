//! Measures what a call costs: round trips on loopback, and time on the CPU.
//!
//! The client runs on one thread, the server, which answers 202 and reads no
//! more than it must, on another. Usage: `call_rate [CALLS]`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use hdrhistogram::Histogram;
use marmoset_http::{Client, ClientConfig, EXECUTOR_PATH, Endpoint, Subscription};
use marmoset_proto::mesos::v1::executor::{Call, Event, call};
use marmoset_proto::mesos::v1::{TaskState, TaskStatus, task_status};

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
    Content-Type: application/x-protobuf\r\n\r\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\
    Date: Mon, 23 Nov 2026 20:31:53 GMT\r\n\r\n";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let count: u32 = std::env::args().nth(1).as_deref().unwrap_or("50000").parse()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = Endpoint::from(listener.local_addr()?);
    std::thread::spawn(move || {
        // The first connection subscribes; it stays open as long as the program.
        let mut stream = listener.accept()?.0;
        read_request(&mut stream, &mut Vec::new())?;
        stream.write_all(STREAM)?;
        let mut calls = listener.accept()?.0;
        calls.set_nodelay(true)?;
        let mut buffer = Vec::new();
        while read_request(&mut calls, &mut buffer)? {
            calls.write_all(ACCEPTED)?;
        }
        std::io::Result::Ok(())
    });
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure(&endpoint, count))
}

async fn measure(endpoint: &Endpoint, count: u32) -> Result<(), Failure> {
    let client = Client::new(ClientConfig::default())?;
    let mut call = Call {
        executor_id: "marmoset".into(),
        framework_id: "3110ccd5-37df-41c0-bc9b-768e09c0b344-0000".into(),
        r#type: Some(call::Type::Subscribe.into()),
        subscribe: Some(call::Subscribe::default()),
        ..Call::default()
    };
    let subscription: Subscription<Event> =
        client.subscribe(endpoint, EXECUTOR_PATH, &call).await?;
    let calls = subscription.calls();
    call.r#type = Some(call::Type::Update.into());
    call.subscribe = None;
    let status = TaskStatus {
        task_id: "job.12345".into(),
        state: TaskState::TaskFinished.into(),
        source: Some(task_status::Source::Executor.into()),
        uuid: Some(vec![7; 16].into()),
        message: Some("Command exited with status 0".to_owned()),
        ..TaskStatus::default()
    };
    call.update = Some(call::Update { status });

    for _ in 0..count / 10 {
        calls.send(&call).await?;
    }
    let mut trips = Histogram::<u64>::new(3)?;
    let (start, busy) = (Instant::now(), time_on_cpu()?);
    for _ in 0..count {
        let sent = Instant::now();
        calls.send(&call).await?;
        trips.record(u64::try_from(sent.elapsed().as_nanos())?)?;
    }
    let (took, busy) = (start.elapsed(), time_on_cpu()? - busy);
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    println!("{count} calls, {:.0} a second", f64::from(count) / took.as_secs_f64());
    println!(
        "round trip: p50 {:.1} µs, p99 {:.1} µs, max {:.1} µs",
        micros(trips.value_at_quantile(0.5)),
        micros(trips.value_at_quantile(0.99)),
        micros(trips.max())
    );
    println!("client on the CPU: {:.1} µs a call", micros(busy) / f64::from(count));
    Ok(())
}

/// Reads one request; `false` at the end of the connection.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    const LENGTH: &[u8] = b"content-length: ";
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = &buffer[..end];
            let length =
                head.windows(LENGTH.len()).position(|name| name == LENGTH).map_or(0, |at| {
                    head[at + LENGTH.len()..]
                        .iter()
                        .take_while(|byte| byte.is_ascii_digit())
                        .fold(0, |length, byte| length * 10 + usize::from(byte - b'0'))
                });
            if buffer.len() >= end + 4 + length {
                buffer.drain(..end + 4 + length);
                return Ok(true);
            }
        }
        match stream.read(&mut piece)? {
            0 => return Ok(false),
            read => buffer.extend_from_slice(&piece[..read]),
        }
    }
}

/// Nanoseconds this thread has run, kernel included.
fn time_on_cpu() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}
