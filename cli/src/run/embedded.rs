//! The cluster that `marmoset run` starts for itself.
//!
//! Owns its folder and its size. One agent, on free ports of the loopback
//! interface; the executor is this same program.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use marmoset_mini::{AgentConfig, Cluster, ClusterConfig, CommandLine};
use marmoset_proto::resources::Millis;
use marmoset_scheduler::{
    Config, ConnectionConfig, ExecutorTemplate, FrameworkConfig, Identity, Limits, Sandbox, Timing,
    executor_at,
};

use crate::folder::Temporary;

/// How long a first answer of a master is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A running cluster and its folder.
#[derive(Debug)]
pub(crate) struct Embedded {
    cluster: Cluster,
    folder: Temporary,
}

impl Embedded {
    /// Starts a master and one agent that offers all of this machine.
    ///
    /// # Errors
    /// No folder can be made, or no port be had.
    pub(crate) async fn start(executor: &ExecutorTemplate) -> anyhow::Result<Self> {
        let folder = Temporary::fast()?;
        let config = ClusterConfig {
            hostname: "127.0.0.1".to_owned(),
            agents: vec![AgentConfig {
                resources: resources(executor),
                work_dir: folder.path().to_owned(),
                command_executor: command_executor()?,
                ..AgentConfig::default()
            }],
            ..ClusterConfig::default()
        };
        let cluster = Cluster::start(config).await.context("cannot start the embedded cluster")?;
        Ok(Self { cluster, folder })
    }

    /// The master's address.
    pub(crate) fn master(&self) -> String {
        self.cluster.master_addr().to_string()
    }

    /// Where a task's files lie on this machine.
    pub(crate) fn local(&self, sandbox: &Sandbox) -> PathBuf {
        local(self.folder.path(), sandbox)
    }

    /// Tells when there is hardly room left for what tasks write.
    pub(crate) fn scarcity(&self) -> Option<String> {
        self.folder.scarcity()
    }

    /// Ends the cluster with all it started. With `keep`, its folder stays.
    pub(crate) async fn shutdown(self, keep: bool) {
        self.cluster.shutdown().await;
        if keep {
            self.folder.keep();
        }
    }
}

/// Where an agent with this work directory keeps a task's files.
fn local(work_dir: &Path, sandbox: &Sandbox) -> PathBuf {
    work_dir.join("slaves").join(&sandbox.agent_id).join(sandbox.folder.trim_start_matches('/'))
}

/// This same program, as an agent of this machine starts it.
///
/// # Errors
/// The system does not tell where it lies.
pub(crate) fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find out where this program lies")
}

/// The executor inside this program, with these flags.
pub(crate) fn own_executor(flags: &[String]) -> anyhow::Result<ExecutorTemplate> {
    Ok(executor_at(&own_program()?, &[&["executor".to_owned()], flags].concat()))
}

/// Starts a cluster, and describes a framework that is at home there.
///
/// # Errors
/// As [`Embedded::start`].
pub(crate) async fn with_framework(
    name: &str,
    user: String,
    executor_flags: &[String],
) -> anyhow::Result<(Embedded, FrameworkConfig)> {
    let executor = own_executor(executor_flags)?;
    let cluster = Embedded::start(&executor).await?;
    let framework = FrameworkConfig {
        connection: ConnectionConfig::new(vec![cluster.master()]),
        core: Config {
            framework: identity(name, user),
            executor,
            limits: Limits::default(),
            timing: Timing { patience: Some(PATIENCE), ..Timing::default() },
        },
    };
    Ok((cluster, framework))
}

/// A framework whose executors end with the agent: the agent ends with this process.
fn identity(name: &str, user: String) -> Identity {
    Identity { checkpoint: false, ..Identity::new(name, user) }
}

/// The built-in command executor inside this program.
pub(crate) fn command_executor() -> anyhow::Result<CommandLine> {
    Ok(CommandLine { program: own_program()?, arguments: vec!["mini-command-executor".to_owned()] })
}

/// All processors for the tasks, and the executor's share on top: `--cpus 1` runs one task on each.
pub(crate) fn resources(executor: &ExecutorTemplate) -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let cpus = Millis(processors * 1000).saturating_add(executor.need.cpus);
    format!("cpus:{cpus}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executors_share_comes_on_top() {
        let processors = std::thread::available_parallelism().unwrap();
        let executor = executor_at(Path::new("/x"), &[]);
        assert_eq!(resources(&executor), format!("cpus:{processors}.1"));
    }

    #[test]
    fn files_lie_below_the_agent() {
        let sandbox = Sandbox {
            hostname: "h".into(),
            agent_id: "m-S0".into(),
            folder: "/frameworks/f/executors/e/runs/latest/tasks/t.0".into(),
        };
        assert_eq!(
            local(Path::new("/w"), &sandbox),
            Path::new("/w/slaves/m-S0/frameworks/f/executors/e/runs/latest/tasks/t.0")
        );
    }
}
