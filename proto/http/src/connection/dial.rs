//! From an address to an open socket.
//!
//! Owns name look-up, socket options and time limits of connecting. Host names
//! go through hickory, as a static program has no system resolver; its
//! settings are read for each look-up, so that a long-lived program follows them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::{Authorities, Connection};
use crate::config::{ClientConfig, Keepalive};
use crate::endpoint::{Address, Endpoint};
use crate::error::ConnectError;

/// What bytes go through.
pub(super) type Socket = Box<dyn ReadWrite>;

/// Both directions of a socket.
pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for S {}

/// Opens connections.
pub(crate) struct Dialer {
    limit: Duration,
    keepalive: Option<Keepalive>,
    authorities: Authorities,
}

impl Dialer {
    /// Takes the settings that matter here.
    pub(crate) fn new(config: &ClientConfig, authorities: Authorities) -> Self {
        Self { limit: config.connect_timeout, keepalive: config.keepalive, authorities }
    }

    /// Connects to a server.
    pub(crate) async fn open(&self, endpoint: &Endpoint) -> Result<Connection, ConnectError> {
        let deadline = Instant::now() + self.limit;
        let socket: Socket = match &endpoint.0 {
            Address::Unix(path) => Box::new(self.unix(path, deadline).await?),
            Address::Tcp { tls, host, port } => {
                let stream = self.tcp(host, *port, deadline).await?;
                if *tls {
                    let address = format!("{host}:{port}");
                    let tls = self.authorities.shake_hands(host, stream);
                    match timeout_at(deadline, tls).await {
                        Ok(stream) => Box::new(stream?),
                        Err(_) => return Err(self.too_late(address)),
                    }
                } else {
                    Box::new(stream)
                }
            }
        };
        let connection = Connection::handshake(socket).await.map_err(|error| ConnectError::Io {
            address: endpoint.to_string(),
            source: io::Error::other(error),
        })?;
        tracing::debug!(%endpoint, "connected");
        Ok(connection)
    }

    async fn unix(&self, path: &Path, deadline: Instant) -> Result<UnixStream, ConnectError> {
        let address = path.display().to_string();
        match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(connected) => connected.map_err(|source| ConnectError::Io { address, source }),
            Err(_) => Err(self.too_late(address)),
        }
    }

    /// Tries each address of the host; each gets its share of the time left.
    async fn tcp(
        &self,
        host: &Host,
        port: u16,
        deadline: Instant,
    ) -> Result<TcpStream, ConnectError> {
        let addresses = match host {
            Host::Ipv4(ip) => vec![IpAddr::V4(*ip)],
            Host::Ipv6(ip) => vec![IpAddr::V6(*ip)],
            Host::Domain(name) => match timeout_at(deadline, resolve(name)).await {
                Ok(addresses) => addresses
                    .map_err(|source| ConnectError::Resolve { host: name.clone(), source })?,
                Err(_) => {
                    return Err(ConnectError::Resolve {
                        host: name.clone(),
                        source: format!("no answer within {:?}", self.limit).into(),
                    });
                }
            },
        };
        let mut last = self.too_late(format!("{host}:{port}"));
        for (tried, ip) in addresses.iter().enumerate() {
            let address = SocketAddr::new(*ip, port);
            let now = Instant::now();
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = now + deadline.saturating_duration_since(now) / left;
            match timeout_at(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    return match self.prepare(&stream) {
                        Ok(()) => Ok(stream),
                        Err(source) => {
                            Err(ConnectError::Io { address: address.to_string(), source })
                        }
                    };
                }
                Ok(Err(source)) => {
                    last = ConnectError::Io { address: address.to_string(), source };
                }
                Err(_) => last = self.too_late(address.to_string()),
            }
        }
        Err(last)
    }

    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        if let Some(Keepalive { idle, interval, probes }) = self.keepalive {
            let keepalive =
                TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
            SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
        }
        Ok(())
    }

    fn too_late(&self, address: String) -> ConnectError {
        ConnectError::Timeout { address, after: self.limit }
    }
}

/// Why a name could not be looked up.
pub type ResolveError = Box<dyn std::error::Error + Send + Sync>;

/// Looks a name up in the hosts file and in DNS, without the system's resolver.
///
/// # Errors
/// When nobody knows the name, or it has no address.
pub async fn resolve(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let mut builder = match TokioResolver::builder_tokio() {
        Ok(builder) => builder,
        Err(error) => {
            // Names in the hosts file still work.
            tracing::debug!(%error, "no usable `/etc/resolv.conf`");
            let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
        }
    };
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let found: Vec<IpAddr> = builder.build()?.lookup_ip(name).await?.iter().collect();
    if found.is_empty() { Err("it has no address".into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_are_prompt_and_probed() {
        let config = ClientConfig::default();
        let dialer = Dialer::new(&config, Authorities::new(None).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let host = Host::<String>::parse("127.0.0.1").unwrap();
        let deadline = Instant::now() + config.connect_timeout;
        let stream = dialer.tcp(&host, address.port(), deadline).await.unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(15));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }

    #[tokio::test]
    async fn names_come_from_the_hosts_file_too() {
        let found = resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
        // The older protocol first: Mesos speaks no other.
        assert!(found[0].is_ipv4(), "{found:?}");
    }
}
