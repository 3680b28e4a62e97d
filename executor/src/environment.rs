//! What the agent tells by environment variables.
//!
//! Owns reading and checking `MESOS_*`, and the environment that tasks inherit.
//! Called once, before any thread is started.

use std::{
    collections::BTreeMap,
    env,
    ffi::{CString, OsStr, OsString},
    path::PathBuf,
    ptr,
    time::Duration,
};

use marmoset_executor_core::Checkpoint;
use marmoset_http::{EXECUTOR_PATH, Endpoint, EndpointError, executor_path};
use marmoset_proto::{
    duration::{self, DurationError},
    mesos::v1::{ExecutorId, FrameworkId},
};
use secrecy::SecretString;

const TOKEN: &str = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN";

/// Describe the executor's own shell, not the task's folder.
const OWN: [&str; 4] = ["PWD", "OLDPWD", "SHLVL", "_"];

/// How the agent set this executor up.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) framework_id: FrameworkId,
    pub(crate) executor_id: ExecutorId,
    pub(crate) endpoint: Endpoint,
    /// Path of the executor API there.
    pub(crate) path: String,
    pub(crate) token: Option<SecretString>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) shutdown_grace: Duration,
    pub(crate) sandbox: PathBuf,
    /// What tasks inherit.
    pub(crate) inherited: BTreeMap<OsString, OsString>,
}

