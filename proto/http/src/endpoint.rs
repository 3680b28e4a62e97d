//! Where a master or an agent is reached.
//!
//! Owns reading addresses, as people and as `Location` headers write them.
//! Refuses to guess: a port is always said. Called by everything that connects.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

/// The longest path of a Unix socket, without the closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// One address of a server: TCP, TCP with TLS, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(pub(crate) Address);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Tcp { tls: bool, host: Host, port: u16 },
    Unix(PathBuf),
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No `:port`.
    #[error("`{text}` has no port: write `{text}:5050` for a master, `{text}:5051` for an agent")]
    NoPort {
        /// What was given.
        text: String,
    },
    /// Not a number from 1 to 65535.
    #[error("`{port}` in `{text}` is no port: it must be a number from 1 to 65535")]
    Port {
        /// What was given.
        text: String,
        /// The part behind the last colon.
        port: String,
    },
    /// Not a host name and not an IP address.
    #[error("`{host}` is neither a host name nor an IP address (IPv6 is written `[::1]:5050`)")]
    Host {
        /// The part before the port.
        host: String,
    },
    /// Something in front of `://` that is not understood.
    #[error(
        "`{scheme}://` is not supported: write `host:port`, `https://host:port` or `unix:/path`"
    )]
    Scheme {
        /// The part before `://`.
        scheme: String,
    },
    /// A Unix socket whose path the kernel cannot take.
    #[error(
        "socket path `{}` must be absolute and at most {MAX_SOCKET_PATH} bytes long",
        path.display()
    )]
    SocketPath {
        /// What was given.
        path: PathBuf,
    },
}

impl Endpoint {
    /// Reads `host:port`, spoken to without TLS.
    ///
    /// # Errors
    /// When the port is missing, or either part cannot be one.
    pub fn tcp(text: &str) -> Result<Self, EndpointError> {
        Self::host_and_port(text, false)
    }

    /// Reads `host:port`, spoken to with TLS.
    ///
    /// # Errors
    /// As [`Endpoint::tcp`].
    pub fn tls(text: &str) -> Result<Self, EndpointError> {
        Self::host_and_port(text, true)
    }

