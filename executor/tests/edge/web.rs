//! A web server for files that tasks want: exact paths, each with its contents.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

use crate::eventually;

/// What is behind a path.
#[derive(Clone)]
pub(crate) enum Page {
    File(Vec<u8>),
    /// Some of it, and never the rest.
    Endless,
}

pub(crate) struct Web {
    pub(crate) url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Page>,
    asked: Mutex<Vec<String>>,
    /// Clients that left before they had all of it.
    left: Mutex<usize>,
}

impl Web {
    pub(crate) fn start<const N: usize>(pages: [(&str, Page); N]) -> Self {
        Self::start_with("http", pages, None)
    }

    /// The same over TLS; the second value is the certificate in PEM.
    pub(crate) fn start_secured<const N: usize>(pages: [(&str, Page); N]) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let pem = STANDARD.encode(made.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
        (Self::start_with("https", pages, Some(Arc::new(config))), pem)
    }

    fn start_with<const N: usize>(
        scheme: &str,
        pages: [(&str, Page); N],
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let pages = pages.map(|(path, page)| (path.to_owned(), page));
        let state = Arc::new(State { pages: pages.into(), ..State::default() });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, tls) = (shared.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => serve(stream, &state),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(connection, stream), &state)
                    }
                });
            }
        });
        Self { url, state }
    }

    pub(crate) fn hits(&self, path: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    /// Waits until so many have asked for a path.
    pub(crate) fn wait_for(&self, path: &str, hits: usize) {
        eventually(path, || self.hits(path) >= hits);
    }

    /// Waits until so many clients have left early.
    pub(crate) fn wait_until_left(&self, clients: usize) {
        eventually("a client leaves", || *self.state.left.lock().unwrap() >= clients);
    }
}

/// A client, whatever it speaks.
trait Client: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Client for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Client for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

fn serve(mut client: impl Client, state: &State) -> Option<()> {
    client.socket().set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let path = String::from_utf8(head).ok()?.split(' ').nth(1)?.to_owned();
    let page = state.pages.get(path.split('?').next()?).cloned();
    state.asked.lock().unwrap().push(path);
    match page {
        None => client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok()?,
        Some(Page::File(bytes)) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", bytes.len());
            client.write_all(head.as_bytes()).ok()?;
            client.write_all(b"Connection: close\r\n\r\n").ok()?;
            client.write_all(&bytes).ok()?;
        }
        Some(Page::Endless) => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome").ok()?;
            client.flush().ok()?;
            if let Ok(0) | Err(_) = client.read(&mut [0]) {
                *state.left.lock().unwrap() += 1;
            }
        }
    }
    client.flush().ok()
}
