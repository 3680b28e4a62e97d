//! An agent of a few lines: one executor, every update is acknowledged.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Barrier, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        AgentInfo, ExecutorInfo, FrameworkInfo, TaskInfo, TaskStatus,
        executor::{Call, Event, call, event},
    },
    recordio,
};
use tempfile::TempDir;

/// Nothing here takes that long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the executor was told and has said.
pub(crate) struct Agent {
    pub(crate) sandbox: TempDir,
    executor: Child,
    calls: mpsc::Receiver<Call>,
    stream: Arc<Mutex<Option<TcpStream>>>,
}

impl Agent {
    /// Listens, starts an executor, and waits for its subscription.
    pub(crate) fn start(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let agent = Self::start_only(variables, arguments);
        agent.subscription();
        agent
    }

    /// Answers no update before this many have come over as many connections, time and again.
    pub(crate) fn start_gated(arguments: &[&str], connections: usize) -> Self {
        let agent = Self::start_with(&[], arguments, Some(Arc::new(Barrier::new(connections))));
        agent.subscription();
        agent
    }

    pub(crate) fn start_only(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        Self::start_with(variables, arguments, None)
    }

    /// Starts an executor for an ordinary user, as only root can.
    pub(crate) fn start_as(uid: u32, arguments: &[&str]) -> Self {
        let agent = Self::start_only_as(uid, arguments);
        agent.subscription();
        agent
    }

    pub(crate) fn start_only_as(uid: u32, arguments: &[&str]) -> Self {
        // Where that user can read it.
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copy = folder.path().join("executor");
        fs::copy(env!("CARGO_BIN_EXE_marmoset-executor"), &copy).unwrap();
        let mut command = Command::new(copy);
        command.uid(uid).gid(uid).args(arguments);
        Self::start_command(command, &[], None, |sandbox| {
            chown(sandbox, Some(uid), Some(uid)).unwrap();
        })
    }

    fn start_with(
        variables: &[(&str, &str)],
        arguments: &[&str],
        gate: Option<Arc<Barrier>>,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marmoset-executor"));
        command.args(arguments);
        Self::start_command(command, variables, gate, |_| {})
    }

    /// Starts the executor by another program, which is given the executor's path at the end of its arguments.
    pub(crate) fn start_by(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(env!("CARGO_BIN_EXE_marmoset-executor"));
        let agent = Self::start_command(command, &[], None, |_| {});
        agent.subscription();
        agent
    }

