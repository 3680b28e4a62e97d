//! A launcher under test.

use std::{
    collections::HashMap,
    ffi::CString,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use marmoset_executor::launcher::{
    self, Launcher, LauncherConfig, LauncherEvent, Output, Report, RunId, Scope, Signal, Spawn,
    Step,
};
use tokio::{sync::mpsc, time::timeout};

/// Longer than anything here takes, whatever else the machine does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const MARK: &str = "RIG_RUN";

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Exited { wait_status: i32, stdout_bytes: u64, stderr_bytes: u64 },
    Returned,
    Failed { step: Step, errno: i32 },
}

impl End {
    pub(crate) fn code(code: i32) -> Self {
        Self::status(code << 8)
    }

    pub(crate) fn status(wait_status: i32) -> Self {
        Self::Exited { wait_status, stdout_bytes: 0, stderr_bytes: 0 }
    }
}

pub(crate) struct Rig {
    pub(crate) launcher: Launcher,
    pub(crate) events: mpsc::Receiver<LauncherEvent>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) started: HashMap<RunId, i32>,
    pub(crate) ended: HashMap<RunId, End>,
    last: u64,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_workers(2)
    }

    pub(crate) fn with_workers(workers: usize) -> Self {
        let (launcher, events) = launcher::start(config(workers)).unwrap();
        Self {
            launcher,
            events,
            folder: tempfile::tempdir().unwrap(),
            started: HashMap::new(),
            ended: HashMap::new(),
            last: 0,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn request(&mut self, program: &str, arguments: &[&str]) -> Spawn {
        self.last += 1;
        let mut spawn = Spawn::new(RunId(self.last), text(program));
        spawn.argv.extend(arguments.iter().map(|argument| text(argument)));
        spawn.env = vec![text("PATH=/usr/bin:/bin"), text(&format!("{MARK}={}", self.last))];
        spawn.cwd = text(self.folder.path().to_str().unwrap());
        spawn
    }

    /// A script; it may write to files in the folder, which is its working directory.
    pub(crate) fn script(&mut self, script: &str) -> Spawn {
        self.request("/bin/sh", &["-c", script])
    }

    /// Runs a request to its end.
    pub(crate) async fn run(&mut self, spawn: Spawn) -> End {
        let run = self.spawn(spawn);
        self.end(run).await
    }

    pub(crate) fn spawn(&mut self, spawn: Spawn) -> RunId {
        let run = spawn.run;
        self.launcher.spawn(vec![spawn]);
        run
    }

    /// Starts a script and waits until it says so by creating the file `ready`.
    pub(crate) async fn ready(&mut self, script: &str) -> RunId {
        let mut spawn = self.script(script);
        let ready = self.path(&format!("ready-{}", spawn.run));
        spawn.env.push(text(&format!("READY={}", ready.display())));
        let run = self.spawn(spawn);
        eventually("the script is ready", || ready.exists()).await;
        self.pid(run).await;
        run
    }

    pub(crate) async fn pid(&mut self, run: RunId) -> i32 {
        loop {
            if let Some(pid) = self.started.get(&run) {
                return *pid;
            }
            assert!(!self.ended.contains_key(&run), "{run} ended: {:?}", self.ended[&run]);
            self.handle_event().await;
        }
    }

    pub(crate) async fn end(&mut self, run: RunId) -> End {
        loop {
            if let Some(end) = self.ended.get(&run) {
                return end.clone();
            }
            self.handle_event().await;
        }
    }

    pub(crate) fn signal(&self, run: RunId, signal: i32, scope: Scope) {
        self.launcher.signal(vec![Signal { run, signal, scope }]);
    }

    pub(crate) async fn handle_event(&mut self) {
        match self.event().await {
            LauncherEvent::Reports(reports) => {
                for report in reports {
                    self.handle(report);
                }
            }
            LauncherEvent::Died { reason } => panic!("the launcher died: {reason}"),
        }
    }

    pub(crate) async fn event(&mut self) -> LauncherEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("silence").expect("the end")
    }

    /// Waits for the end of the launcher.
    pub(crate) async fn death(&mut self) -> String {
        loop {
            match self.event().await {
                LauncherEvent::Died { reason } => return reason,
                LauncherEvent::Reports(reports) => {
                    for report in reports {
                        self.handle(report);
                    }
                }
            }
        }
    }

    fn handle(&mut self, report: Report) {
        match report {
            Report::Started { run, pid, .. } => {
                assert!(self.started.insert(run, pid).is_none(), "{run} started twice");
            }
            Report::SpawnFailed { run, errno, step, .. } => {
                assert!(!self.started.contains_key(&run));
                self.note_end(run, End::Failed { step, errno });
            }
            Report::Returned { run } => {
                assert!(!self.started.contains_key(&run));
                self.note_end(run, End::Returned);
            }
            Report::Exited { run, wait_status, stdout_bytes, stderr_bytes, .. } => {
                assert!(self.started.contains_key(&run), "{run} ended before it started");
                self.note_end(run, End::Exited { wait_status, stdout_bytes, stderr_bytes });
            }
        }
    }

    fn note_end(&mut self, run: RunId, end: End) {
        assert!(self.ended.insert(run, end).is_none(), "{run} ended twice");
    }
}

pub(crate) fn config(workers: usize) -> LauncherConfig {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_marmoset-executor"));
    LauncherConfig {
        workers: NonZeroUsize::new(workers),
        mark: Some(text(MARK)),
        ..LauncherConfig::new(program, vec!["launcher".into()])
    }
}

pub(crate) fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

pub(crate) fn file(name: &str) -> Output {
    Output::File(text(name))
}

/// Asks until the answer is yes.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// As `eventually`, in a place without a runtime.
pub(crate) fn eventually_blocking(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads a pid that a script has written, once it is whole.
pub(crate) async fn written_pid(path: &Path) -> i32 {
    let mut pid = None;
    eventually("a pid is written", || {
        pid = fs::read_to_string(path)
            .ok()
            .filter(|text| text.ends_with('\n'))
            .and_then(|text| text.trim().parse().ok());
        pid.is_some()
    })
    .await;
    pid.unwrap()
}

/// Whether there is such a process that has not ended.
pub(crate) fn lives(pid: i32) -> bool {
    match state(pid) {
        Ok(state) => state != 'Z' && state != 'X',
        Err(error) => {
            assert!(
                matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
                "/proc/{pid}: {error}"
            );
            false
        }
    }
}

fn state(pid: i32) -> io::Result<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('X'))
}

/// All below a process.
pub(crate) fn descendants(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let pid = found[next];
        next += 1;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        found.extend(children.split_whitespace().map(|pid| pid.parse::<i32>().unwrap()));
    }
    found.remove(0);
    found
}

/// The processes of a launcher that start runs, in their order.
pub(crate) fn workers(launcher: &Launcher) -> Vec<i32> {
    let guard = launcher.pid();
    let children = fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
