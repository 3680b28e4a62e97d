//! A fake Docker engine: speaks enough of the API over its socket, and misbehaves on request.
//!
//! It starts nothing: containers are records, and end when a test says so.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::eventually;

/// What it does with a call instead of the usual.
#[derive(Debug, Clone)]
pub(crate) enum Quirk {
    /// Does what it is asked for, and closes the connection without an answer.
    Mute,
    /// Does nothing, and closes the connection without an answer.
    Deaf,
    /// Does nothing, and never answers.
    Hang,
    /// Says no.
    Refuse(u16, &'static str),
    /// Tells the end of the container, with exit code 0, before it answers.
    EndFirst,
    /// Downloads, and tells about it, until [`FakeEngine::release`].
    Slow,
}

#[derive(Debug, Default)]
struct State {
    containers: BTreeMap<String, Container>,
    images: Vec<String>,
    quirks: HashMap<&'static str, VecDeque<Quirk>>,
    calls: Vec<String>,
    listeners: Vec<UnixStream>,
    credentials: Vec<String>,
    /// What was executed in containers, and the exit codes that are still to be told.
    executed: Vec<Value>,
    exit_codes: VecDeque<i64>,
    released: bool,
    stopped: bool,
}

#[derive(Debug, Clone)]
struct Container {
    body: Value,
    status: &'static str,
    exit_code: i64,
}

/// The engine; it listens until the test ends.
pub(crate) struct FakeEngine {
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl FakeEngine {
    /// Has the image `there`, and no other.
    pub(crate) fn start() -> Self {
        let engine = Self { folder: tempfile::tempdir().unwrap(), state: Arc::default() };
        engine.state.lock().unwrap().images.push("there".into());
        engine.listen();
        engine
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let state = self.state.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(connection) = connection else { return };
                let state = state.clone();
                thread::spawn(move || serve(connection, &state));
            }
        });
    }

    /// Goes away. Its containers run on.
    pub(crate) fn stop(&self) {
        fs::remove_file(self.socket()).unwrap();
        let mut state = self.state.lock().unwrap();
        state.stopped = true;
        state.listeners.clear();
    }

    /// Comes back.
    pub(crate) fn start_again(&self) {
        self.state.lock().unwrap().stopped = false;
        self.listen();
    }

    /// Ends what [`Quirk::Slow`] has begun.
    pub(crate) fn release(&self) {
        self.state.lock().unwrap().released = true;
    }

    /// Tells these exit codes of what is executed in containers, and then 0.
    pub(crate) fn exit_with(&self, codes: &[i64]) {
        self.state.lock().unwrap().exit_codes.extend(codes);
    }

    /// What was executed in containers.
    pub(crate) fn executed(&self) -> Vec<Value> {
        self.state.lock().unwrap().executed.clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Does this with the next call of that kind.
    pub(crate) fn next(&self, call: &'static str, quirk: Quirk) {
        self.state.lock().unwrap().quirks.entry(call).or_default().push_back(quirk);
    }

    /// How often it was called that way.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.state.lock().unwrap().calls.iter().filter(|made| *made == call).count()
    }

    /// Waits for the container of a task, and names it.
    pub(crate) fn container(&self, task: &str, status: &str) -> String {
        let mut found = String::new();
        eventually("the container", || {
            let state = self.state.lock().unwrap();
            let mut all = state.containers.iter();
            let one = all.find(|(_, container)| {
                container.body["Labels"]["marmoset.task"] == task && container.status == status
            });
            found = one.map(|(name, _)| name.clone()).unwrap_or_default();
            !found.is_empty()
        });
        found
    }

    /// What a container was asked for with.
    pub(crate) fn body(&self, name: &str) -> Value {
        self.state.lock().unwrap().containers[name].body.clone()
    }

    /// Ends a container.
    pub(crate) fn end(&self, name: &str, exit_code: i64) {
        self.state.lock().unwrap().end(name, exit_code);
    }

    /// Closes the connections of all who listen to events.
    pub(crate) fn cut_events(&self) {
        self.state.lock().unwrap().listeners.clear();
    }

    pub(crate) fn is_deserted(&self) -> bool {
        self.state.lock().unwrap().containers.is_empty()
    }

    /// What came with pulls as X-Registry-Auth.
    pub(crate) fn credentials(&self) -> Vec<String> {
        self.state.lock().unwrap().credentials.clone()
    }
}

