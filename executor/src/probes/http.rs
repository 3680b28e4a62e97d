//! One page, as `curl --location --insecure --output /dev/null` gets it.
//!
//! Owns redirects and what counts as an answer: the head of one that is no
//! redirect, and its body to the end. Refuses proxies, cookies, and any limit of
//! time: a probe that takes too long is dropped.

use std::{
    convert::Infallible,
    future, io,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use marmoset_executor_core::Page;
use marmoset_http::ResolveError;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use url::{Host, Url};

use super::tls;

/// As many as curl follows.
const REDIRECTS_MAX: usize = 50;

/// Why there is no status code.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    #[error("`{url}` is no address of a page: {source}")]
    Address {
        url: String,
        #[source]
        source: url::ParseError,
    },
    #[error("`{0}` cannot be asked for in HTTP")]
    Target(Url),
    #[error("redirected to `{0}`, which is neither http nor https")]
    Scheme(Url),
    #[error("redirected more than {REDIRECTS_MAX} times, at last to `{0}`")]
    Redirects(Url),
    #[error("cannot look up `{host}`: {source}")]
    Resolve {
        host: String,
        #[source]
        source: ResolveError,
    },
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot speak TLS with {address}: {source}")]
    Tls {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("no answer to `GET {url}`: {source}")]
    Exchange {
        url: Url,
        #[source]
        source: hyper::Error,
    },
}

/// What came of one request.
enum Response {
    Code(u16),
    Redirect(Url),
}

/// Gets a page; gives the status code of the last answer.
pub(super) async fn get(page: &Page) -> Result<u16, GetError> {
    let scheme = if page.tls { "https" } else { "http" };
    let text = format!("{scheme}://{}{}", page.address, page.path);
    let mut url =
        Url::parse(&text).map_err(|source| GetError::Address { url: text.clone(), source })?;
    for _ in 0..=REDIRECTS_MAX {
        match request(&url).await? {
            Response::Code(code) => return Ok(code),
            Response::Redirect(next) => url = next,
        }
    }
    Err(GetError::Redirects(url))
}

async fn request(url: &Url) -> Result<Response, GetError> {
    let (tls, port) = match url.scheme() {
        "http" => (false, url.port().unwrap_or(80)),
        "https" => (true, url.port().unwrap_or(443)),
        _ => return Err(GetError::Scheme(url.clone())),
    };
    // Every address with one of these schemes has a host.
    let Some(host) = url.host() else { return Err(GetError::Scheme(url.clone())) };
    let stream = connect(&host, port).await?;
    if !tls {
        return exchange(url, stream).await;
    }
    let failed = |source| GetError::Tls { address: format!("{host}:{port}"), source };
    let name = match &host {
        Host::Domain(name) => ServerName::try_from(name.to_string())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        Host::Ipv4(ip) => ServerName::from(IpAddr::from(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::from(*ip)),
    };
    let stream = tls::shake_hands(name, stream).await.map_err(failed)?;
    exchange(url, stream).await
}

/// Connects to the first address of the host that takes the connection.
async fn connect(host: &Host<&str>, port: u16) -> Result<TcpStream, GetError> {
    let addresses = match host {
        Host::Ipv4(ip) => vec![IpAddr::from(*ip)],
        Host::Ipv6(ip) => vec![IpAddr::from(*ip)],
        Host::Domain(name) => marmoset_http::resolve(name)
            .await
            .map_err(|source| GetError::Resolve { host: name.to_string(), source })?,
    };
    let mut refusal = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for ip in addresses {
        match TcpStream::connect(SocketAddr::new(ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusal = error,
        }
    }
    Err(GetError::Connect { address: format!("{host}:{port}"), source: refusal })
}

async fn exchange(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Response, GetError> {
    let failed = |source| GetError::Exchange { url: url.clone(), source };
    let request = get_of(url).ok_or_else(|| GetError::Target(url.clone()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let driving = async {
        // How it ends is told to whoever waits for the answer.
        let _ = connection.await;
        future::pending::<Infallible>().await
    };
    let exchanging = async {
        let mut response = sender.send_request(request).await?;
        while let Some(piece) = response.body_mut().frame().await {
            drop(piece?);
        }
        Ok(response)
    };
    let response = tokio::select! {
        response = exchanging => response.map_err(failed)?,
        never = driving => match never {},
    };
    let next =
        response.headers().get(header::LOCATION).filter(|_| response.status().is_redirection());
    match next.and_then(|next| next.to_str().ok()) {
        None => Ok(Response::Code(response.status().as_u16())),
        Some(next) => match url.join(next) {
            Ok(next) => Ok(Response::Redirect(next)),
            Err(source) => Err(GetError::Address { url: next.to_string(), source }),
        },
    }
}

fn get_of(url: &Url) -> Option<Request<Empty<Bytes>>> {
    let target = match url.query() {
        None => url.path().to_string(),
        Some(query) => format!("{}?{query}", url.path()),
    };
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
    Request::get(target)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("marmoset-executor/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .body(Empty::new())
        .ok()
}
