//! A folder of its own for each test, in which programs are run, and which must be empty of processes at the end.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{processes, programs, wait};

/// The folder of one test. Programs started here have it as TMPDIR.
#[derive(Debug)]
pub struct Scene {
    folder: TempDir,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// A program that runs. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Scene {
    /// Makes a new, empty folder.
    ///
    /// # Panics
    /// When the temporary directory is not writable.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder: not a default value")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("marmoset-e2e-").tempdir();
        Self { folder: folder.expect("the temporary directory is writable") }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `marmoset` to its end.
    pub fn marmoset<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Done {
        self.start_marmoset(arguments).wait()
    }

    /// Starts `marmoset`.
    pub fn start_marmoset<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Running {
        let mut command = Command::new(programs::marmoset());
        command.args(arguments);
        self.start(command)
    }

    /// Runs `marmoset` with `input` on its standard input.
    ///
    /// # Panics
    /// When the program does not start.
    pub fn marmoset_reading<S: AsRef<OsStr>>(
        &self,
        input: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Done {
        let file = self.path().join("input");
        File::create(&file)
            .and_then(|mut made| made.write_all(input.as_bytes()))
            .expect("the scene's folder is writable");
        let mut command = Command::new(programs::marmoset());
        command.args(arguments).stdin(File::open(file).expect("just written"));
        self.start_with_stdin(command)
    }

    fn start_with_stdin(&self, command: Command) -> Done {
        self.spawn(command).wait()
    }

    /// Starts any program in the folder, without standard input.
    pub fn start(&self, mut command: Command) -> Running {
        command.stdin(Stdio::null());
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Running {
        let output = |name: &str| {
            let path = self.path().join(format!("{name}-{}", fresh()));
            let file = File::create(&path).expect("the scene's folder is writable");
            (path, file)
        };
        let (stdout, out) = output("stdout");
        let (stderr, err) = output("stderr");
        let child = command
            .current_dir(self.path())
            .env("TMPDIR", self.path())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("the program was built");
        Running { child, stdout, stderr }
    }

    /// Waits until no process of this scene is left.
    ///
    /// # Panics
    /// When one stays.
    pub fn assert_deserted(&self) {
        let mut left = Vec::new();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while std::time::Instant::now() < deadline {
            left = processes::within(self.path());
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("processes were left behind: {left:#?}");
    }
}

impl Running {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process id fits"))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the program still runs");
    }

    /// What it printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it complained about so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Waits until `wanted` stands in what it printed, on either stream.
    ///
    /// # Panics
    /// When it ends or takes too long before.
    pub fn wait_for(&mut self, wanted: &str) {
        wait::until(wanted, || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let seen = self.stdout() + &self.stderr();
            if seen.contains(wanted) {
                return Some(());
            }
            assert!(ended.is_none(), "ended with {ended:?} before `{wanted}`:\n{seen}");
            None
        });
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than five minutes.
    #[must_use]
    pub fn wait(mut self) -> Done {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(300);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "still runs after five minutes:\n{}\n{}",
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        Done { status, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Mostly it says what the test has waited for in vain.
            eprintln!("{}\n{}", self.stdout(), self.stderr());
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Done {
    /// Its standard output as one JSON object.
    ///
    /// # Panics
    /// When it is not, with everything that was printed.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}):\n{}\n{}", self.stdout, self.stderr))
    }

    /// Sees to it that so many tasks finished, and none ended otherwise.
    ///
    /// # Panics
    /// When it is not so, with everything that was printed.
    pub fn assert_all_finished(&self, count: u64) {
        let tasks = json!({"finished": count, "failed": 0, "killed": 0, "lost": 0});
        assert_eq!(self.json()["tasks"], tasks, "{}\n{}", self.stdout, self.stderr);
    }

    /// What it says of tasks that did not finish: all of them for one reason.
    ///
    /// # Panics
    /// When there is no such task, or there are several reasons.
    #[must_use]
    pub fn failure(&self) -> Value {
        let result = self.json();
        match result["failures"].as_array().map(Vec::as_slice) {
            Some([failure]) => failure.clone(),
            _ => panic!("not one failure: {result}\n{}", self.stderr),
        }
    }

    /// The message of [`Self::failure`].
    #[must_use]
    pub fn failure_message(&self) -> String {
        self.failure()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Its exit code; -1 when a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// What a task has printed, of those whose output was fetched into `folder`.
#[must_use]
pub fn printed(folder: &Path, index: usize) -> String {
    text(&folder.join(format!("{index}.out")))
}

fn text(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A number no other call in this process was given.
fn fresh() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
