//! Runs commands as subprocesses, through the launcher.
//!
//! Owns the launcher and its replacement when it dies, and what of a request
//! its failure has to name. Refuses to spawn by itself: this process grows, the
//! launcher does not.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{CString, OsString},
    io, mem,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use marmoset_executor_core::{
    Answer, Attempt, Probe, ProbeId, Remark, RunEvent, RunId, RuntimeKind, Signal, Spawn, WallTime,
    launcher_died,
};
use marmoset_proto::mesos::v1::{Resource, TaskResourceLimitation, task_status::Reason, value};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Runtime, RuntimeEvent,
    template::{MARK, Templates, Unusable},
};
use crate::{
    cgroup::OutOfMemory,
    fetch::Owner,
    isolation::Isolation,
    launcher::{self, Kept, Launcher, LauncherConfig, LauncherEvent, Report, Scope, Step},
    output::{self, OutputDefaults},
    probes::Probes,
};

/// Deaths in a row, without anything having been started, after which there is no use in another.
const DEATHS_MAX: u32 = 3;

/// How long the end of the launcher is waited for.
const CLOSE_LIMIT: Duration = Duration::from_millis(300);

/// Set in the ids by which the launcher knows commands that probe a run.
pub(super) const PROBE: u64 = 1 << 63;

/// What the process runtime needs.
#[derive(Debug)]
pub(crate) struct ProcessConfig {
    /// Our own binary.
    pub(crate) program: PathBuf,
    /// What makes a launcher of it.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) sandbox: PathBuf,
    /// The environment that tasks inherit.
    pub(crate) inherited: BTreeMap<OsString, OsString>,
    /// Where the output goes of tasks that do not say so.
    pub(crate) output: OutputDefaults,
    /// What tasks are kept within their resources by.
    pub(crate) isolation: Isolation,
}

/// Subprocesses.
#[derive(Debug)]
pub(crate) struct ProcessRuntime {
    config: LauncherConfig,
    launcher: Launcher,
    events: mpsc::Receiver<LauncherEvent>,
    templates: Templates,
    /// Requests that were not handed over yet.
    spawns: Vec<launcher::Spawn>,
    signals: Vec<launcher::Signal>,
    cancelled: Vec<RunId>,
    /// Runs that could not be asked for.
    refused: Vec<(RunId, RunEvent)>,
    /// Those over the network.
    probes: Probes,
    /// Answers of commands that probed a run.
    answers: Vec<(ProbeId, Answer)>,
    /// What was asked for and has not started: bounded by the core.
    starting: HashMap<RunId, Request>,
    deaths: u32,
}

/// What the failure of a request has to name.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) program: CString,
    pub(super) cwd: CString,
    pub(super) user: Option<u32>,
    /// Whether its files were fetched: the core does not count it among those of the launcher.
    pub(super) fetched: bool,
}

impl ProcessRuntime {
    /// Starts the launcher.
    ///
    /// # Errors
    /// When our own binary cannot be executed.
    pub(crate) fn start(config: ProcessConfig) -> io::Result<Self> {
        let cgroups = config.isolation.place().cloned();
        let templates =
            Templates::new(config.sandbox, config.inherited, config.output, config.isolation);
        let launcher = LauncherConfig {
            workers: config.workers,
            mark: CString::new(MARK).ok(),
            family: Some(templates.family()),
            cgroups,
            ..LauncherConfig::new(config.program, config.arguments)
        };
        let (started, events) = launcher::start(launcher.clone())?;
        Ok(Self {
            config: launcher,
            launcher: started,
            events,
            templates,
            spawns: Vec::new(),
            signals: Vec::new(),
            cancelled: Vec::new(),
            refused: Vec::new(),
            probes: Probes::default(),
            answers: Vec::new(),
            starting: HashMap::new(),
            deaths: 0,
        })
    }

