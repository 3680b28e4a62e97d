//! Where a measurement runs: the cluster, what it says of itself, and which of its processes are here.
//!
//! Owns the embedded cluster of a measurement, which is a process of its own so
//! that its processor time and memory can be told from the scheduler's. Called by
//! the measurements that need a cluster.

use std::{
    io::{BufRead as _, BufReader},
    net::ToSocketAddrs as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use marmoset_http::{Client, ClientConfig, Endpoint};
use marmoset_scheduler::{
    Config, ConnectionConfig, ExecutorTemplate, FrameworkConfig, Identity, Limits, Timing,
};
use serde_json::Value;

use super::usage;
use crate::{
    folder::Temporary,
    run::{self, embedded},
};

/// Longest answer of a master that is read.
const LIMIT: usize = 64 << 20;

/// A cluster to measure on.
#[derive(Debug)]
pub(super) struct Site {
    /// How masters are spoken to.
    pub(super) connection: ConnectionConfig,
    /// Who subscribes; the name is put in for each run.
    pub(super) identity: Identity,
    /// What resident sides run on.
    pub(super) executor: ExecutorTemplate,
    /// One that runs nothing, for whoever wants it.
    pub(super) null: Option<ExecutorTemplate>,
    /// What the cluster says of itself.
    pub(super) facts: Facts,
    /// The process that is, or contains, the one agent of this machine.
    pub(super) agent: Option<i32>,
    /// Present if the cluster is ours.
    mini: Option<Mini>,
}

/// What a master says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    /// Whether it is `mini`, and not Mesos.
    pub(super) is_mini: bool,
    pub(super) master: String,
    pub(super) version: Option<String>,
    /// As in its flags.
    pub(super) allocation_interval: Option<String>,
    pub(super) agents: Vec<AgentFacts>,
}

/// What a master says of an agent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AgentFacts {
    pub(super) hostname: String,
    pub(super) port: Option<u16>,
    pub(super) version: Option<String>,
    pub(super) cpus: f64,
    pub(super) mem: f64,
}

impl Site {
    /// Starts a cluster of one agent as a process of its own.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn embedded(
        user: String,
        flags: &[String],
        executor_flags: &[String],
    ) -> anyhow::Result<Self> {
        let executor = embedded::own_executor(executor_flags)?;
        let mut own = vec![format!("--resources={}", embedded::resources(&executor))];
        own.extend_from_slice(flags);
        let mini = Mini::start("mini", &own)?;
        let connection = ConnectionConfig::new(vec![mini.master.clone()]);
        let mut facts = Facts::ask(&connection).await?;
        facts.is_mini = true;
        let identity = Identity { checkpoint: false, ..Identity::new("", user) };
        let agent = Some(mini.pid());
        Ok(Self { connection, identity, executor, null: None, facts, agent, mini: Some(mini) })
    }

    /// A cluster that is there already.
    ///
    /// # Errors
    /// Its master does not answer.
    pub(super) async fn of(
        connection: ConnectionConfig,
        identity: Identity,
        executor: ExecutorTemplate,
    ) -> anyhow::Result<Self> {
        let facts = Facts::ask(&connection).await?;
        let agent = facts.local_agent();
        Ok(Self { connection, identity, executor, null: None, facts, agent, mini: None })
    }

    /// A framework for one run here.
    pub(super) fn framework(&self, name: &str) -> FrameworkConfig {
        FrameworkConfig {
            connection: self.connection.clone(),
            core: Config {
                framework: self.identity(name),
                executor: self.executor.clone(),
                limits: Limits::default(),
                timing: Timing { patience: Some(run::embedded::PATIENCE), ..Timing::default() },
            },
        }
    }

    /// Who subscribes for one run.
    pub(super) fn identity(&self, name: &str) -> Identity {
        Identity { name: format!("marmoset bench: {name}"), ..self.identity.clone() }
    }

    /// Ends the cluster, if it is ours.
    pub(super) fn shutdown(self) {
        drop(self.mini);
    }
}

impl Facts {
    async fn ask(connection: &ConnectionConfig) -> anyhow::Result<Self> {
        let tls = connection.ca_file.is_some();
        let config =
            ClientConfig { ca_file: connection.ca_file.clone(), ..ClientConfig::default() };
        let client = Client::new(config)?;
        let mut problem = None;
        for master in &connection.masters {
            let endpoint = if tls { Endpoint::tls(master)? } else { Endpoint::tcp(master)? };
            let get = async |path: &str| -> anyhow::Result<Value> {
                Ok(serde_json::from_slice(&client.get(&endpoint, path, LIMIT).await?)?)
            };
            match get("/version").await {
                Ok(version) => {
                    // Masters that show these to the authenticated alone are measured all the same.
                    let flags = get("/flags").await.unwrap_or_default();
                    let agents = get("/slaves").await.unwrap_or_default();
                    return Ok(Self::of(master, &version, &flags, &agents));
                }
                Err(error) => problem = Some(error),
            }
        }
        let problem = problem.context("no master is named")?;
        Err(problem.context("no master tells its version: check `--master`"))
    }

