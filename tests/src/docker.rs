//! A Docker engine for tests: the machine's, or one that nobody else uses.
//!
//! Owns the one image that tests need, made of the machine's static `busybox` since nothing is
//! pulled. A test without an engine is skipped by its name.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

use crate::{skip, wait};

/// busybox under the names of [`APPLETS`].
pub const IMAGE: &str = "marmoset-e2e/busybox:1";

/// The same, for the user 65534.
pub const IMAGE_OF_NOBODY: &str = "marmoset-e2e/nobody:1";

/// One static program, `/busybox`, and nothing else.
pub const IMAGE_WITHOUT_SHELL: &str = "marmoset-e2e/bare:1";

const APPLETS: [&str; 24] = [
    "cat", "dd", "echo", "env", "false", "grep", "head", "id", "kill", "ls", "mkdir", "nc", "ps",
    "pwd", "sh", "sleep", "sort", "stat", "tail", "touch", "true", "wc", "wget", "yes",
];

/// An engine, reached through its socket.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    own: Option<Own>,
}

/// A process of the test, and its folder.
#[derive(Debug)]
struct Own {
    child: Child,
    folder: TempDir,
}

impl Engine {
    /// The machine's engine. Nothing, and a word about it, if there is none.
    #[must_use]
    pub fn of_the_machine(test: &str) -> Option<Self> {
        let engine = Self { socket: PathBuf::from("/var/run/docker.sock"), own: None };
        if !engine.answers() {
            skip(test, "no Docker engine at /var/run/docker.sock: start `dockerd`");
            return None;
        }
        engine.with_images(test)
    }

    /// An engine of the test's own, to be stopped, started and halted. It lives in namespaces of its
    /// own, since an engine without networks removes those of the machine's; whatever it has
    /// started or mounted ends with it.
    #[must_use]
    pub fn of_its_own(test: &str) -> Option<Self> {
        if !geteuid().is_root() {
            skip(test, "no Docker engine of its own: only root can start one");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("marmoset-engine-").tempdir();
        let folder = folder.expect("the temporary directory is writable");
        let Some(child) = start(folder.path()) else {
            skip(test, "no Docker engine of its own: `dockerd` is not installed (docker.io)");
            return None;
        };
        let engine = Self { socket: folder.path().join("sock"), own: Some(Own { child, folder }) };
        engine.wait_until_it_answers();
        engine.with_images(test)
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> &str {
        self.socket.to_str().expect("a path that was made here")
    }

    /// Sends a signal to the process of an engine of its own.
    ///
    /// # Panics
    /// When it is the machine's.
    pub fn signal(&self, signal: Signal) {
        let own = self.own.as_ref().expect("the machine's engine is left alone");
        kill(own.dockerd(), signal).expect("the engine runs");
    }

    /// Ends an engine of its own with a signal, and waits for its end.
    pub fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        let own = self.own.as_mut().expect("checked by `signal`");
        own.child.wait().expect("a child can be waited for");
    }

    /// Starts an engine of its own again.
    ///
    /// # Panics
    /// When it is the machine's, or does not start.
    pub fn start_again(&mut self) {
        let own = self.own.as_mut().expect("the machine's engine is left alone");
        own.child = start(own.folder.path()).expect("it was started before");
        self.wait_until_it_answers();
    }

    /// Calls `docker`.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("`docker` is installed with the engine")
    }

