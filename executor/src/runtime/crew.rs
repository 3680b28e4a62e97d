//! A launcher as runtimes use it.
//!
//! Owns what is asked of one launcher until it is handed over, and the translation of what it
//! reports: events of runs, and answers of the commands that probe them. Refuses to start a
//! launcher, and to say what its death means. Called by the process and the warm runtime.

use std::{
    collections::HashMap,
    ffi::CString,
    mem,
    task::{Context, Poll},
};

use marmoset_executor_core::{Answer, ProbeId, Remark, RunEvent, RunId, Signal};
use marmoset_proto::mesos::v1::{Resource, TaskResourceLimitation, task_status::Reason, value};
use tokio::sync::mpsc;

use crate::{
    cgroup::OutOfMemory,
    launcher::{self, Kept, Launcher, LauncherEvent, Report, Scope, Step},
    output,
};

/// Set in the ids by which a launcher knows commands that probe a run.
const PROBE: u64 = 1 << 63;

/// A launcher, and what is asked of it.
#[derive(Debug)]
pub(super) struct Crew {
    launcher: Launcher,
    events: mpsc::Receiver<LauncherEvent>,
    /// Requests that were not handed over yet.
    spawns: Vec<launcher::Spawn>,
    cancelled: Vec<RunId>,
    signals: Vec<launcher::Signal>,
    /// What was asked for and has not started: bounded by the core.
    starting: HashMap<RunId, Request>,
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

/// What did not start, and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
    /// Absent where nobody knows what was asked for.
    pub(super) request: Option<Request>,
}

/// A report, translated.
#[derive(Debug)]
pub(super) enum Told {
    Run(RunId, RunEvent),
    Probe(ProbeId, Answer),
}

/// The id by which a launcher knows the command of a probe.
pub(super) fn id_of(probe: ProbeId) -> RunId {
    RunId(probe.0 | PROBE)
}

fn probe_of(run: RunId) -> Option<ProbeId> {
    (run.0 & PROBE != 0).then_some(ProbeId(run.0 ^ PROBE))
}

impl Crew {
    pub(super) fn new((launcher, events): (Launcher, mpsc::Receiver<LauncherEvent>)) -> Self {
        Self {
            launcher,
            events,
            spawns: Vec::new(),
            cancelled: Vec::new(),
            signals: Vec::new(),
            starting: HashMap::new(),
        }
    }

    /// Asks for a process. `fetched` is remembered with it.
    pub(super) fn spawn(&mut self, spawn: launcher::Spawn, fetched: bool) {
        let user = spawn.user.as_ref().map(|user| user.uid);
        let (program, cwd) = (spawn.program.clone(), spawn.cwd.clone());
        self.starting.insert(spawn.run, Request { program, cwd, user, fetched });
        self.spawns.push(spawn);
    }

    pub(super) fn cancel(&mut self, run: RunId) {
        self.cancelled.push(run);
    }

    pub(super) fn signal(&mut self, run: RunId, signal: Signal) {
        let signal = match signal {
            Signal::Term => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        self.signals.push(launcher::Signal { run, signal, scope: Scope::Session });
    }

    /// Hands over what was asked for.
    pub(super) fn flush(&mut self) {
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

    /// What the launcher says next.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<LauncherEvent> {
        self.events.poll_recv(context).map(|event| {
            event.unwrap_or_else(|| LauncherEvent::Died { reason: "its reports ended".to_owned() })
        })
    }

    /// Says what a report means; none that nobody waits for. `say` puts a failure into words.
    pub(super) fn translate(
        &mut self,
        report: Report,
        say: impl FnOnce(Failure) -> String,
    ) -> Option<Told> {
        let run = report.run();
        let request = match report {
            Report::Started { .. } | Report::SpawnFailed { .. } | Report::Returned { .. } => {
                self.starting.remove(&run)
            }
            Report::Exited { .. } => None,
        };
        let failed = |step, errno| say(Failure { step, errno, request });
        if let Some(probe) = probe_of(run) {
            let answer = match report {
                Report::SpawnFailed { errno, step, .. } => {
                    Answer::Nothing { reason: failed(step, errno) }
                }
                Report::Exited { wait_status, .. } => Answer::Exited { wait_status },
                // Only runs are cancelled.
                Report::Started { .. } | Report::Returned { .. } => return None,
            };
            return Some(Told::Probe(probe, answer));
        }
        let event = match report {
            Report::Started { pid, at, .. } => {
                tracing::debug!(%run, pid, "started");
                RunEvent::Started { at: at.into(), details: None }
            }
            Report::SpawnFailed { errno, step, at, .. } => {
                RunEvent::Refused { message: failed(step, errno), reason: None, at: at.into() }
            }
            Report::Returned { .. } => RunEvent::Returned,
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
        Some(Told::Run(run, event))
    }

    /// What was asked for and has not started.
    pub(super) fn into_starting(self) -> impl Iterator<Item = (RunId, Request)> {
        self.starting.into_iter()
    }

    /// Ends the launcher and everything it started, and waits until it has ended.
    pub(super) async fn close(self) {
        self.launcher.close().await;
    }
}

/// What is to be told of an end besides its wait status.
fn remark(kept: &Kept, out_of_memory: Option<OutOfMemory>) -> Option<Box<Remark>> {
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
