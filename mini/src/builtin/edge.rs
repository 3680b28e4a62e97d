//! The executor's loop: one task owns the core, the connections and the process.

use std::{
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, ExitCode},
    time::Duration,
};

use marmoset_proto::mesos::v1::{
    CommandInfo, TaskInfo,
    executor::{Call, Event},
};
use nix::sys::signal::Signal;
use tokio::{process::Child, sync::mpsc};
use tokio_util::task::TaskTracker;

use super::{
    check::Answer,
    config::{Config, Place},
    core::{Action, Core, Exit, Input},
    http::{Calls, Events, HttpError},
    probe,
};
use crate::{
    clock::{now, until},
    processes::{in_own_session, signal_tree},
};

/// How long a call may take before the agent counts as lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait status of a program that could not be executed: Mesos' helper exits with 1.
const EXITED_1: i32 = 1 << 8;

struct Edge {
    endpoint: String,
    core: Core,
    events: Option<Events>,
    calls: Calls,
    child: Option<Child>,
    place: Option<Place>,
    background: TaskTracker,
    /// At most one probe of each kind is on its way, and two facts about a container.
    answers: mpsc::UnboundedSender<Input>,
}

/// Runs until the core says that it is over.
pub(super) async fn run(config: Config) -> ExitCode {
    let endpoint = config.endpoint.clone();
    let place = config.place.clone();
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut edge = Edge {
        calls: Calls::new(endpoint.clone()),
        endpoint,
        core: Core::new(config, now().instant, rand::random()),
        events: None,
        child: None,
        place,
        background: TaskTracker::new(),
        answers,
    };
    loop {
        while let Some(action) = edge.core.poll_action(now().instant) {
            if let Some(code) = edge.perform(action).await {
                return code;
            }
        }
        let wake = edge.core.poll_wake();
        let input = tokio::select! {
            biased;
            status = ended(&mut edge.child) => Input::Exited(status),
            event = next(&mut edge.events) => match event {
                Ok(event) => Input::Event(Box::new(event)),
                Err(error) => edge.lost(&error),
            },
            Some(answer) = answered.recv() => answer,
            () = until(wake) => Input::Wake,
        };
        edge.core.handle(now(), input);
    }
}

impl Edge {
    async fn perform(&mut self, action: Action) -> Option<ExitCode> {
        match action {
            Action::Subscribe(call) => self.subscribe(&call).await,
            Action::Send(call) => self.send(&call).await,
            Action::Spawn(task, environment) => match self.place.clone() {
                Some(place) => self.contain(place, &task, environment),
                None => self.spawn(&task.command.unwrap_or_default(), environment),
            },
            Action::Terminate(grace) => match self.place.clone() {
                Some(place) => {
                    self.background.spawn(async move { place.stop(grace).await });
                }
                None => self.signal(Signal::SIGTERM),
            },
            Action::Kill => {
                // The engine does it itself, after the grace period.
                if self.place.is_none() {
                    self.signal(Signal::SIGKILL);
                }
            }
            Action::Health(probe, timeout) => {
                let probe = match &self.place {
                    Some(place) => place.inside(probe),
                    None => probe,
                };
                let probing = probe::run(probe, timeout);
                self.probe(probing, Input::Healthy);
            }
            Action::Watch(probe, timeout) => {
                let probing = probe::run(probe, timeout);
                self.probe(probing, Input::Watched);
            }
            Action::Exit(Exit::Done) => return Some(ExitCode::SUCCESS),
            Action::Exit(Exit::Failed(why)) => {
                eprintln!("command executor: {why}");
                return Some(ExitCode::FAILURE);
            }
        }
        None
    }

    async fn subscribe(&mut self, call: &Call) {
        self.events = None;
        self.calls.close();
        let opened = tokio::time::timeout(CALL_TIMEOUT, Events::open(&self.endpoint, call)).await;
        match opened.unwrap_or(Err(HttpError::Ended)) {
            Ok(events) => self.events = Some(events),
            Err(error) => {
                let input = self.lost(&error);
                self.core.handle(now(), input);
            }
        }
    }

    async fn send(&mut self, call: &Call) {
        if self.events.is_none() {
            // The core repeats it with the next subscription.
            return;
        }
        let sent = tokio::time::timeout(CALL_TIMEOUT, self.calls.send(call)).await;
        if let Err(error) = sent.unwrap_or(Err(HttpError::Ended)) {
            let input = self.lost(&error);
            self.core.handle(now(), input);
        }
    }

    fn lost(&mut self, error: &HttpError) -> Input {
        self.events = None;
        self.calls.close();
        if error.is_final() { Input::Refused(error.to_string()) } else { Input::Lost }
    }

    fn spawn(&mut self, command: &CommandInfo, environment: Vec<(String, String)>) {
        let input = match command_of(command) {
            None => {
                eprintln!("`command.value` is not set: there is nothing to run");
                Some(EXITED_1)
            }
            Some(mut child) => {
                child.envs(environment).env_remove("MESOS_EXECUTOR_AUTHENTICATION_TOKEN");
                child.stdin(std::process::Stdio::null());
                in_own_session(&mut child, None);
                let program = child.get_program().to_string_lossy().into_owned();
                match tokio::process::Command::from(child).spawn() {
                    Ok(child) => {
                        self.child = Some(child);
                        None
                    }
                    Err(error) => {
                        eprintln!("Failed to execute command '{program}': {error}");
                        Some(EXITED_1)
                    }
                }
            }
        };
        self.core.handle(now(), Input::Spawned(None));
        if let Some(status) = input {
            self.core.handle(now(), Input::Exited(status));
        }
    }

    fn contain(&self, place: Place, task: &TaskInfo, environment: Vec<(String, String)>) {
        let answers = self.answers.clone();
        match place.start(task, environment) {
            Ok(client) => {
                self.background.spawn(async move { place.watch(client, answers).await });
            }
            Err(error) => {
                eprintln!("Failed to run docker container: {error}");
                let _over = answers.send(Input::NotRun(error.to_string()));
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.as_ref().and_then(Child::id) {
            signal_tree(pid, signal);
        }
    }

    fn probe(
        &self,
        probing: impl Future<Output = Answer> + Send + 'static,
        tell: fn(Answer) -> Input,
    ) {
        let answers = self.answers.clone();
        self.background.spawn(async move {
            let _over = answers.send(tell(probing.await));
        });
    }
}

async fn next(events: &mut Option<Events>) -> Result<Event, HttpError> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn ended(child: &mut Option<Child>) -> i32 {
    let Some(running) = child else { return std::future::pending().await };
    let status = running.wait().await.map_or(EXITED_1, |status| status.into_raw());
    *child = None;
    status
}

/// Builds the program to run; none if the command has no value.
pub(super) fn command_of(info: &CommandInfo) -> Option<Command> {
    let value = info.value.as_ref()?;
    let mut command = if info.shell() {
        let mut shell = Command::new("/bin/sh");
        shell.arg0("sh").arg("-c").arg(value);
        shell
    } else {
        let mut program = Command::new(value);
        if let Some((name, arguments)) = info.arguments.split_first() {
            program.arg0(name).args(arguments);
        }
        program
    };
    for variable in info.environment.iter().flat_map(|environment| &environment.variables) {
        command.env(&variable.name, variable.value.as_deref().unwrap_or_default());
    }
    Some(command)
}