    fn of(master: &str, version: &Value, flags: &Value, agents: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let agent = |agent: &Value| AgentFacts {
            hostname: text(&agent["hostname"]).unwrap_or_default(),
            port: agent["port"].as_u64().and_then(|port| u16::try_from(port).ok()),
            version: text(&agent["version"]),
            cpus: agent["resources"]["cpus"].as_f64().unwrap_or_default(),
            mem: agent["resources"]["mem"].as_f64().unwrap_or_default(),
        };
        Self {
            is_mini: version["build_user"] == "marmoset",
            master: master.to_owned(),
            version: text(&version["version"]),
            allocation_interval: text(&flags["flags"]["allocation_interval"]),
            agents: agents["slaves"]
                .as_array()
                .map(|all| all.iter().map(agent).collect())
                .unwrap_or_default(),
        }
    }

    /// The agent's process, if there is exactly one agent and it runs here.
    fn local_agent(&self) -> Option<i32> {
        let [agent] = &self.agents[..] else { return None };
        let port = agent.port?;
        let addresses = (agent.hostname.as_str(), port).to_socket_addrs().ok()?;
        // An address of this machine is one that can be bound.
        let is_here = addresses
            .into_iter()
            .any(|address| std::net::UdpSocket::bind((address.ip(), 0)).is_ok());
        is_here.then(|| usage::listener(port)).flatten()
    }

    /// The allocation interval as a span.
    pub(super) fn allocation_interval(&self) -> Option<Duration> {
        marmoset_proto::duration::parse(self.allocation_interval.as_deref()?).ok()
    }
}

/// `marmoset mini`, or something that prints the same line, as a process of its own.
#[derive(Debug)]
pub(super) struct Mini {
    child: Child,
    /// `host:port`.
    pub(super) master: String,
    /// Holds the sandboxes; removed after the process has ended.
    _folder: Temporary,
}

impl Mini {
    /// Starts `marmoset <command>` on free ports, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(command: &str, flags: &[String]) -> anyhow::Result<Self> {
        let folder = Temporary::fast()?;
        let mut own =
            vec!["--port=0".to_owned(), "--json".to_owned(), "--until-stdin-ends".to_owned()];
        own.push(format!("--work-dir={}", folder.path().display()));
        own.extend_from_slice(flags);
        Self::start_in(folder, &[command], &own)
    }

    /// Starts `marmoset <words> <flags>` with a folder that is removed at its end.
    ///
    /// # Errors
    /// It does not start, or prints no line that names its master.
    pub(super) fn start_in(
        folder: Temporary,
        words: &[&str],
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(embedded::own_program()?)
            .args(words)
            .args(flags)
            // Held open as long as this process lives: the other one ends with it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the embedded cluster")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let read = BufReader::new(stdout).read_line(&mut line);
        let told = serde_json::from_str::<Value>(&line).unwrap_or_default();
        let master = told["master"].as_str().unwrap_or_default().to_owned();
        let mini = Self { child, master, _folder: folder };
        read.context("cannot read where the embedded cluster listens")?;
        ensure!(!mini.master.is_empty(), "the embedded cluster did not start");
        Ok(mini)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        // Process ids fit: the kernel has no larger ones.
        i32::try_from(self.child.id()).unwrap_or_default()
    }
}

impl Drop for Mini {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself when its standard input does; its executors before it.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(interval: &str) -> Facts {
        Facts::of(
            "m:5050",
            &json!({"version": "1.11.0", "build_user": "ubuntu"}),
            &json!({"flags": {"allocation_interval": interval}}),
            &json!({"slaves": [{
                "hostname": "h", "port": 5051, "version": "1.11.0",
                "resources": {"cpus": 8.0, "mem": 8192.0, "ports": "[1-2]"},
            }]}),
        )
    }

    #[test]
    fn a_master_is_told_from_mini() {
        let mut facts = facts("1secs");
        assert!(!facts.is_mini);
        assert_eq!(facts.version.as_deref(), Some("1.11.0"));
        assert_eq!((facts.agents[0].port, facts.agents[0].cpus), (Some(5051), 8.0));
        assert_eq!(facts.local_agent(), None);
        facts.agents.clear();
        assert_eq!(facts.local_agent(), None);
        let mini = Facts::of("m:1", &json!({"build_user": "marmoset"}), &json!({}), &json!({}));
        assert!(mini.is_mini && mini.agents.is_empty());
    }

    #[test]
    fn intervals_in_mesos_notation() {
        for (text, millis) in
            [("1secs", Some(1000)), ("250ms", Some(250)), ("1.5mins", Some(90_000)), ("soon", None)]
        {
            assert_eq!(
                facts(text).allocation_interval(),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }
}
