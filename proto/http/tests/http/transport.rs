//! TLS, domain sockets and connecting.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use marmoset_http::{
    Client, ClientConfig, ConfigError, ConnectError, Endpoint, SCHEDULER_PATH, SubscribeError,
    Subscription, executor_path,
};
use marmoset_proto::mesos::v1::scheduler::Event;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio::net::UnixListener;
use tokio_rustls::TlsAcceptor;

use crate::server::*;

/// An authority of its own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(certificate.der());
        writeln!(file, "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----").unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Makes what a server needs to prove that it is `host`.
    fn acceptor(&self, host: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn client(&self) -> Client {
        let ca_file = Some(self.file.path().to_owned());
        Client::new(ClientConfig { ca_file, ..ClientConfig::default() }).unwrap()
    }
}

fn secure(server: &Server) -> Endpoint {
    Endpoint::tls(&server.endpoint.to_string()).unwrap()
}

async fn subscribe_securely(
    client: &Client,
    endpoint: &Endpoint,
) -> Result<Subscription<Event>, SubscribeError> {
    client.subscribe(endpoint, SCHEDULER_PATH, &subscribe_call()).await
}

#[tokio::test]
async fn tls_with_an_own_authority() {
    let authority = Authority::new();
    let server = Server::start().await;
    let (client, endpoint) = (authority.client(), secure(&server));
    let acceptor = authority.acceptor("127.0.0.1");
    let serving = async {
        let stream = acceptor.accept(server.accept().await.stream).await.unwrap();
        let mut peer = Peer::over(stream);
        assert_eq!(peer.request().await.line, "POST /api/v1/scheduler HTTP/1.1");
        peer.write([STREAM.as_bytes(), HEARTBEAT].concat()).await;
        peer
    };
    let (subscription, _peer) = tokio::join!(subscribe_securely(&client, &endpoint), serving);
    let mut subscription = subscription.unwrap();
    assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
    // Calls are made with TLS, too.
    let (calls, call) = (subscription.calls(), call("f"));
    let serving = async {
        let mut peer = Peer::over(acceptor.accept(server.accept().await.stream).await.unwrap());
        assert_eq!(peer.request().await.call(), call);
        peer.write(ACCEPTED).await;
        peer
    };
    let (answer, _peer) = tokio::join!(calls.send(&call), serving);
    answer.unwrap();
}

#[tokio::test]
async fn a_redirect_stays_in_tls() {
    let authority = Authority::new();
    let (follower, leader) = (Server::start().await, Server::start().await);
    let (client, endpoint) = (authority.client(), secure(&follower));
    let acceptor = authority.acceptor("127.0.0.1");
    let answer = |server, answer: String| {
        let acceptor = &acceptor;
        async move {
            let server: &Server = server;
            let mut peer = Peer::over(acceptor.accept(server.accept().await.stream).await.unwrap());
            peer.request().await;
            peer.write(answer).await;
            peer
        }
    };
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: //{}/api/v1/scheduler\r\n\
         Content-Length: 0\r\n\r\n",
        leader.endpoint
    );
    let (subscription, ..) = tokio::join!(
        subscribe_securely(&client, &endpoint),
        answer(&follower, redirect),
        answer(&leader, STREAM.to_owned())
    );
    assert_eq!(subscription.unwrap().leader(), Some(&secure(&leader)));
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_fatal() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for acceptor in [stranger.acceptor("127.0.0.1"), authority.acceptor("master.example")] {
        let server = Server::start().await;
        let (client, endpoint) = (authority.client(), secure(&server));
        let serving = async { acceptor.accept(server.accept().await.stream).await.map(drop) };
        let (outcome, _) = tokio::join!(subscribe_securely(&client, &endpoint), serving);
        let error = outcome.unwrap_err();
        assert!(error.is_fatal());
        let SubscribeError::Connect { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(
            source.to_string(),
            "TLS handshake with `127.0.0.1` failed: its certificate is not trusted, check \
             `ca_file` and the host name"
        );
    }
}

