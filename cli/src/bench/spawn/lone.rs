//! One executor and a scripted agent: how soon it tells, and what it holds.
//!
//! Owns the rows that need an executor which does nothing else. Called by
//! `marmoset bench spawn`.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use marmoset_proto::{
    codec::{self, Encoding},
    marmoset::v1::TaskSpec,
    mesos::v1::{
        CommandInfo, ExecutorInfo, Resource, TaskInfo, TaskState, executor_info,
        value::{self, Scalar},
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    agent::{Agent, Update},
    family::{Family, Holding, holding},
    program::Program,
};

/// Tasks whose starts are timed.
const TIMED: usize = 200;

/// How long each of them runs.
const TASK: &str = "0.02";

/// Between the end of one and the launch of the next: the executor is idle, and has few updates.
const PAUSE: Duration = Duration::from_millis(60);

/// After which an executor that has nothing to do holds what it will go on to hold.
const SETTLED: Duration = Duration::from_secs(4);

/// Mesos tasks that wait.
pub(super) const QUEUED: usize = 10_000;

/// Tasks between two looks while they arrive.
const STRIDE: usize = 500;

/// What one idle executor showed.
#[derive(Debug)]
pub(super) struct Idle {
    /// From right before LAUNCH is written until RUNNING is read, in ascending order.
    pub(super) starts: Vec<Duration>,
    /// After these tasks and a pause.
    pub(super) holding: Holding,
    /// How many processes that is.
    pub(super) processes: usize,
}

/// Launches tasks one after the other, with a pause between them.
///
/// # Errors
/// The executor does not do as it is told.
pub(super) fn idle(program: &Program) -> anyhow::Result<Idle> {
    let agent = Agent::start(program)?;
    let mut starts = Vec::with_capacity(TIMED);
    for number in 0..TIMED {
        thread::sleep(PAUSE);
        let launched = agent.launch(task(&format!("idle.{number}"), "/bin/sleep", TASK))?;
        let mut told = None;
        loop {
            let Update { status, at } = agent.update()?;
            // If RUNNING was dropped, the end is when the agent heard of the start.
            let running = status.state() == TaskState::TaskRunning;
            let ended = status.state().is_terminal();
            if running || ended {
                told.get_or_insert(at);
            }
            if ended {
                let message = status.message();
                ensure!(status.state() == TaskState::TaskFinished, "it failed: {message}");
                break;
            }
        }
        starts.extend(told.map(|told| told.saturating_duration_since(launched)));
    }
    starts.sort_unstable();
    thread::sleep(SETTLED);
    let family = Family::of(agent.executor())?;
    Ok(Idle { starts, holding: family.holding()?, processes: family.len() })
}

/// The most that an executor holds while [`QUEUED`] Mesos tasks arrive of which none can start.
///
/// # Errors
/// The executor does not do as it is told.
pub(super) fn queued(program: &Program) -> anyhow::Result<Holding> {
    let agent = Agent::start(program)?;
    let all = 1 + program.launcher().worker_count().get();
    let mut family = Family::of(agent.executor())?;
    while family.launcher().len() < all {
        thread::sleep(Duration::from_millis(1));
        family = Family::of(agent.executor())?;
    }
    // Its launcher stands still, so that what is launched waits.
    let stopped = Stopped::new(family.launcher())?;
    let mut most = Holding::default();
    let mut told = 0;
    for number in 0..QUEUED {
        agent.launch(task(&format!("queued.{number}"), "/bin/sleep", "60"))?;
        if number % STRIDE == 0 {
            most = most.max(family.holding()?);
        }
    }
    while told < QUEUED {
        let update = agent.update()?;
        ensure!(update.status.state() == TaskState::TaskStarting, "not {:?}", update.status);
        told += 1;
        if told % STRIDE == 0 {
            most = most.max(family.holding()?);
        }
    }
    drop(stopped);
    Ok(most)
}

/// What as many processes hold that do nothing.
///
/// # Errors
/// They do not start.
pub(super) fn sleepers(count: usize) -> anyhow::Result<Holding> {
    let mut sleepers = Sleepers(Vec::new());
    for _ in 0..count {
        let child = Command::new("/bin/sleep").arg("60").stdin(Stdio::null()).spawn();
        sleepers.0.push(child.context("cannot start `/bin/sleep`")?);
    }
    // Until their libraries are loaded.
    thread::sleep(Duration::from_millis(100));
    sleepers.0.iter().try_fold(Holding::default(), |sum, child| {
        Ok(sum.plus(holding(child.id() as i32).context("`/bin/sleep` has ended")?))
    })
}

struct Sleepers(Vec<Child>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // They are ours and sleep for a minute.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Processes that stand still, and end in the end: there is nothing left for them to do.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn new(pids: &[i32]) -> anyhow::Result<Self> {
        let stopped = Self(pids.iter().copied().map(Pid::from_raw).collect());
        for pid in &stopped.0 {
            kill(*pid, Signal::SIGSTOP).context("the launcher has ended")?;
        }
        for pid in &stopped.0 {
            // The signal is there at once, and takes effect a moment later.
            while !stands_still(*pid)? {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(stopped)
    }
}

/// By the state that follows the name in `/proc/PID/stat`.
fn stands_still(pid: Pid) -> anyhow::Result<bool> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the launcher has ended")?;
    Ok(stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
}

/// A task as agents hand it out, with all that they put beside the command.
fn task(id: &str, program: &str, argument: &str) -> TaskInfo {
    let command = CommandInfo {
        shell: Some(false),
        value: Some(program.to_owned()),
        arguments: vec![program.to_owned(), argument.to_owned()],
        ..CommandInfo::default()
    };
    let spec = TaskSpec { command: Some(command), ..TaskSpec::default() };
    let resource = |name: &str, value: f64| Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(Scalar { value }),
        ..Resource::default()
    };
    let executor = ExecutorInfo {
        r#type: Some(executor_info::Type::Custom.into()),
        executor_id: "bench".into(),
        framework_id: Some("bench".into()),
        command: Some(CommandInfo {
            value: Some("/opt/marmoset/marmoset-executor".to_owned()),
            ..CommandInfo::default()
        }),
        resources: vec![resource("cpus", 0.1), resource("mem", 32.0)],
        ..ExecutorInfo::default()
    };
    TaskInfo {
        name: id.to_owned(),
        task_id: id.into(),
        agent_id: "3110ccd5-37df-41c0-bc9b-768e09c0b344-S0".into(),
        resources: vec![resource("cpus", 0.01), resource("mem", 1.0)],
        executor: Some(executor),
        data: Some(codec::encode(&spec, Encoding::Protobuf)),
        ..TaskInfo::default()
    }
}
