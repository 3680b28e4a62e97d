//! What a caller says: where the master is, who the framework is, what the job is.
//!
//! Owns what the core has no use for; the rest is the core's own
//! [`Config`](marmoset_scheduler_core::Config). Plain data, not read from anywhere.

use std::path::PathBuf;

use marmoset_http::{Auth, ClientConfig};
use marmoset_proto::codec::Encoding;
use marmoset_scheduler_core::{Config, JobSpec};
use secrecy::SecretString;

/// Where the masters are, and how they are spoken to.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// Masters as `host:port`. The leader is found from any of them.
    pub masters: Vec<String>,
    /// Secret of the framework's principal; without it nobody authenticates.
    pub secret: Option<SecretString>,
    /// Certificates that the masters' are checked against; switches TLS on.
    pub ca_file: Option<PathBuf>,
    /// How calls and events are written.
    pub encoding: Encoding,
}

impl ConnectionConfig {
    /// Masters without authentication and TLS, spoken to in protobuf.
    pub fn new(masters: Vec<String>) -> Self {
        Self { masters, secret: None, ca_file: None, encoding: Encoding::Protobuf }
    }

    /// Settings of the client, for a framework with this principal.
    pub(crate) fn client(&self, principal: Option<&str>) -> ClientConfig {
        let auth = match (principal, &self.secret) {
            (Some(principal), Some(secret)) => {
                Auth::Basic { principal: principal.to_owned(), secret: secret.clone() }
            }
            (None, _) | (_, None) => Auth::None,
        };
        ClientConfig {
            encoding: self.encoding,
            auth,
            ca_file: self.ca_file.clone(),
            ..ClientConfig::default()
        }
    }
}

/// Everything that [`run`](crate::run) has to know of the framework.
#[derive(Debug, Clone)]
pub struct FrameworkConfig {
    /// Where the masters are.
    pub connection: ConnectionConfig,
    /// Who subscribes, with which executor, limits and timers.
    pub core: Config,
}

/// What [`run`](crate::run) is to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// One command, many times.
    pub spec: JobSpec,
    /// Folder that outputs are collected in: `<index>.out` and `<index>.err`, where not empty.
    pub output: Option<PathBuf>,
}

impl From<JobSpec> for Job {
    fn from(spec: JobSpec) -> Self {
        Self { spec, output: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_principal_with_a_secret_authenticates() {
        let mut connection = ConnectionConfig::new(vec!["m:1".to_owned()]);
        assert!(matches!(connection.client(Some("p")).auth, Auth::None));
        connection.secret = Some("s".into());
        assert!(matches!(connection.client(None).auth, Auth::None));
        assert!(matches!(connection.client(Some("p")).auth, Auth::Basic { .. }));
    }
}
