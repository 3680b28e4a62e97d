//! What a client is told before it connects.
//!
//! Owns the settings, their defaults and their check. Nothing here is read from
//! the environment or from flags; callers do that.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use marmoset_proto::codec::Encoding;
use secrecy::{ExposeSecret as _, SecretString};

/// Settings of a [`Client`](crate::Client).
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// How calls are written and events are asked for.
    pub encoding: Encoding,
    /// What stands in `Authorization`.
    pub auth: Auth,
    /// PEM file of the only authorities trusted for TLS; the system's otherwise.
    pub ca_file: Option<PathBuf>,
    /// Longest time for looking up a name, connecting and the TLS handshake.
    pub connect_timeout: Duration,
    /// Longest time from sending SUBSCRIBE to the headers of its answer.
    pub subscribe_timeout: Duration,
    /// Longest time from sending a call to the end of its answer. For a
    /// download: the longest pause.
    pub call_timeout: Duration,
    /// Longest time without a record before a stream counts as dead.
    /// [`Subscription::set_silence`](crate::Subscription::set_silence) changes it.
    pub silence: Option<Duration>,
    /// Probes of idle TCP connections, against peers that vanish silently.
    pub keepalive: Option<Keepalive>,
    /// Longest event that is accepted, in bytes.
    pub max_frame: usize,
    /// Most of an error answer's body that is kept, in bytes.
    pub max_error_body: usize,
}

/// How idle TCP connections are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe; whole seconds.
    pub idle: Duration,
    /// Time between probes; whole seconds.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub probes: u32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            encoding: Encoding::Protobuf,
            auth: Auth::None,
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            subscribe_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(30),
            silence: None,
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(15),
                interval: Duration::from_secs(5),
                probes: 3,
            }),
            max_frame: 64 << 20,
            max_error_body: 8 << 10,
        }
    }
}

/// How requests prove who sends them. Secrets never show in `Debug`.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// No `Authorization` header.
    #[default]
    None,
    /// A framework's principal and secret.
    Basic {
        /// Name of the account.
        principal: String,
        /// Its secret; Mesos cannot take one with a colon.
        secret: SecretString,
    },
    /// An executor's token, from `MESOS_EXECUTOR_AUTHENTICATION_TOKEN`.
    Bearer(SecretString),
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Mesos splits `principal:secret` at every colon.
    #[error("the {part} must not contain a colon: Mesos cannot tell where the secret begins")]
    Colon {
        /// `principal` or `secret`.
        part: &'static str,
    },
    /// Basic authentication without a name.
    #[error("the principal is empty")]
    NoPrincipal,
    /// A token with characters that cannot stand in a header.
    #[error("the authentication token is empty or contains characters other than printable ASCII")]
    Token,
    /// The file of authorities cannot be read.
    #[error("cannot read `ca_file` `{}`", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of authorities holds none.
    #[error("`ca_file` `{}` holds no usable certificate in PEM form: {reason}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The TLS library refuses its settings.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

impl Auth {
    /// Builds the header's value, marked so that nothing prints it.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Basic { principal, secret } => {
                if principal.is_empty() {
                    return Err(ConfigError::NoPrincipal);
                }
                let secret = secret.expose_secret();
                for (part, text) in [("principal", principal.as_str()), ("secret", secret)] {
                    if text.contains(':') {
                        return Err(ConfigError::Colon { part });
                    }
                }
                format!("Basic {}", STANDARD.encode(format!("{principal}:{secret}")))
            }
            Self::Bearer(token) => {
                let token = token.expose_secret();
                if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(ConfigError::Token);
                }
                format!("Bearer {token}")
            }
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| ConfigError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// The scheme alone.
impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Basic { .. } => "basic",
            Self::Bearer(_) => "bearer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(principal: &str, secret: &str) -> Auth {
        Auth::Basic { principal: principal.into(), secret: secret.into() }
    }

    #[test]
    fn headers_are_exact_and_sensitive() {
        let value = basic("marmoset", "tamarin").header().unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic bWFybW9zZXQ6dGFtYXJpbg==");
        assert!(value.is_sensitive());
        let value = Auth::Bearer("a.b.c".into()).header().unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer a.b.c");
        assert!(value.is_sensitive());
        assert!(Auth::None.header().unwrap().is_none());
    }

    #[test]
    fn unusable_credentials_are_refused_without_showing_them() {
        for (auth, message) in [
            (basic("", "s"), "the principal is empty"),
            (
                basic("a:b", "s"),
                "the principal must not contain a colon: Mesos cannot tell where the secret begins",
            ),
            (
                basic("a", "hid:den"),
                "the secret must not contain a colon: Mesos cannot tell where the secret begins",
            ),
            (
                Auth::Bearer("hid\nden".into()),
                "the authentication token is empty or contains characters other than printable ASCII",
            ),
        ] {
            assert_eq!(auth.header().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn debug_hides_secrets() {
        for auth in [basic("marmoset", "tamarin"), Auth::Bearer("tamarin".into())] {
            let config = ClientConfig { auth, ..ClientConfig::default() };
            let shown = format!("{config:?}");
            assert!(!shown.contains("tamarin") && !shown.contains("dGFtYXJpbg"), "{shown}");
        }
    }
}
