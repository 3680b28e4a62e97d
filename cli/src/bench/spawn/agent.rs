//! An agent of a few lines, for what is to be measured from the agent's side.
//!
//! Owns one executor process and both ends of the wire: it launches tasks when it
//! is told, notes when each update arrives, and acknowledges it at once. Called
//! by the rows about latency and memory.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        AgentInfo, ExecutorInfo, FrameworkInfo, TaskInfo, TaskStatus,
        executor::{Call, Event, call, event},
    },
    recordio,
};

use super::program::Program;
use crate::folder::Temporary;

/// Nothing here takes that long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// An executor and its agent.
#[derive(Debug)]
pub(super) struct Agent {
    executor: Child,
    stream: Stream,
    updates: mpsc::Receiver<Update>,
    _folder: Temporary,
}

/// An update, and when the last byte of it was here.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) status: TaskStatus,
    pub(super) at: Instant,
}

/// Where events go, once the executor has subscribed.
type Stream = Arc<Mutex<Option<TcpStream>>>;

impl Agent {
    /// Starts an executor and waits for its subscription.
    ///
    /// # Errors
    /// It does not start or does not subscribe.
    pub(super) fn start(program: &Program) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let address = listener.local_addr()?.to_string();
        let folder = Temporary::fast()?;
        let log = File::create(folder.path().join("stderr"))?;
        let executor = Command::new(&program.path)
            .args(&program.arguments)
            .args(["--log", "warn"])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("MESOS_AGENT_ENDPOINT", &address)
            .env("MESOS_SLAVE_PID", format!("slave(1)@{address}"))
            .env("MESOS_FRAMEWORK_ID", "bench")
            .env("MESOS_EXECUTOR_ID", "bench")
            .env("MESOS_SANDBOX", folder.path())
            .env("MESOS_DIRECTORY", folder.path())
            .env("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs")
            .env("MESOS_CHECKPOINT", "0")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.path.display()))?;
        let (sender, updates) = mpsc::channel();
        let (subscribed, subscription) = mpsc::channel();
        let stream = Stream::default();
        let shared = Arc::clone(&stream);
        // Ends with the executor, whose connections it serves.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (sender, subscribed) = (sender.clone(), subscribed.clone());
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&connection, &sender, &subscribed, &shared));
            }
        });
        let mut agent = Self { executor, stream, updates, _folder: folder };
        if subscription.recv_timeout(PATIENCE).is_err() {
            let ended = agent.executor.try_wait()?;
            bail!("the executor does not subscribe ({ended:?})");
        }
        Ok(agent)
    }

    pub(super) fn executor(&self) -> i32 {
        self.executor.id() as i32
    }

    /// Gives a task to the executor: the result is the moment right before its bytes leave.
    ///
    /// # Errors
    /// The executor is gone.
    pub(super) fn launch(&self, task: TaskInfo) -> anyhow::Result<Instant> {
        let launch = Some(event::Launch { task });
        let event = Event { r#type: Some(event::Type::Launch.into()), launch, ..Event::default() };
        let chunk = chunk(&event);
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        stream.as_mut().context("there is no stream")?.write_all(&chunk)?;
        Ok(at)
    }

    /// Waits for the next update.
    ///
    /// # Errors
    /// None came.
    pub(super) fn update(&self) -> anyhow::Result<Update> {
        self.updates.recv_timeout(PATIENCE).context("the executor says nothing")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.executor.kill();
        let _ = self.executor.wait();
    }
}

/// Answers what comes over one connection, until there is nothing more.
fn serve(
    connection: &TcpStream,
    updates: &mpsc::Sender<Update>,
    subscribed: &mpsc::Sender<()>,
    stream: &Stream,
) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut writer = connection.try_clone().ok()?;
    let mut reader = BufReader::new(connection);
    loop {
        let body = read_request(&mut reader)?;
        let at = Instant::now();
        let call = codec::decode::<Call>(&body, Encoding::Protobuf).ok()?;
        if call.r#type() == call::Type::Subscribe {
            writer
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                      Transfer-Encoding: chunked\r\n\r\n",
                )
                .ok()?;
            writer.write_all(&chunk(&welcome())).ok()?;
            *stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer.try_clone().ok()?);
            subscribed.send(()).ok()?;
            continue;
        }
        writer.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").ok()?;
        let status = call.update?.status;
        let chunk = chunk(&acknowledgement(&status));
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_mut()?.write_all(&chunk).ok()?;
        updates.send(Update { status, at }).ok()?;
    }
}

fn welcome() -> Event {
    let subscribed = event::Subscribed {
        executor_info: ExecutorInfo::default(),
        framework_info: FrameworkInfo::default(),
        agent_info: AgentInfo::default(),
        container_id: None,
    };
    let kind = Some(event::Type::Subscribed.into());
    Event { r#type: kind, subscribed: Some(subscribed), ..Event::default() }
}

fn acknowledgement(status: &TaskStatus) -> Event {
    let uuid = status.uuid.clone().unwrap_or_default();
    let acknowledged = Some(event::Acknowledged { task_id: status.task_id.clone(), uuid });
    let kind = Some(event::Type::Acknowledged.into());
    Event { r#type: kind, acknowledged, ..Event::default() }
}

/// An event as one chunk of the stream.
fn chunk(event: &Event) -> Vec<u8> {
    let record = recordio::encode(&codec::encode(event, Encoding::Protobuf));
    let mut chunk = format!("{:x}\r\n", record.len()).into_bytes();
    chunk.extend_from_slice(&record);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Reads one request's body.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
