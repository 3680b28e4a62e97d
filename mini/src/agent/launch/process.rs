//! One process with a session of its own, and its end.
//!
//! The first process is watched through its pidfd and reaped last, see
//! [`super`].

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::chown,
            process::{CommandExt as _, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::{KILLED, Launch, pidfd};
use crate::processes::{Identity, in_own_session, kill_container};

/// Wait status of a process that exited with 1, as Mesos' helper does when exec fails.
const EXITED_1: i32 = 1 << 8;

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error("Failed to open '{path}': {source}")]
    Output { path: String, source: io::Error },
    #[error(
        "`command.value` of the executor is not set (there is no default executor here: give one of type CUSTOM)"
    )]
    NoCommand,
    #[error("Failed to watch the executor's process: {0}")]
    Watch(io::Error),
}

/// What became of an attempt to start something.
pub(super) enum Spawned {
    /// It runs.
    Running(Process),
    /// The program is not there, or not one; the wait status to report.
    NotExecutable(i32),
}

/// The first process of a container. Dropped before its end, it takes the container along.
pub(super) struct Process {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
    sandbox: PathBuf,
    reaped: bool,
}

/// Starts the command in its sandbox, with nothing of the agent's environment.
pub(super) fn spawn(launch: &Launch, identity: Option<&Identity>) -> Result<Spawned, SpawnError> {
    let mut command = command_of(launch)?;
    let stderr = output(&launch.directory, "stderr", identity)?;
    let mut complaint = stderr.try_clone().map_err(SpawnError::Watch)?;
    command
        .current_dir(&launch.directory)
        .env_clear()
        .envs(&launch.environment)
        .stdin(Stdio::null())
        .stdout(output(&launch.directory, "stdout", identity)?)
        .stderr(stderr);
    in_own_session(&mut command, identity);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.get_program().to_string_lossy().into_owned();
            // Where the owner of the command looks first; there is no other place to tell.
            let _full = writeln!(complaint, "Failed to execute command '{program}': {error}");
            return Ok(Spawned::NotExecutable(EXITED_1));
        }
    };
    match pidfd::watch(child.id()) {
        Ok(pidfd) => Ok(Spawned::Running(Process {
            child,
            pidfd,
            sandbox: launch.directory.clone(),
            reaped: false,
        })),
        Err(error) => {
            kill_container(child.id(), &launch.directory);
            let _reaped = child.wait();
            Err(SpawnError::Watch(error))
        }
    }
}

impl Process {
    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, or brings it about; then kills the rest of the container.
    pub(super) async fn end(mut self, destroy: CancellationToken) -> i32 {
        tokio::select! {
            () = destroy.cancelled() => {}
            ended = self.pidfd.readable() => {
                if let Err(error) = ended {
                    tracing::warn!(%error, pid = self.pid(), "lost sight of an executor, killing it");
                }
            }
        }
        tokio::task::spawn_blocking(move || self.kill_and_reap()).await.unwrap_or(KILLED)
    }

    fn kill_and_reap(&mut self) -> i32 {
        kill_container(self.pid(), &self.sandbox);
        self.reaped = true;
        self.child.wait().map_or(KILLED, ExitStatusExt::into_raw)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill_and_reap();
        }
    }
}

fn command_of(launch: &Launch) -> Result<Command, SpawnError> {
    let value = launch.command.value.as_ref().ok_or(SpawnError::NoCommand)?;
    if launch.command.shell() {
        let mut command = Command::new("/bin/sh");
        command.arg0("sh").arg("-c").arg(value);
        return Ok(command);
    }
    let mut command = Command::new(value);
    if let Some((name, arguments)) = launch.command.arguments.split_first() {
        command.arg0(name).args(arguments);
    }
    Ok(command)
}

pub(super) fn output(
    sandbox: &Path,
    name: &str,
    owner: Option<&Identity>,
) -> Result<File, SpawnError> {
    let path = sandbox.join(name);
    let failed = |source| SpawnError::Output { path: path.display().to_string(), source };
    let file = OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
    if let Some(owner) = owner {
        chown(&path, Some(owner.uid), Some(owner.gid)).map_err(failed)?;
    }
    Ok(file)
}