/// Why the executor cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error(
        "`{0}` is not set: this program is started by a Mesos agent, as the command of an \
         executor, not by hand"
    )]
    Missing(&'static str),
    #[error("`{name}` is not valid UTF-8")]
    NotText { name: &'static str },
    #[error("`{name}`")]
    Duration { name: &'static str, source: DurationError },
    #[error("`MESOS_CHECKPOINT` is `{0}`, which is neither `0` nor `1`")]
    Checkpoint(String),
    #[error("the agent's address in `{name}`")]
    Endpoint { name: &'static str, source: EndpointError },
    #[error("cannot find out the working directory, and `MESOS_SANDBOX` is not set")]
    Sandbox(#[source] std::io::Error),
}

impl Environment {
    /// Reads the environment of this process, and takes the token out of it.
    pub(crate) fn take() -> Result<Self, EnvironmentError> {
        let variables = env::vars_os().collect();
        remove_token();
        Self::read(variables)
    }

    fn read(mut variables: BTreeMap<OsString, OsString>) -> Result<Self, EnvironmentError> {
        let token = match variables.remove(OsStr::new(TOKEN)) {
            None => None,
            Some(token) => {
                let token = token.into_string();
                Some(token.map_err(|_| EnvironmentError::NotText { name: TOKEN })?.into())
            }
        };
        for name in OWN {
            variables.remove(OsStr::new(name));
        }
        let given = Given(&variables);
        let (endpoint, path) = given.address()?;
        let sandbox = match given.path("MESOS_SANDBOX").or_else(|| given.path("MESOS_DIRECTORY")) {
            Some(sandbox) => sandbox,
            None => env::current_dir().map_err(EnvironmentError::Sandbox)?,
        };
        Ok(Self {
            framework_id: given.required("MESOS_FRAMEWORK_ID")?.into(),
            executor_id: given.required("MESOS_EXECUTOR_ID")?.into(),
            endpoint,
            path,
            token,
            checkpoint: given.checkpoint()?,
            shutdown_grace: given
                .duration("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD")?
                .unwrap_or(Duration::from_secs(5)),
            sandbox,
            inherited: variables,
        })
    }
}

/// Keeps the token from everything this process starts, and from those that read
/// `/proc/<pid>/environ`, which tasks of the same user may.
#[expect(unsafe_code, reason = "the environment is changed before any thread exists")]
fn remove_token() {
    let name = CString::new(TOKEN).expect("no NUL");
    // SAFETY: called by `main` before the runtime and its threads are started: nobody else
    // reads or changes the environment. The pointer leads to a text that ends with NUL.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if !value.is_null() {
            ptr::write_bytes(value, b'x', libc::strlen(value));
        }
        env::remove_var(TOKEN);
    }
}

struct Given<'a>(&'a BTreeMap<OsString, OsString>);

impl Given<'_> {
    fn text(&self, name: &'static str) -> Result<Option<&str>, EnvironmentError> {
        match self.0.get(OsStr::new(name)) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).ok_or(EnvironmentError::NotText { name }),
        }
    }

    fn required(&self, name: &'static str) -> Result<&str, EnvironmentError> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or(EnvironmentError::Missing(name))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(OsStr::new(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    fn duration(&self, name: &'static str) -> Result<Option<Duration>, EnvironmentError> {
        self.text(name)?
            .map(duration::parse)
            .transpose()
            .map_err(|source| EnvironmentError::Duration { name, source })
    }

    fn checkpoint(&self) -> Result<Checkpoint, EnvironmentError> {
        match self.text("MESOS_CHECKPOINT")? {
            None | Some("" | "0") => Ok(Checkpoint::Off),
            Some("1") => Ok(Checkpoint::On {
                recovery_timeout: self
                    .duration("MESOS_RECOVERY_TIMEOUT")?
                    .unwrap_or(Duration::from_secs(15 * 60)),
                backoff_max: self
                    .duration("MESOS_SUBSCRIPTION_BACKOFF_MAX")?
                    .unwrap_or(Duration::from_secs(2)),
            }),
            Some(other) => Err(EnvironmentError::Checkpoint(other.to_string())),
        }
    }

    /// Where the agent is: its domain socket if it can be seen from here, else TCP.
    ///
    /// The socket serves the long form of the path only. (Mesos 1.11, src/slave/slave.cpp,
    /// `Slave::initialize`.)
    fn address(&self) -> Result<(Endpoint, String), EnvironmentError> {
        let pid = self.text("MESOS_SLAVE_PID")?.and_then(|pid| pid.split_once('@'));
        let socket = self.path("MESOS_DOMAIN_SOCKET").filter(|path| path.exists());
        if let Some(socket) = socket {
            let (actor, _) = pid.ok_or(EnvironmentError::Missing("MESOS_SLAVE_PID"))?;
            let endpoint = Endpoint::unix(socket).map_err(|source| EnvironmentError::Endpoint {
                name: "MESOS_DOMAIN_SOCKET",
                source,
            })?;
            return Ok((endpoint, executor_path(actor)));
        }
        const ENDPOINT: &str = "MESOS_AGENT_ENDPOINT";
        let (name, address) = match (self.text(ENDPOINT)?.filter(|text| !text.is_empty()), pid) {
            (Some(address), _) => (ENDPOINT, address),
            (None, Some((_, address))) => ("MESOS_SLAVE_PID", address),
            (None, None) => return Err(EnvironmentError::Missing(ENDPOINT)),
        };
        let tls = matches!(self.text("LIBPROCESS_SSL_ENABLED")?, Some("1" | "true"));
        let endpoint = if tls { Endpoint::tls(address) } else { Endpoint::tcp(address) };
        let endpoint = endpoint.map_err(|source| EnvironmentError::Endpoint { name, source })?;
        Ok((endpoint, EXECUTOR_PATH.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    /// The environment that an agent gave to an executor.
    const RECORDED: &str = "\
LIBPROCESS_IP=127.0.0.1
LIBPROCESS_PORT=0
MESOS_AGENT_ENDPOINT=127.0.0.1:6051
MESOS_CHECKPOINT=0
MESOS_DIRECTORY=/var/lib/mesos/agent/slaves/S0/frameworks/0007/executors/resident/runs/2cb8
MESOS_EXECUTOR_ID=resident
MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs
MESOS_FRAMEWORK_ID=3110ccd5-37df-41c0-bc9b-768e09c0b344-0007
MESOS_HTTP_COMMAND_EXECUTOR=0
MESOS_SANDBOX=/mnt/mesos/sandbox
MESOS_SLAVE_ID=S0
MESOS_SLAVE_PID=slave(1)@127.0.0.1:6051
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PWD=/var/lib/mesos";

    fn read(more: &[&str]) -> Result<Environment, EnvironmentError> {
        let lines = RECORDED.lines().chain(more.iter().copied());
        let pairs = lines.filter_map(|line| line.split_once('='));
        Environment::read(pairs.map(|(name, value)| (name.into(), value.into())).collect())
    }

    #[test]
    fn reads_what_an_agent_gives() {
        let environment = read(&[]).unwrap();
        assert_eq!(environment.endpoint.to_string(), "127.0.0.1:6051");
        assert_eq!(environment.path, "/api/v1/executor");
        assert_eq!(environment.checkpoint, Checkpoint::Off);
        assert_eq!(environment.shutdown_grace, Duration::from_secs(5));
        assert_eq!(environment.sandbox, PathBuf::from("/mnt/mesos/sandbox"));
        assert!(environment.inherited.contains_key(OsStr::new("PATH")));
        assert!(!environment.inherited.contains_key(OsStr::new("PWD")));
    }

    #[test]
    fn the_token_is_not_inherited_and_not_shown() {
        let environment = read(&["MESOS_EXECUTOR_AUTHENTICATION_TOKEN=hidden"]).unwrap();
        assert!(!environment.inherited.contains_key(OsStr::new(TOKEN)));
        assert!(!format!("{environment:?}").contains("hidden"));
        assert_eq!(environment.token.unwrap().expose_secret(), "hidden");
    }

    #[test]
    fn checkpointing_and_tls() {
        let environment = read(&[
            "MESOS_CHECKPOINT=1",
            "MESOS_RECOVERY_TIMEOUT=15mins",
            "MESOS_SUBSCRIPTION_BACKOFF_MAX=2secs",
            "LIBPROCESS_SSL_ENABLED=true",
        ])
        .unwrap();
        let (recovery_timeout, backoff_max) = (Duration::from_secs(900), Duration::from_secs(2));
        assert_eq!(environment.checkpoint, Checkpoint::On { recovery_timeout, backoff_max });
        assert_eq!(environment.endpoint.to_string(), "https://127.0.0.1:6051");
    }

    #[test]
    fn a_domain_socket_that_exists_is_used_with_the_long_path() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let line = format!("MESOS_DOMAIN_SOCKET={}", socket.display());
        assert_eq!(read(&[&line]).unwrap().endpoint.socket_path(), None);
        std::fs::write(&socket, "").unwrap();
        let environment = read(&[&line]).unwrap();
        assert_eq!(environment.endpoint.socket_path(), Some(socket.as_path()));
        assert_eq!(environment.path, "/slave(1)/api/v1/executor");
    }

    #[test]
    fn refusals_name_the_variable() {
        for (line, text) in [
            ("MESOS_FRAMEWORK_ID=", "`MESOS_FRAMEWORK_ID` is not set: this program is started by"),
            ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5", "`MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD`"),
            ("MESOS_CHECKPOINT=yes", "`MESOS_CHECKPOINT` is `yes`"),
            ("MESOS_AGENT_ENDPOINT=nowhere", "the agent's address in `MESOS_AGENT_ENDPOINT`"),
        ] {
            let error = read(&[line]).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
        }
        let error = read(&["MESOS_AGENT_ENDPOINT=nowhere"]).unwrap_err();
        assert!(error.source().unwrap().to_string().contains("has no port"));
        assert!(Environment::read(BTreeMap::new()).unwrap_err().to_string().contains("by hand"));
    }
}