    /// Names a Unix socket.
    ///
    /// # Errors
    /// When the path is relative or longer than a socket address can hold.
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self, EndpointError> {
        let path = path.into();
        if !path.is_absolute() || path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(EndpointError::SocketPath { path });
        }
        Ok(Self(Address::Unix(path)))
    }

    /// Reads `host:port`, `http://host:port`, `https://host:port` or `unix:/path`.
    ///
    /// # Errors
    /// For any other form, saying which are understood.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path.strip_prefix("//").unwrap_or(path));
        }
        match text.split_once("://") {
            None => Self::tcp(text),
            Some(("http", rest)) => Self::tcp(rest.strip_suffix('/').unwrap_or(rest)),
            Some(("https", rest)) => Self::tls(rest.strip_suffix('/').unwrap_or(rest)),
            Some((scheme, _)) => Err(EndpointError::Scheme { scheme: scheme.to_owned() }),
        }
    }

    /// The path, if this is a Unix socket.
    pub fn socket_path(&self) -> Option<&Path> {
        match &self.0 {
            Address::Tcp { .. } => None,
            Address::Unix(path) => Some(path),
        }
    }

    fn host_and_port(text: &str, tls: bool) -> Result<Self, EndpointError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            Some(_) | None => return Err(EndpointError::NoPort { text: text.to_owned() }),
        };
        let port = match port.parse::<u16>() {
            Ok(number) if number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
            Ok(_) | Err(_) => {
                return Err(EndpointError::Port { text: text.to_owned(), port: port.to_owned() });
            }
        };
        let host = Host::parse(host).map_err(|_| EndpointError::Host { host: host.to_owned() })?;
        Ok(Self(Address::Tcp { tls, host, port }))
    }

    /// What stands in the `Host` header.
    pub(crate) fn host_header(&self) -> String {
        match &self.0 {
            Address::Tcp { host, port, .. } => format!("{host}:{port}"),
            Address::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Resolves a `Location` that this server answered to a request of `path`.
    ///
    /// Mesos sends a scheme-relative one, `//host:port/path`, whose scheme is
    /// that of the request. As credentials go there too, it must be the same
    /// request at another place, and must not leave TLS.
    pub(crate) fn follow(&self, path: &str, location: &str) -> Result<Self, &'static str> {
        let Address::Tcp { tls, host, port } = &self.0 else {
            return Err("a domain socket cannot redirect");
        };
        let scheme = if *tls { "https" } else { "http" };
        let base = Url::parse(&format!("{scheme}://{host}:{port}{path}"))
            .map_err(|_| "the path of the request is no URL path")?;
        let target = base.join(location).map_err(|_| "it is no address")?;
        let target_tls = match target.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err("its scheme is neither `http` nor `https`"),
        };
        if *tls && !target_tls {
            return Err("it leaves TLS");
        }
        if !target.username().is_empty() || target.password().is_some() {
            return Err("it carries credentials");
        }
        let same = target.path() == base.path() && target.query() == base.query();
        let bare = target.path() == "/" && target.query().is_none();
        if !same && !bare {
            return Err("it leads to another path");
        }
        let (Some(host), Some(port)) = (target.host(), target.port_or_known_default()) else {
            return Err("it names no host");
        };
        Ok(Self(Address::Tcp { tls: target_tls, host: host.to_owned(), port }))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let host = match address.ip() {
            std::net::IpAddr::V4(ip) => Host::Ipv4(ip),
            std::net::IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        Self(Address::Tcp { tls: false, host, port: address.port() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Tcp { tls: false, host, port } => write!(f, "{host}:{port}"),
            Address::Tcp { tls: true, host, port } => write!(f, "https://{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for (text, shown) in [
            ("127.0.0.1:5050", "127.0.0.1:5050"),
            ("Master.Example:5050", "master.example:5050"),
            ("[::1]:5051", "[::1]:5051"),
            ("http://m1:5050/", "m1:5050"),
            ("https://m1:5050", "https://m1:5050"),
            ("unix:/run/agent.sock", "unix:/run/agent.sock"),
            ("unix:///run/agent.sock", "unix:/run/agent.sock"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), shown, "{text}");
            assert_eq!(Endpoint::parse(shown).unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_do() {
        for (text, message) in [
            ("m1", "`m1` has no port: write `m1:5050` for a master, `m1:5051` for an agent"),
            (
                "[::1]",
                "`[::1]` has no port: write `[::1]:5050` for a master, `[::1]:5051` for an agent",
            ),
            ("m1:", "`` in `m1:` is no port: it must be a number from 1 to 65535"),
            ("m1:0", "`0` in `m1:0` is no port: it must be a number from 1 to 65535"),
            ("m1:+80", "`+80` in `m1:+80` is no port: it must be a number from 1 to 65535"),
            ("m1:70000", "`70000` in `m1:70000` is no port: it must be a number from 1 to 65535"),
            (":5050", "`` is neither a host name nor an IP address (IPv6 is written `[::1]:5050`)"),
            (
                "a b:5050",
                "`a b` is neither a host name nor an IP address (IPv6 is written `[::1]:5050`)",
            ),
            (
                "::1:5050",
                "`::1` is neither a host name nor an IP address (IPv6 is written `[::1]:5050`)",
            ),
            (
                "zk://z1:2181/mesos",
                "`zk://` is not supported: write `host:port`, `https://host:port` or `unix:/path`",
            ),
            (
                "unix:agent.sock",
                "socket path `agent.sock` must be absolute and at most 107 bytes long",
            ),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap_err().to_string(), message);
        }
        assert!(Endpoint::unix(format!("/{}", "a".repeat(106))).is_ok());
        assert!(Endpoint::unix(format!("/{}", "a".repeat(107))).is_err());
    }

    #[test]
    fn a_location_is_resolved_against_the_request() {
        let plain = Endpoint::tcp("m1:5050").unwrap();
        let secure = Endpoint::tls("m1:5050").unwrap();
        let path = "/api/v1/scheduler";
        for (from, location, to) in [
            (&plain, "//m2:5050/api/v1/scheduler", "m2:5050"),
            (&secure, "//m2:5050/api/v1/scheduler", "https://m2:5050"),
            (&plain, "//10.0.0.7:6050", "10.0.0.7:6050"),
            (&plain, "//[::1]:6050/api/v1/scheduler", "[::1]:6050"),
            (&plain, "https://m2:5050/api/v1/scheduler", "https://m2:5050"),
            (&plain, "//m2/", "m2:80"),
            (&plain, "/api/v1/scheduler", "m1:5050"),
        ] {
            assert_eq!(from.follow(path, location).unwrap().to_string(), to);
        }
        let query = "/slave(1)/x?a=1&b=%20";
        assert!(plain.follow(query, "//m2:5050/slave(1)/x?a=1&b=%20").is_ok());
    }

    #[test]
    fn a_location_that_leaks_or_misleads_is_refused() {
        let secure = Endpoint::tls("m1:5050").unwrap();
        let path = "/api/v1/scheduler";
        assert_eq!(secure.follow(path, "http://m2:5050/"), Err("it leaves TLS"));
        assert_eq!(
            secure.follow(path, "ftp://m2:5050/"),
            Err("its scheme is neither `http` nor `https`")
        );
        assert_eq!(secure.follow(path, "//u:p@m2:5050/"), Err("it carries credentials"));
        assert_eq!(secure.follow(path, "//m2:5050/login"), Err("it leads to another path"));
        assert_eq!(secure.follow(path, "//:::/"), Err("it is no address"));
        let socket = Endpoint::unix("/run/agent.sock").unwrap();
        assert_eq!(socket.follow(path, "//m2:5050/"), Err("a domain socket cannot redirect"));
    }
}