    fn start_command(
        mut command: Command,
        variables: &[(&str, &str)],
        gate: Option<Arc<Barrier>>,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sandbox = tempfile::tempdir().unwrap();
        prepare(sandbox.path());
        let executor = command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("MESOS_AGENT_ENDPOINT", &address)
            .env("MESOS_SLAVE_PID", format!("slave(1)@{address}"))
            .env("MESOS_FRAMEWORK_ID", "framework")
            .env("MESOS_EXECUTOR_ID", "executor")
            .env("MESOS_SANDBOX", sandbox.path())
            .env("MESOS_DIRECTORY", sandbox.path())
            .env("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs")
            .env("MESOS_CHECKPOINT", "0")
            .envs(variables.iter().copied())
            .current_dir(sandbox.path())
            .stdin(Stdio::null())
            .stdout(File::create(sandbox.path().join("stdout")).unwrap())
            .stderr(File::create(sandbox.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let (sender, calls) = mpsc::channel();
        let stream = Arc::new(Mutex::new(None));
        let shared = stream.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(connection) = connection else { return };
                let (sender, shared, gate) = (sender.clone(), shared.clone(), gate.clone());
                thread::spawn(move || serve(connection, &sender, &shared, gate.as_deref()));
            }
        });
        Self { sandbox, executor, calls, stream }
    }

    /// Waits for the next SUBSCRIBE.
    pub(crate) fn subscription(&self) -> call::Subscribe {
        loop {
            if let Some(subscribe) = self.call().subscribe {
                return subscribe;
            }
        }
    }

    /// Waits for the next update.
    pub(crate) fn update(&self) -> TaskStatus {
        loop {
            if let Some(update) = self.call().update {
                return update.status;
            }
        }
    }

    /// Waits for the last update of a task.
    pub(crate) fn end_of(&self, task: &str) -> TaskStatus {
        loop {
            let status = self.update();
            if status.task_id.as_str() == task && status.state().is_terminal() {
                return status;
            }
        }
    }

    fn call(&self) -> Call {
        self.calls.recv_timeout(PATIENCE).expect("the executor says something")
    }

    pub(crate) fn launch(&self, task: TaskInfo) {
        let launch = Some(event::Launch { task });
        self.send(Event { r#type: Some(event::Type::Launch.into()), launch, ..Event::default() });
    }

    pub(crate) fn kill(&self, task: &str) {
        let kill = Some(event::Kill { task_id: task.into(), kill_policy: None });
        self.send(Event { r#type: Some(event::Type::Kill.into()), kill, ..Event::default() });
    }

    pub(crate) fn shutdown(&self) {
        self.send(Event { r#type: Some(event::Type::Shutdown.into()), ..Event::default() });
    }

    fn send(&self, event: Event) {
        let mut stream = self.stream.lock().unwrap();
        write_event(stream.as_mut().expect("there is a stream"), &event);
    }

    pub(crate) fn break_stream(&self) {
        let stream = self.stream.lock().unwrap().take().expect("there is a stream");
        stream.shutdown(Shutdown::Both).unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.executor.id() as i32
    }

    /// Waits for the executor's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.executor.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the executor does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the executor and those that share its stderr have written there.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.sandbox.path().join("stderr")).unwrap()
    }

    /// What a task wrote.
    pub(crate) fn file(&self, task: &str, name: &str) -> String {
        let path = self.sandbox.path().join("tasks").join(task).join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Usually it has ended.
        let _ = self.executor.kill();
        let _ = self.executor.wait();
    }
}

/// A task whose data is this JSON.
pub(crate) fn task(id: &str, spec: &str) -> TaskInfo {
    let data = Some(Bytes::copy_from_slice(spec.as_bytes()));
    TaskInfo { name: id.into(), task_id: id.into(), data, ..TaskInfo::default() }
}

/// A task that a shell runs.
pub(crate) fn shell(id: &str, script: &str) -> TaskInfo {
    assert!(!script.contains(['"', '\\']), "the script goes into JSON as it is");
    task(id, &format!(r#"{{"command": {{"value": "{script}"}}}}"#))
}

fn serve(
    connection: TcpStream,
    calls: &mpsc::Sender<Call>,
    stream: &Mutex<Option<TcpStream>>,
    gate: Option<&Barrier>,
) -> Option<()> {
    let mut writer = connection.try_clone().ok()?;
    let mut reader = BufReader::new(connection);
    loop {
        let (encoding, body) = read_request(&mut reader)?;
        let call = codec::decode::<Call>(&body, encoding).expect("a call that Mesos would take");
        match call.r#type() {
            call::Type::Subscribe => {
                assert_eq!(encoding, Encoding::Protobuf);
                writer
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                          Transfer-Encoding: chunked\r\n\r\n",
                    )
                    .ok()?;
                let subscribed = event::Subscribed {
                    executor_info: ExecutorInfo::default(),
                    framework_info: FrameworkInfo::default(),
                    agent_info: AgentInfo::default(),
                    container_id: None,
                };
                write_event(
                    &mut writer,
                    &Event {
                        r#type: Some(event::Type::Subscribed.into()),
                        subscribed: Some(subscribed),
                        ..Event::default()
                    },
                );
                let repeated = call.subscribe.clone().unwrap_or_default().unacknowledged_updates;
                for update in repeated {
                    acknowledge(&mut writer, &update.status);
                }
                *stream.lock().unwrap() = Some(writer.try_clone().ok()?);
            }
            _ => {
                if let Some(gate) = gate {
                    gate.wait();
                }
                writer.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").ok()?;
                if let (Some(update), Some(stream)) = (&call.update, &mut *stream.lock().unwrap()) {
                    acknowledge(stream, &update.status);
                }
            }
        }
        calls.send(call).ok()?;
    }
}

fn acknowledge(stream: &mut TcpStream, status: &TaskStatus) {
    let uuid = status.uuid.clone().expect("every update has a uuid");
    let acknowledged = Some(event::Acknowledged { task_id: status.task_id.clone(), uuid });
    let kind = Some(event::Type::Acknowledged.into());
    write_event(stream, &Event { r#type: kind, acknowledged, ..Event::default() });
}

fn write_event(stream: &mut TcpStream, event: &Event) {
    let record = recordio::encode(&codec::encode(event, Encoding::Protobuf));
    let mut chunk = format!("{:x}\r\n", record.len()).into_bytes();
    chunk.extend_from_slice(&record);
    chunk.extend_from_slice(b"\r\n");
    // The executor may be gone.
    let _ = stream.write_all(&chunk);
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(Encoding, Vec<u8>)> {
    let (mut length, mut encoding) = (0, None);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /api/v1/executor HTTP/1.1"), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "content-type" => encoding = Encoding::from_media_type(value.trim()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((encoding.expect("a content type"), body))
}
