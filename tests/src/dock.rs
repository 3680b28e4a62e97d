//! A scene whose tasks run in containers, which can be told from all others.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::unistd::Pid;

use crate::{Done, Running, Scene, TestCluster, docker::Engine, processes, programs, wait};

/// See the module.
#[derive(Debug)]
pub struct Dock {
    /// Where the containers are.
    pub engine: Engine,
    /// Where everything else is.
    pub scene: Scene,
    /// That all containers have.
    pub label: String,
    /// The flag of `marmoset run` that an image follows.
    runtime: &'static str,
}

impl Dock {
    /// A scene for `marmoset run`, with `--docker` or `--warm`.
    #[must_use]
    pub fn new(engine: Engine, runtime: &'static str) -> Self {
        Self { engine, scene: Scene::new(), label: label(), runtime }
    }

    /// Runs on the embedded cluster.
    #[must_use]
    pub fn run(&self, image: &str, more: &[&str]) -> Done {
        self.start(image, more).wait()
    }

    /// Starts a run on the embedded cluster.
    #[must_use]
    pub fn start(&self, image: &str, more: &[&str]) -> Running {
        let label = format!("label={}", self.label);
        let socket = self.engine.socket();
        let own = ["run", "--json", self.runtime, image, "--docker-socket", socket];
        let own = [&own[..], &["--docker-parameter", &label]].concat();
        self.scene.start_marmoset([&own, more].concat())
    }

    /// Starts a run of an image on a cluster, with the executor as it is deployed.
    #[must_use]
    pub fn on(&self, cluster: &TestCluster, image: &str, more: &[&str]) -> Running {
        let (master, executor) = (cluster.master(), programs::executor().display().to_string());
        let cluster = ["--master", &master, "--executor-path", &executor];
        self.start(image, &[&cluster, more].concat())
    }

    /// Waits for an executor of this scene: the process itself, none of those that it starts.
    #[must_use]
    pub fn executor(&self) -> Pid {
        let executor = || {
            let found = processes::within_running(self.scene.path(), "marmoset-executor");
            found.into_iter().find(|process| {
                !process.command.contains("launcher") && !process.command.contains("container-")
            })
        };
        Pid::from_raw(wait::until("an executor", executor).pid)
    }

    /// Waits until no container and no process is left, those that clean up included.
    ///
    /// # Panics
    /// When something stays.
    pub fn assert_deserted(&self) {
        self.engine.wait_until_deserted(&self.label);
        self.scene.assert_deserted();
    }
}

/// A label for containers that no other test has.
#[must_use]
pub fn label() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (test, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("e2e={test}-{number}")
}
