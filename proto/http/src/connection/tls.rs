//! TLS towards masters and agents.
//!
//! Owns which authorities are trusted. With `ca_file` only those in it, read
//! when the client is made; otherwise the system's, read at the first use.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig as TlsConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use crate::config::ConfigError;
use crate::error::ConnectError;

/// Who may vouch for a server.
pub(crate) struct Authorities(OnceLock<Arc<TlsConfig>>);

impl Authorities {
    /// Reads `ca_file`, if there is one.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, ConfigError> {
        let this = Self(OnceLock::new());
        if let Some(path) = ca_file {
            let config = trusting(read(path)?).map_err(ConfigError::Tls)?;
            this.0.get_or_init(|| config);
        }
        Ok(this)
    }

    /// Makes a connection a secure one to `host`.
    pub(super) async fn shake_hands(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let failed = |source: io::Error| ConnectError::Tls {
            address: host.to_string(),
            hint: hint(&source),
            source,
        };
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
            Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
            Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
        };
        let connector = TlsConnector::from(self.config()?);
        connector.connect(name, stream).await.map_err(failed)
    }

    fn config(&self) -> Result<Arc<TlsConfig>, ConnectError> {
        if let Some(config) = self.0.get() {
            return Ok(Arc::clone(config));
        }
        let nobody = |reason: String| ConnectError::NoAuthorities { reason };
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reason = match found.errors.first() {
                Some(error) => format!("the system's certificates cannot be read: {error}"),
                None => "the system has no certificates".to_owned(),
            };
            return Err(nobody(reason));
        }
        let config = trusting(roots).map_err(|error| nobody(error.to_string()))?;
        Ok(Arc::clone(self.0.get_or_init(|| config)))
    }
}

fn read(path: &Path) -> Result<RootCertStore, ConfigError> {
    let none = |reason: String| ConfigError::NoCertificate { path: path.to_owned(), reason };
    let pem = std::fs::read(path)
        .map_err(|source| ConfigError::CaFile { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| none(error.to_string()))?;
        roots.add(certificate).map_err(|error| none(error.to_string()))?;
    }
    if roots.is_empty() { Err(none("it has no `BEGIN CERTIFICATE`".to_owned())) } else { Ok(roots) }
}

fn trusting(roots: RootCertStore) -> Result<Arc<TlsConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Tells what to look at after a handshake failed.
fn hint(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "its certificate is not trusted, check `ca_file` and the host name"
        }
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS, leave out `https://`",
        _ => "the server ended it",
    }
}
