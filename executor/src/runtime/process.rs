//! Runs commands as subprocesses, through the launcher.
//!
//! Owns the launcher and its replacement when it dies, and what of a request
//! its failure has to name. Refuses to spawn by itself: this process grows, the
//! launcher does not.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsString},
    future::poll_fn,
    io, mem,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use marmoset_executor_core::{
    Answer, Attempt, Probe, ProbeId, RunEvent, RunId, RuntimeKind, Signal, Spawn, WallTime,
    launcher_died,
};
use tokio::time::timeout;

use super::{
    Runtime, RuntimeEvent,
    crew::{self, Crew, Failure, Request, Told},
    template::{MARK, Templates, Unusable},
};
use crate::{
    fetch::Owner,
    isolation::Isolation,
    launcher::{self, LauncherConfig, LauncherEvent, Report, Step},
    output::OutputDefaults,
    probes::Probes,
};

/// Deaths in a row, without anything having been started, after which there is no use in another.
const DEATHS_MAX: u32 = 3;

/// How long the end of the launcher is waited for.
const CLOSE_LIMIT: Duration = Duration::from_millis(300);

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
    crew: Crew,
    templates: Templates,
    /// Runs that could not be asked for.
    refused: Vec<(RunId, RunEvent)>,
    /// Those over the network.
    probes: Probes,
    /// Answers of commands that probed a run.
    answers: Vec<(ProbeId, Answer)>,
    deaths: u32,
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
        let crew = Crew::new(launcher::start(launcher.clone())?);
        Ok(Self {
            config: launcher,
            crew,
            templates,
            refused: Vec::new(),
            probes: Probes::default(),
            answers: Vec::new(),
            deaths: 0,
        })
    }

    fn replace(&mut self, reason: String) -> RuntimeEvent {
        self.deaths += 1;
        if self.deaths >= DEATHS_MAX {
            return RuntimeEvent::Broken {
                reason: format!("the launcher died {DEATHS_MAX} times in a row: {reason}"),
            };
        }
        let crew = match launcher::start(self.config.clone()) {
            Ok(started) => mem::replace(&mut self.crew, Crew::new(started)),
            Err(error) => {
                return RuntimeEvent::Broken {
                    reason: format!(
                        "the launcher died ({reason}) and cannot be started again: {error}"
                    ),
                };
            }
        };
        let at = WallTime::from(SystemTime::now());
        for (run, request) in crew.into_starting() {
            if request.fetched {
                let message = launcher_died(&reason);
                self.refused.push((run, RunEvent::Lost { message, at }));
            }
        }
        RuntimeEvent::Lost { reason }
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

    /// What reports mean; answers of commands that probe are kept for the next event.
    fn translate(&mut self, reports: Vec<Report>) -> Vec<(RunId, RunEvent)> {
        let mut events = Vec::with_capacity(reports.len());
        for report in reports {
            if let Report::Started { .. } = report {
                self.deaths = 0;
            }
            let templates = &mut self.templates;
            let told = self.crew.translate(report, |failed| {
                // It may have been removed, and have an equal in another folder.
                templates.forget_programs();
                failure(&failed)
            });
            match told {
                Some(Told::Run(run, event)) => events.push((run, event)),
                Some(Told::Probe(probe, answer)) => self.answers.push((probe, answer)),
                None => {}
            }
        }
        events
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
            Ok(request) => {
                self.crew.spawn(request, !spawn.template.command.uris.is_empty());
            }
            Err(unusable) => self.refuse(spawn.run, &unusable),
        }
    }

    fn cancel(&mut self, run: RunId) {
        self.crew.cancel(run);
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        self.crew.signal(run, signal);
    }

    fn probe(&mut self, probe: Probe) {
        match &*probe.attempt {
            Attempt::Command(template) => {
                match self.templates.probe(crew::id_of(probe.id), &probe.spawn, template) {
                    Ok(request) => self.crew.spawn(request, false),
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
            self.crew.signal(crew::id_of(probe), Signal::Kill);
        }
    }

    fn flush(&mut self) {
        self.crew.flush();
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
            event = poll_fn(|context| self.crew.poll_next(context)) => event,
            answer = self.probes.next() => return RuntimeEvent::Probes(vec![answer]),
        };
        match event {
            LauncherEvent::Reports(reports) => RuntimeEvent::Runs(self.translate(reports)),
            LauncherEvent::Died { reason } => self.replace(reason),
        }
    }

    async fn close(self) {
        // What is left after that dies with our end of the sockets.
        let _ = timeout(CLOSE_LIMIT, self.crew.close()).await;
    }
}

/// What people read about a process that did not start.
pub(super) fn failure(failed: &Failure) -> String {
    let Failure { step, errno, ref request } = *failed;
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
            let request = Request {
                program: c"/bin/tool".to_owned(),
                cwd: c"/s/tasks/t".to_owned(),
                user: Some(7),
                fetched: false,
            };
            assert_eq!(failure(&Failure { step, errno, request: Some(request) }), text);
        }
        assert_eq!(
            failure(&Failure { step: Step::Fork, errno: libc::EAGAIN, request: None }),
            "cannot create a process: Resource temporarily unavailable (os error 11)"
        );
    }
}
