//! A web server of exact bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

/// What comes back.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, then nothing until the client leaves.
    Stall(Vec<u8>),
    /// These bytes once the gate is open.
    Gate(Arc<Semaphore>, Vec<u8>),
}

impl Reply {
    pub(super) fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status("200 OK", body)
    }

    pub(super) fn status(status: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut bytes = std::mem::take(&mut bytes).into_bytes();
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self::Bytes(
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
                .into_bytes(),
        )
    }

    pub(super) fn behind(self, gate: &Arc<Semaphore>) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Gate(Arc::clone(gate), bytes),
            Self::Stall(_) | Self::Gate(..) => unreachable!(),
        }
    }
}

/// Paths, each with its replies in turn; the last is for ever.
pub(super) struct Server {
    pub(super) url: String,
    asked: Arc<Asked>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Asked {
    heads: Mutex<Vec<String>>,
    news: Notify,
}

impl Server {
    pub(super) async fn start<const N: usize>(routes: [(&str, Vec<Reply>); N]) -> Self {
        Self::secured(routes, None).await
    }

    pub(super) async fn secured<const N: usize>(
        routes: [(&str, Vec<Reply>); N],
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Asked::default());
        let routes = routes.map(|(path, replies)| (path.to_owned(), replies));
        let routes = Arc::new(HashMap::from(routes));
        let seen = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (routes, seen, tls) = (Arc::clone(&routes), Arc::clone(&seen), tls.clone());
                open.spawn(async move {
                    match tls {
                        None => serve(stream, &routes, &seen).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &routes, &seen).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { url, asked, accepting }
    }

    /// How often a path was asked for.
    pub(super) fn hits(&self, path: &str) -> usize {
        self.asked.hits(path)
    }

    /// All that was asked, headers included.
    pub(super) fn heads(&self) -> Vec<String> {
        self.asked.heads.lock().unwrap().clone()
    }

    /// Waits until a path was asked for so often.
    pub(super) async fn reached(&self, path: &str, hits: usize) {
        self.until(|| self.hits(path) >= hits).await;
    }

    /// Waits until all paths together were asked for so often.
    pub(super) async fn asked(&self, hits: usize) {
        self.until(|| self.heads().len() >= hits).await;
    }

    async fn until(&self, reached: impl Fn() -> bool) {
        loop {
            let news = self.asked.news.notified();
            if reached() {
                return;
            }
            news.await;
        }
    }
}

impl Asked {
    fn hits(&self, path: &str) -> usize {
        let line = format!("GET {path} HTTP/1.1\r\n");
        self.heads.lock().unwrap().iter().filter(|head| head.starts_with(&line)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one request; `None` is nobody there any more.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    routes: &HashMap<String, Vec<Reply>>,
    asked: &Asked,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    asked.heads.lock().unwrap().push(head);
    let hits = asked.hits(&path);
    asked.news.notify_waiters();
    let reply = match routes.get(path.split('?').next().unwrap()) {
        Some(replies) => replies[(hits - 1).min(replies.len() - 1)].clone(),
        None => Reply::status("404 Not Found", "no such thing"),
    };
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
        Reply::Stall(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            let _ = stream.read_u8().await;
        }
        Reply::Gate(gate, bytes) => {
            gate.acquire().await.unwrap().forget();
            stream.write_all(&bytes).await.ok()?;
        }
    }
    stream.shutdown().await.ok()
}
