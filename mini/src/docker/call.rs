//! One call of the command, and why it failed.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use super::{Inspected, inspect};
use crate::config::DockerConfig;

/// A call that only asks is given up after this time: the engine hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the command lies and whom it talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Docker {
    program: PathBuf,
    socket: PathBuf,
}

/// Why a call was in vain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("Failed to create subprocess '{line}': {source}")]
    Start { line: String, source: io::Error },
    #[error("Failed to run '{line}': {ending}; stderr='{stderr}'")]
    Failed { line: String, ending: String, stderr: String },
    #[error("'{line}' did not end within {}", marmoset_proto::duration::format(*.after))]
    Hangs { line: String, after: Duration },
    #[error("'{0}' tells nothing that can be read")]
    Unreadable(String),
}

impl Docker {
    /// The command as an agent is configured to call it.
    pub(crate) fn new(config: &DockerConfig) -> Self {
        Self { program: config.program.clone(), socket: config.socket.clone() }
    }

    /// The same from its parts.
    pub(crate) fn at(program: PathBuf, socket: PathBuf) -> Self {
        Self { program, socket }
    }

    /// The program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The engine's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A process that is not started yet.
    pub(crate) fn command(&self, arguments: &[String]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.arg("-H").arg(self.host()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Names of all containers, those that ended too.
    pub(crate) async fn names(&self) -> Result<Vec<String>, CallError> {
        let output = self.output(&["ps", "-a", "--no-trunc", "--format", "{{.Names}}"]).await?;
        Ok(String::from_utf8_lossy(&output).lines().map(str::to_owned).collect())
    }

    /// What the engine knows of a container.
    pub(crate) async fn inspect(&self, name: &str) -> Result<Inspected, CallError> {
        let arguments = ["inspect", "--type=container", name];
        let output = self.output(&arguments).await?;
        inspect::read(output).ok_or_else(|| CallError::Unreadable(self.line(&arguments)))
    }

    /// Whether an image is here.
    pub(crate) async fn has_image(&self, image: &str) -> bool {
        let output = self.output(&["inspect", "--type=image", "--format={{.Id}}", image]).await;
        output.is_ok()
    }

    /// Gets an image, with the credentials in `home`, and takes the time that it takes.
    pub(crate) async fn pull(&self, image: &str, home: &Path) -> Result<(), CallError> {
        let arguments = ["pull", image];
        let mut command = self.asking(&arguments);
        command.env("HOME", home).env_remove("DOCKER_CONFIG");
        let output =
            command.output().await.map_err(|source| self.not_started(&arguments, source))?;
        self.check(&arguments, output).map(|_progress| ())
    }

    /// SIGTERM, and SIGKILL after the grace period. Takes so long, and `patience` more.
    pub(crate) async fn stop(
        &self,
        name: &str,
        grace: Duration,
        patience: Duration,
    ) -> Result<(), CallError> {
        let seconds = grace.as_secs().to_string();
        let arguments = ["stop", "-t", &seconds, name];
        self.output_within(&arguments, grace + patience).await.map(|_name| ())
    }

    /// Removes a container with its anonymous volumes, running or not.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), CallError> {
        self.output(&["rm", "-f", "-v", name]).await.map(|_name| ())
    }

    async fn output(&self, arguments: &[&str]) -> Result<Vec<u8>, CallError> {
        self.output_within(arguments, PATIENCE).await
    }

    async fn output_within(
        &self,
        arguments: &[&str],
        after: Duration,
    ) -> Result<Vec<u8>, CallError> {
        match tokio::time::timeout(after, self.asking(arguments).output()).await {
            Ok(Ok(output)) => self.check(arguments, output),
            Ok(Err(source)) => Err(self.not_started(arguments, source)),
            Err(_late) => Err(CallError::Hangs { line: self.line(arguments), after }),
        }
    }

    fn asking(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("-H").arg(self.host()).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn check(
        &self,
        arguments: &[&str],
        output: std::process::Output,
    ) -> Result<Vec<u8>, CallError> {
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(CallError::Failed {
            line: self.line(arguments),
            ending: ending(output.status),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn not_started(&self, arguments: &[&str], source: io::Error) -> CallError {
        CallError::Start { line: self.line(arguments), source }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    fn line(&self, arguments: &[&str]) -> String {
        format!("{} -H {} {}", self.program.display(), self.host(), arguments.join(" "))
    }
}

/// `exited with status 1`, or which signal it was.
fn ending(status: ExitStatus) -> String {
    let told =
        marmoset_proto::status::describe(std::os::unix::process::ExitStatusExt::into_raw(status));
    told.trim_start_matches("Command ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(program: &str, arguments: &[&str]) -> String {
        let docker = Docker::at(program.into(), "/run/d.sock".into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(docker.output(arguments)).unwrap_err().to_string()
    }

    #[test]
    fn a_call_that_fails_names_its_command_line() {
        assert_eq!(
            told("false", &["pull", "a/b:c"]),
            "Failed to run 'false -H unix:///run/d.sock pull a/b:c': exited with status 1; stderr=''"
        );
        assert!(
            told("/no/such/docker", &["ps"]).starts_with(
                "Failed to create subprocess '/no/such/docker -H unix:///run/d.sock ps'"
            )
        );
    }
}
