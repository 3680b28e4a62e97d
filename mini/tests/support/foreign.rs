//! A cluster like the recorded one, and the interpreter of the foreign parties.

use std::{net::SocketAddr, path::PathBuf};

use marmoset_mini::{AgentConfig, Cluster, ClusterConfig, CommandLine};
use tempfile::TempDir;

use crate::skip::skip;

/// A cluster with a place for its sandboxes.
pub(crate) struct Started {
    cluster: Cluster,
    _work_dir: TempDir,
}

/// Starts one agent of the recorded size.
pub(crate) async fn start() -> Started {
    // The recorded machine dumps no core, which is part of a message.
    let none = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    none.unwrap();
    let work_dir = tempfile::tempdir().unwrap();
    let agent = AgentConfig {
        resources: "cpus:8;mem:8192;disk:10000;ports:[8000-8100]".to_owned(),
        attributes: "rack:r1;zone:a".to_owned(),
        work_dir: work_dir.path().to_owned(),
        command_executor: CommandLine {
            program: PathBuf::from(env!("CARGO_BIN_EXE_marmoset-mini-command-executor")),
            arguments: Vec::new(),
        },
        ..AgentConfig::default()
    };
    let config = ClusterConfig { agents: vec![agent], ..ClusterConfig::default() };
    Started { cluster: Cluster::start(config).await.unwrap(), _work_dir: work_dir }
}

impl Started {
    /// Where the master listens.
    pub(crate) fn master(&self) -> SocketAddr {
        self.cluster.master_addr()
    }

    /// Ends it.
    pub(crate) async fn shutdown(self) {
        self.cluster.shutdown().await;
    }
}

/// Finds Python; says what is skipped without it.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let found = ["/usr/local/bin/python3", "/usr/bin/python3", "/bin/python3"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    if found.is_none() {
        skip(test, "there is no python3 in /usr/local/bin, /usr/bin or /bin");
    }
    found
}
