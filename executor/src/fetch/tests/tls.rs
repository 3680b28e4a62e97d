use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::PrivateKeyDer;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use super::{
    server::{Reply, Server},
    *,
};

/// A server's secrets, and the certificate that vouches for it.
fn identity() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let pem = STANDARD.encode(made.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
    (TlsAcceptor::from(Arc::new(config)), pem)
}

fn trusting(pem: &str) -> Site {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (_, path) = file.keep().unwrap();
    fs::write(&path, pem).unwrap();
    Site::with(|config| config.ca_file = Some(path))
}

#[tokio::test]
async fn only_trusted_servers_are_asked() {
    let (tls, pem) = identity();
    let (_, other) = identity();
    let plain = Server::start([("/a", vec![Reply::ok("plain")])]).await;
    let server = Server::secured(
        [
            ("/a", vec![Reply::ok("secret")]),
            ("/down", vec![Reply::redirect(&format!("{}/a", plain.url))]),
        ],
        Some(tls),
    )
    .await;
    let site = trusting(&pem);
    site.fetch(&[uri(format!("{}/a", server.url))]).await.unwrap();
    assert_eq!(fs::read(site.target().join("a")).unwrap(), b"secret");

    let text = trusting(&other).refusal(&[uri(format!("{}/a", server.url))]).await;
    assert!(text.contains("no secure connection to the server: "), "{text}");
    assert!(
        text.ends_with("check the authorities the executor trusts, and the host name"),
        "{text}"
    );
    assert_eq!(server.heads().len(), 1);

    let text = trusting(&pem).refusal(&[uri(format!("{}/down", server.url))]).await;
    assert!(
        text.ends_with("the server redirects from `https` to `http`, which is not followed"),
        "{text}"
    );
    assert_eq!(plain.heads().len(), 0);

    // A server that does not know TLS says so in its own words.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let puzzled = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let site = trusting(&pem);
    let wanted = [uri(format!("https://{address}/a"))];
    let (text, _stream) = tokio::join!(site.refusal(&wanted), puzzled);
    assert!(text.ends_with("is it `http://`?"), "{text}");

    let text = trusting("nothing").refusal(&[uri(format!("{}/a", server.url))]).await;
    assert!(text.contains("it holds no `BEGIN CERTIFICATE`"), "{text}");
}