    /// What a call of `docker` prints that succeeds.
    ///
    /// # Panics
    /// When it does not.
    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Names of the containers that have a label, in whatever state.
    pub fn containers(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        let text = self.text(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until `count` containers with a label run, and names them.
    pub fn wait_for_running(&self, label: &str, count: usize) -> Vec<String> {
        let filter = format!("label={label}");
        wait::until("containers that run", || {
            let text = self.text(&["ps", "--filter", &filter, "--format", "{{.Names}}"]);
            let names = text.lines().map(str::to_owned).collect::<Vec<_>>();
            (names.len() >= count).then_some(names)
        })
    }

    /// Waits until no container with a label is left.
    pub fn wait_until_deserted(&self, label: &str) {
        wait::until("the last container to be removed", || {
            self.containers(label).is_empty().then_some(())
        });
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix://{}", self.socket())).args(arguments);
        command
    }

    fn answers(&self) -> bool {
        let asked = self.command(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        self.socket.exists() && asked.is_ok_and(|status| status.success())
    }

    fn wait_until_it_answers(&self) {
        wait::until("the engine to answer", || self.answers().then_some(()));
    }

    fn with_images(self, test: &str) -> Option<Self> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
        let Some(busybox) = busybox.into_iter().find(|path| path.exists()) else {
            skip(test, "no static busybox to make an image of (busybox-static)");
            return None;
        };
        let path = "ENV PATH=/bin";
        self.import(busybox, IMAGE, &[path, "ENV FROM_IMAGE=yes", "CMD [\"echo\",\"image\"]"]);
        self.import(busybox, IMAGE_OF_NOBODY, &[path, "USER 65534", "ENTRYPOINT [\"env\"]"]);
        self.import(busybox, IMAGE_WITHOUT_SHELL, &[]);
        Some(self)
    }

    fn import(&self, busybox: &Path, image: &str, changes: &[&str]) {
        if self.call(&["inspect", "--type=image", image]).status.success() {
            return;
        }
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        if image == IMAGE_WITHOUT_SHELL {
            let program = folder.path().join("busybox");
            fs::copy(busybox, program).expect("busybox can be read");
        } else {
            let bin = folder.path().join("bin");
            fs::create_dir(&bin).expect("the folder is new");
            fs::copy(busybox, bin.join("busybox")).expect("busybox can be read");
            for name in APPLETS {
                symlink("busybox", bin.join(name)).expect("the folder is new");
            }
        }
        let mut tar = Command::new("tar");
        let tar = tar.arg("-C").arg(folder.path()).args(["-c", "."]).output();
        let changes = changes.iter().flat_map(|change| ["--change", change]);
        let arguments = ["import"].into_iter().chain(changes).chain(["-", image]);
        let mut import = self.command(&arguments.collect::<Vec<_>>());
        let mut import = import
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("`docker` is installed with the engine");
        let mut stdin = import.stdin.take().expect("a pipe was asked for");
        stdin.write_all(&tar.expect("`tar` is there").stdout).expect("`docker` reads all of it");
        drop(stdin);
        assert!(import.wait().expect("a child can be waited for").success(), "no image");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        // With it goes all that lives in its namespace.
        if matches!(own.child.try_wait(), Ok(None)) {
            let _ = kill(own.dockerd(), Signal::SIGKILL);
        }
        let _ = own.child.wait();
    }
}

fn start(folder: &Path) -> Option<Child> {
    let at = |name: &str| folder.join(name).display().to_string();
    let log = File::options().append(true).create(true).open(at("log"));
    let log = log.expect("the folder is writable");
    // Two engines that take the same names from each other do not start.
    let _ = fs::remove_file(at("pid"));
    let installed = Command::new("dockerd").arg("--version").stdout(Stdio::null()).status();
    installed.ok().filter(|status| status.success())?;
    Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "dockerd"])
        .arg(format!("--host=unix://{}", at("sock")))
        .arg(format!("--data-root={}", at("data")))
        .arg(format!("--exec-root={}", at("exec")))
        .arg(format!("--pidfile={}", at("pid")))
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be opened twice"))
        .stderr(log)
        .spawn()
        .ok()
}

impl Own {
    /// The process of the engine itself, below the one that has made its namespaces.
    fn dockerd(&self) -> Pid {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        wait::until("the process of the engine", || {
            let text = fs::read_to_string(&children).ok()?;
            text.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
        })
    }
}