    fn replace(&mut self, reason: String) -> RuntimeEvent {
        self.deaths += 1;
        let at = WallTime::from(SystemTime::now());
        for (run, request) in self.starting.drain() {
            if request.fetched {
                let message = launcher_died(&reason);
                self.refused.push((run, RunEvent::Lost { message, at }));
            }
        }
        self.spawns.clear();
        self.signals.clear();
        self.cancelled.clear();
        if self.deaths >= DEATHS_MAX {
            return RuntimeEvent::Broken {
                reason: format!("the launcher died {DEATHS_MAX} times in a row: {reason}"),
            };
        }
        match launcher::start(self.config.clone()) {
            Ok((launcher, events)) => {
                (self.launcher, self.events) = (launcher, events);
                RuntimeEvent::Lost { reason }
            }
            Err(error) => RuntimeEvent::Broken {
                reason: format!(
                    "the launcher died ({reason}) and cannot be started again: {error}"
                ),
            },
        }
    }

    /// The folder of a run that is to be started, and whose it is unless ours.
    ///
    /// # Errors
    /// The text says why the run cannot be started at all.
    pub(super) fn place(&mut self, spawn: &Spawn) -> Result<(PathBuf, Option<Owner>), String> {
        let (folder, user) = self.templates.place(spawn).map_err(|error| error.to_string())?;
        let owner = user.map(|user| Owner { uid: user.uid.into(), gid: user.gid.into() });
        Ok((folder, owner))
    }

    fn refuse(&mut self, run: RunId, unusable: &Unusable) {
        let (message, at) = (unusable.to_string(), WallTime::from(SystemTime::now()));
        self.refused.push((run, RunEvent::Refused { message, reason: None, at }));
    }

    fn take(&mut self, request: launcher::Spawn, fetched: bool) {
        let user = request.user.as_ref().map(|user| user.uid);
        let (program, cwd) = (request.program.clone(), request.cwd.clone());
        self.starting.insert(request.run, Request { program, cwd, user, fetched });
        self.spawns.push(request);
    }

    /// What the report about a command means for the probe that it is.
    fn answer(&mut self, report: &Report) -> Option<Answer> {
        match *report {
            Report::Started { run, .. } => {
                self.starting.remove(&run);
                None
            }
            Report::SpawnFailed { run, errno, step, .. } => {
                self.templates.forget_programs();
                let request = self.starting.remove(&run);
                Some(Answer::Nothing { reason: failure(step, errno, request.as_ref()) })
            }
            // Only runs are cancelled.
            Report::Returned { .. } => None,
            Report::Exited { wait_status, .. } => Some(Answer::Exited { wait_status }),
        }
    }

    fn translate(&mut self, report: Report) -> (RunId, RunEvent) {
        let run = report.run();
        let event = match report {
            Report::Started { pid, at, .. } => {
                tracing::debug!(%run, pid, "started");
                self.starting.remove(&run);
                self.deaths = 0;
                RunEvent::Started { at: at.into(), details: None }
            }
            Report::SpawnFailed { errno, step, at, .. } => {
                // It may have been removed, and have an equal in another folder.
                self.templates.forget_programs();
                let request = self.starting.remove(&run);
                let message = failure(step, errno, request.as_ref());
                RunEvent::Refused { message, reason: None, at: at.into() }
            }
            Report::Returned { .. } => {
                self.starting.remove(&run);
                RunEvent::Returned
            }
            Report::Exited {
                wait_status,
                at,
                usage,
                stdout_bytes,
                stderr_bytes,
                kept,
                out_of_memory,
                ..
            } => {
                tracing::debug!(%run, wait_status, ?usage, "exited");
                let (at, remark) = (at.into(), remark(&kept, out_of_memory));
                RunEvent::Exited { wait_status, at, stdout_bytes, stderr_bytes, remark }
            }
        };
        (run, event)
    }
}