#[tokio::test]
async fn tls_to_a_port_without_is_fatal_with_a_hint() {
    let server = Server::start().await;
    let (client, endpoint) = (Authority::new().client(), secure(&server));
    let serving = async {
        let mut peer = server.accept().await;
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer
    };
    let (outcome, _peer) = tokio::join!(subscribe_securely(&client, &endpoint), serving);
    let error = outcome.unwrap_err();
    assert!(error.is_fatal());
    let SubscribeError::Connect { source, .. } = error else { panic!("{error:?}") };
    assert!(
        source.to_string().ends_with("it does not speak TLS, leave out `https://`"),
        "{source}"
    );
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up_on() {
    let server = Server::start().await;
    let (client, endpoint) = (Authority::new().client(), secure(&server));
    let serving = async {
        let peer = server.accept().await;
        tokio::time::pause();
        peer
    };
    let (outcome, _peer) = tokio::join!(subscribe_securely(&client, &endpoint), serving);
    let error = outcome.unwrap_err();
    assert!(error.is_retryable());
    let SubscribeError::Connect { source: ConnectError::Timeout { .. }, .. } = error else {
        panic!("{error:?}");
    };
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named() {
    let mut file = NamedTempFile::new().unwrap();
    let config = |path: &std::path::Path| ClientConfig {
        ca_file: Some(path.to_owned()),
        ..ClientConfig::default()
    };
    let shown = file.path().display().to_string();
    let error = Client::new(config(file.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`ca_file` `{shown}` holds no usable certificate in PEM form: it has no `BEGIN \
             CERTIFICATE`"
        )
    );
    file.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(matches!(
        Client::new(config(file.path())).unwrap_err(),
        ConfigError::NoCertificate { .. }
    ));
    let error = Client::new(config("/no/such/file".as_ref())).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `ca_file` `/no/such/file`");
}

#[tokio::test]
async fn an_agents_domain_socket_is_spoken_to_with_the_long_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let endpoint = Endpoint::unix(&path).unwrap();
    let client = client();
    let api = executor_path("slave(1)");
    let call = subscribe_call();
    let serving = async {
        let mut peer = Peer::over(listener.accept().await.unwrap().0);
        let request = peer.request().await;
        assert_eq!(request.line, "POST /slave(1)/api/v1/executor HTTP/1.1");
        assert_eq!(request.header("host"), Some("localhost"));
        peer.write([STREAM.as_bytes(), HEARTBEAT].concat()).await;
        peer
    };
    let (subscription, _peer) =
        tokio::join!(client.subscribe::<_, Event>(&endpoint, &api, &call), serving);
    let mut subscription = subscription.unwrap();
    assert_eq!(subscription.next().await.unwrap().unwrap(), heartbeat());
    let calls = subscription.calls();
    let serving = async {
        let mut peer = Peer::over(listener.accept().await.unwrap().0);
        assert_eq!(peer.request().await.line, "POST /slave(1)/api/v1/executor HTTP/1.1");
        peer.write(ACCEPTED).await;
        peer
    };
    let (answer, _peer) = tokio::join!(calls.send(&call), serving);
    answer.unwrap();
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_retryable() {
    let endpoint = Endpoint::unix("/no/such/agent.sock").unwrap();
    let error = subscribe_securely(&client(), &endpoint).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), "cannot reach `unix:/no/such/agent.sock`");
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let server = Server::start().await;
    let port = server.endpoint.to_string().rsplit_once(':').unwrap().1.to_owned();
    let endpoint = Endpoint::tcp(&format!("localhost:{port}")).unwrap();
    let client = client();
    let (subscription, (_peer, request)) =
        tokio::join!(subscribe_securely(&client, &endpoint), server.answer(STREAM));
    subscription.unwrap();
    assert_eq!(request.header("host"), Some(&*format!("localhost:{port}")));
}

#[tokio::test]
async fn a_host_that_swallows_connections_is_given_up_on() {
    // A listener whose queue is full drops what comes next, as a dead host does.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _queued: Vec<_> = (0..4)
        .map(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        })
        .collect();
    let endpoint = Endpoint::from(address.as_socket().unwrap());
    tokio::time::pause();
    let error = subscribe_securely(&client(), &endpoint).await.unwrap_err();
    assert!(error.is_retryable());
    let SubscribeError::Connect { source, .. } = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), format!("no connection to `{endpoint}` within 5s"));
}