impl State {
    fn end(&mut self, name: &str, exit_code: i64) {
        let Some(container) = self.containers.get_mut(name) else { return };
        container.status = "exited";
        container.exit_code = exit_code;
        self.tell(name, "die", &json!({"exitCode": exit_code.to_string()}));
    }

    fn tell(&mut self, name: &str, action: &str, more: &Value) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut attributes = json!({"name": name});
        for (key, value) in more.as_object().unwrap() {
            attributes[key] = value.clone();
        }
        let event = json!({
            "Type": "container",
            "Action": action,
            "Actor": {"ID": format!("id-{name}"), "Attributes": attributes},
            "time": since.as_secs(),
            "timeNano": u64::try_from(since.as_nanos()).unwrap(),
        });
        let line = format!("{event}\n");
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        self.listeners.retain_mut(|listener| listener.write_all(chunk.as_bytes()).is_ok());
    }
}

fn serve(mut connection: UnixStream, state: &Mutex<State>) {
    let Some(request) = read(&connection) else { return };
    let path = request.path.splitn(3, '/').nth(2).unwrap_or_default();
    let path = if request.path.starts_with("/v1.") { path } else { &request.path[1..] };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts = path.split('/').collect::<Vec<_>>();
    let (call, name) = match (request.method.as_str(), &parts[..]) {
        ("GET", ["version"]) => ("version", ""),
        ("GET", ["events"]) => ("events", ""),
        ("GET", ["containers", "json"]) => ("list", ""),
        ("POST", ["containers", "create"]) => ("create", query.strip_prefix("name=").unwrap()),
        ("POST", ["containers", name, "start"]) => ("start", *name),
        ("GET", ["containers", name, "json"]) => ("inspect", *name),
        ("POST", ["containers", name, "kill"]) => ("kill", *name),
        ("DELETE", ["containers", name]) => ("remove", *name),
        ("GET", ["images", .., "json"]) => {
            ("image", path.strip_prefix("images/").unwrap().strip_suffix("/json").unwrap())
        }
        ("POST", ["images", "create"]) => ("pull", ""),
        ("POST", ["containers", name, "exec"]) => ("exec", *name),
        ("POST", ["exec", id, "start"]) => ("start exec", *id),
        ("GET", ["exec", id, "json"]) => ("inspect exec", *id),
        other => panic!("the fake engine does not know {other:?}"),
    };
    let name = name.split('&').next().unwrap_or_default();
    let quirk = {
        let mut state = state.lock().unwrap();
        if state.stopped {
            return;
        }
        state.calls.push(call.to_owned());
        state.quirks.get_mut(call).and_then(VecDeque::pop_front)
    };
    match quirk {
        Some(Quirk::Deaf) => return,
        Some(Quirk::Hang) => {
            // Until the caller gives up.
            let _ = connection.read(&mut [0]);
            return;
        }
        Some(Quirk::Refuse(status, message)) => {
            return answer(&mut connection, status, &json!({"message": message}));
        }
        Some(Quirk::Slow) => return download(&mut connection, name, &request, state),
        Some(Quirk::Mute | Quirk::EndFirst) | None => {}
    }
    if call == "start exec" {
        let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        let _ = connection.write_all(head.as_bytes());
        return;
    }
    if call == "events" {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        connection.write_all(head.as_bytes()).unwrap();
        return state.lock().unwrap().listeners.push(connection);
    }
    let (status, body) = perform(call, name, &request, &mut state.lock().unwrap());
    match quirk {
        Some(Quirk::Mute) => return,
        Some(Quirk::EndFirst) => state.lock().unwrap().end(name, 0),
        _ => {}
    }
    answer(&mut connection, status, &body);
}