impl Runtime for ProcessRuntime {
    fn spawn(&mut self, spawn: Spawn) {
        let kind = spawn.template.runtime;
        if kind != RuntimeKind::Process {
            let message = format!("this executor has no runtime `{}`", kind.name());
            let at = WallTime::from(SystemTime::now());
            self.refused.push((spawn.run, RunEvent::Refused { message, reason: None, at }));
            return;
        }
        match self.templates.request(&spawn) {
            Ok(request) => self.take(request, !spawn.template.command.uris.is_empty()),
            Err(unusable) => self.refuse(spawn.run, &unusable),
        }
    }

    fn cancel(&mut self, run: RunId) {
        self.cancelled.push(run);
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        let signal = match signal {
            Signal::Term => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        self.signals.push(launcher::Signal { run, signal, scope: Scope::Session });
    }

    fn probe(&mut self, probe: Probe) {
        match &*probe.attempt {
            Attempt::Command(template) => {
                let run = RunId(probe.id.0 | PROBE);
                match self.templates.probe(run, &probe.spawn, template) {
                    Ok(request) => self.take(request, false),
                    Err(unusable) => {
                        let reason = unusable.to_string();
                        self.answers.push((probe.id, Answer::Nothing { reason }));
                    }
                }
            }
            Attempt::Http(page) => self.probes.get(probe.id, page.clone()),
            Attempt::Tcp(address) => self.probes.connect(probe.id, *address),
        }
    }

    fn abandon(&mut self, probe: ProbeId) {
        if !self.probes.abandon(probe) {
            self.signal(RunId(probe.0 | PROBE), Signal::Kill);
        }
    }

    fn flush(&mut self) {
        if !self.spawns.is_empty() {
            self.launcher.spawn(mem::take(&mut self.spawns));
        }
        if !self.cancelled.is_empty() {
            self.launcher.cancel(mem::take(&mut self.cancelled));
        }
        if !self.signals.is_empty() {
            self.launcher.signal(mem::take(&mut self.signals));
        }
    }

    async fn next(&mut self) -> RuntimeEvent {
        if !self.refused.is_empty() {
            // A batch whose every item is refused must not keep the agent waiting.
            tokio::task::yield_now().await;
            return RuntimeEvent::Runs(mem::take(&mut self.refused));
        }
        if !self.answers.is_empty() {
            tokio::task::yield_now().await;
            return RuntimeEvent::Probes(mem::take(&mut self.answers));
        }
        let event = tokio::select! {
            event = self.events.recv() => event,
            answer = self.probes.next() => return RuntimeEvent::Probes(vec![answer]),
        };
        match event {
            Some(LauncherEvent::Reports(reports)) => {
                let mut events = Vec::with_capacity(reports.len());
                for report in reports {
                    match report.run().0 {
                        id if id & PROBE != 0 => {
                            let answer = self.answer(&report);
                            self.answers.extend(answer.map(|answer| (ProbeId(id ^ PROBE), answer)));
                        }
                        _ => events.push(self.translate(report)),
                    }
                }
                RuntimeEvent::Runs(events)
            }
            Some(LauncherEvent::Died { reason }) => self.replace(reason),
            None => self.replace("its reports ended".to_string()),
        }
    }

    async fn close(self) {
        // What is left after that dies with our end of the sockets.
        let _ = timeout(CLOSE_LIMIT, self.launcher.close()).await;
    }
}

/// What is to be told of an end besides its wait status.
pub(super) fn remark(kept: &Kept, out_of_memory: Option<OutOfMemory>) -> Option<Box<Remark>> {
    let mut remark = Remark {
        addition: output::told(kept),
        folder_removed: kept.folder_removed,
        ..Remark::default()
    };
    if let Some(OutOfMemory { limit, peak }) = out_of_memory {
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        let (limit, peak) = (mebibytes(limit), mebibytes(peak));
        remark.message =
            Some(format!("Memory limit exceeded: Requested: {limit}MB Maximum Used: {peak}MB"));
        remark.reason = Some(Reason::ContainerLimitationMemory);
        let mem = Resource {
            name: "mem".to_owned(),
            r#type: value::Type::Scalar.into(),
            scalar: Some(value::Scalar { value: peak as f64 }),
            ..Resource::default()
        };
        remark.limitation = Some(TaskResourceLimitation { resources: vec![mem] });
    }
    (remark != Remark::default()).then(|| Box::new(remark))
}

/// What people read about a process that did not start.
pub(super) fn failure(step: Step, errno: i32, request: Option<&Request>) -> String {
    let error = io::Error::from_raw_os_error(errno);
    let Some(Request { program, cwd, user, .. }) = request else {
        return format!("cannot {step}: {error}");
    };
    let (program, cwd) = (program.to_string_lossy(), cwd.to_string_lossy());
    match step {
        Step::Exec => format!("cannot execute `{program}`: {error}{}", exec_advice(errno)),
        // The folder above is named, which tasks share: people look at failures by their text.
        Step::CreateFolder | Step::ChangeFolder | Step::Stdout | Step::Stderr => {
            let folder = Path::new(cwd.as_ref()).parent().unwrap_or(Path::new("/"));
            format!(
                "cannot {step} below `{}`: {error}; the executor's user must be able to write \
                 there, and the disk must have room",
                folder.display()
            )
        }
        Step::User => match user {
            Some(uid) => format!("cannot {step} with the id {uid}: {error}"),
            None => format!("cannot {step}: {error}"),
        },
        Step::Rlimit if errno == libc::EPERM => format!(
            "cannot {step}: {error}; `rlimit_info` has a `hard` above the executor's own, or none, \
             which takes root: lower it, or run the executor as root"
        ),
        Step::Nice if errno == libc::EACCES => format!(
            "cannot {step}: {error}; a `nice` below 0 takes root: raise it, or run the executor as \
             root"
        ),
        Step::Cgroup => format!(
            "cannot {step}: {error}; start the executor with `--isolation=none` if its cgroup may \
             not be used"
        ),
        Step::Request | Step::Fork | Step::Rlimit | Step::Nice => {
            format!("cannot {step}: {error}")
        }
    }
}

/// What to do when a program cannot be executed.
fn exec_advice(errno: i32) -> &'static str {
    match errno {
        libc::ENOENT => "; install it on the agent, or correct the `#!` line of the script",
        libc::EACCES => "; run `chmod +x` on it, and see to the rights of its folders",
        libc::ENOEXEC => "; it is no program for this machine, or a script without a `#!` line",
        libc::E2BIG => "; shorten the arguments or the environment",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_what_failed() {
        let request = Request {
            program: c"/bin/tool".to_owned(),
            cwd: c"/s/tasks/t".to_owned(),
            user: Some(7),
            fetched: false,
        };
        for (step, errno, text) in [
            (
                Step::Exec,
                libc::EACCES,
                "cannot execute `/bin/tool`: Permission denied (os error 13); run `chmod +x` on it, \
                 and see to the rights of its folders",
            ),
            (
                Step::CreateFolder,
                libc::EROFS,
                "cannot create the working directory below `/s/tasks`: Read-only file system (os error \
                 30); the executor's user must be able to write there, and the disk must have room",
            ),
            (
                Step::Stdout,
                libc::ENOSPC,
                "cannot open the file for stdout below `/s/tasks`: No space left on device (os error \
                 28); the executor's user must be able to write there, and the disk must have room",
            ),
            (
                Step::User,
                libc::EPERM,
                "cannot become the user with the id 7: Operation not permitted (os error 1)",
            ),
        ] {
            assert_eq!(failure(step, errno, Some(&request)), text);
        }
        assert_eq!(
            failure(Step::Fork, libc::EAGAIN, None),
            "cannot create a process: Resource temporarily unavailable (os error 11)"
        );
    }
}
