//! A Docker engine for tests: the machine's, or one of its own.
//!
//! Nothing is pulled: the one image is made of the machine's static `busybox`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use marmoset_mini::{AgentConfig, AgentTimers, Containerizer, DockerConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::{http::PATIENCE, skip::skip};

/// busybox alone, as `/bin/busybox`, `/bin/sh` and `/bin/sleep`.
pub(crate) const IMAGE: &str = "marmoset-test/busybox:1";

/// One engine, reached through its socket.
pub(crate) struct Engine {
    socket: PathBuf,
    /// The process and its folder, if it is our own.
    own: Option<(Child, TempDir)>,
}

impl Engine {
    /// The machine's engine; none, with a word about it, if there is no such thing.
    pub(crate) fn of_the_machine(test: &str) -> Option<Self> {
        let engine = Self { socket: PathBuf::from("/var/run/docker.sock"), own: None };
        if !engine.answers() {
            skip(test, &format!("no Docker engine at {}", engine.socket.display()));
            return None;
        }
        engine.make_image(test)
    }

    /// An engine that nobody else uses, for what would disturb others.
    pub(crate) fn private(test: &str) -> Option<Self> {
        let skipped = |why: &str| {
            skip(test, &format!("no Docker engine of its own: {why}"));
            None
        };
        let root = nix::unistd::geteuid().is_root();
        if !root {
            return skipped("only root can start one");
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let log = fs::File::create(at("log")).unwrap();
        let installed = Command::new("dockerd").arg("--version").stdout(Stdio::null()).status();
        if !installed.is_ok_and(|status| status.success()) {
            return skipped("`dockerd` is not installed");
        }
        // In namespaces of its own: an engine without networks removes those of the machine's. What
        // it has started or mounted ends with it.
        let mut command = Command::new("unshare");
        command
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "dockerd",
            ])
            .arg(format!("--host=unix://{}", at("sock").display()))
            .arg(format!("--data-root={}", at("data").display()))
            .arg(format!("--exec-root={}", at("exec").display()))
            .arg(format!("--pidfile={}", at("pid").display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--storage-driver=vfs"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let Ok(child) = command.spawn() else { return skipped("there is no `unshare`") };
        let socket = at("sock");
        let mut engine = Self { socket, own: Some((child, folder)) };
        let deadline = Instant::now() + PATIENCE;
        while !engine.answers() {
            let (child, folder) = engine.own.as_mut().unwrap();
            let ended = child.try_wait().unwrap();
            let log = || fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(ended.is_none(), "dockerd ended: {}", log());
            assert!(Instant::now() < deadline, "dockerd does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        engine.make_image(test)
    }

    fn make_image(self, test: &str) -> Option<Self> {
        if self.run(&["inspect", "--type=image", IMAGE]).status.success() {
            return Some(self);
        }
        let busybox = Path::new("/bin/busybox");
        if !busybox.exists() {
            skip(test, "no /bin/busybox to make an image of (busybox-static)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for name in ["sh", "sleep"] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        let tar = Command::new("tar").arg("-C").arg(folder.path()).args(["-c", "."]).output();
        let mut import = self.command(&["import", "--change", "ENV FROM_IMAGE=yes", "-", IMAGE]);
        let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        import.stdin.take().unwrap().write_all(&tar.unwrap().stdout).unwrap();
        assert!(import.wait().unwrap().success(), "no image");
        Some(self)
    }

    fn answers(&self) -> bool {
        self.socket.exists() && self.run(&["ps"]).status.success()
    }

    /// What an agent is told of it. Others' containers are spared unless it is our own.
    pub(crate) fn agent(&self) -> AgentConfig {
        AgentConfig {
            containerizers: vec![Containerizer::Docker, Containerizer::Mesos],
            docker: DockerConfig {
                socket: self.socket.clone(),
                kill_orphans: self.own.is_some(),
                ..DockerConfig::default()
            },
            timers: AgentTimers {
                executor_shutdown_grace_period: Duration::from_millis(300),
                ..AgentTimers::default()
            },
            ..AgentConfig::default()
        }
    }

    /// Calls the command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix://{}", self.socket.display())).args(arguments);
        command
    }

    /// What a call that works prints.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What it knows of a container; waits until it runs.
    pub(crate) async fn running(&self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.run(&["inspect", "--type=container", name]);
            if output.status.success() {
                let read: Value = serde_json::from_slice(&output.stdout).unwrap();
                if read[0]["State"]["Running"] == true {
                    return read[0].clone();
                }
            }
            assert!(Instant::now() < deadline, "{name} does not run: {output:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Names of all containers, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let text = self.text(&["ps", "-a", "--format", "{{.Names}}"]);
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some((child, _folder)) = &mut self.own else { return };
        // With it goes all that lives in its namespaces.
        let _gone = child.kill();
        let _reaped = child.wait();
    }
}