fn say(connection: &mut UnixStream, value: &Value) -> bool {
    let line = format!("{value}\n");
    connection.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).is_ok()
}

fn download(connection: &mut UnixStream, name: &str, request: &Request, state: &Mutex<State>) {
    let detail = json!({"current": 5_000_000, "total": 10_000_000});
    let downloading = json!({"status": "Downloading", "id": "layer", "progressDetail": detail});
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).unwrap();
    while !state.lock().unwrap().released {
        if !say(connection, &downloading) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let (_, last) = perform("pull", name, request, &mut state.lock().unwrap());
    say(connection, &last);
    let _ = connection.write_all(b"0\r\n\r\n");
}

fn perform(call: &str, name: &str, request: &Request, state: &mut State) -> (u16, Value) {
    let no_such = |what: &str| (404, json!({"message": format!("No such {what}: {name}")}));
    match call {
        "version" => {
            (200, json!({"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "fake"}))
        }
        "list" => {
            let all = state.containers.iter().map(|(name, container)| {
                json!({
                    "Id": format!("id-{name}"), "Names": [format!("/{name}")],
                    "State": container.status, "Labels": container.body["Labels"],
                })
            });
            (200, all.collect())
        }
        "create" if state.containers.contains_key(name) => {
            (409, json!({"message": format!("Conflict. The container name {name} is in use")}))
        }
        "create" => {
            let body = serde_json::from_slice(&request.body).unwrap();
            let container = Container { body, status: "created", exit_code: 0 };
            state.containers.insert(name.to_owned(), container);
            (201, json!({"Id": format!("id-{name}"), "Warnings": []}))
        }
        "start" => {
            let Some(container) = state.containers.get_mut(name) else {
                return no_such("container");
            };
            assert_eq!(container.status, "created", "{name} is started twice");
            container.status = "running";
            state.tell(name, "start", &json!({}));
            (204, Value::Null)
        }
        "inspect" => match state.containers.get(name) {
            None => no_such("container"),
            Some(container) => (
                200,
                json!({
                    "Id": format!("id-{name}"), "Name": format!("/{name}"),
                    "State": {"Status": container.status, "ExitCode": container.exit_code},
                    "Config": {"Labels": container.body["Labels"]},
                    "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.9"}}},
                }),
            ),
        },
        "kill" => {
            state.end(name, 137);
            (204, Value::Null)
        }
        "remove" => match state.containers.remove(name) {
            None => no_such("container"),
            Some(_) => (204, Value::Null),
        },
        "image" if state.images.iter().any(|image| image == name) => {
            (200, json!({"Id": "sha256:0", "Config": {"Cmd": ["own"]}}))
        }
        "image" => no_such("image"),
        "pull" => {
            let credentials = request.headers.get("x-registry-auth");
            state.credentials.extend(credentials.cloned());
            let (_, query) = request.path.split_once("fromImage=").unwrap();
            let image = query.split('&').next().unwrap().replace("%3A", ":").replace("%2F", "/");
            let image = image.trim_end_matches(":latest").to_owned();
            state.images.push(image);
            (200, json!({"status": "Pull complete", "id": "layer"}))
        }
        "exec" => {
            state.executed.push(serde_json::from_slice(&request.body).unwrap());
            (201, json!({"Id": format!("exec-{}", state.executed.len())}))
        }
        "inspect exec" => {
            let code = state.exit_codes.pop_front().unwrap_or(0);
            (200, json!({"ID": name, "Running": false, "ExitCode": code}))
        }
        other => panic!("`{other}` was not dispatched"),
    }
}

fn read(connection: &UnixStream) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

fn answer(connection: &mut UnixStream, status: u16, body: &Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whoever has given up does not read it.
    let _ = connection.write_all(text.as_bytes());
}
