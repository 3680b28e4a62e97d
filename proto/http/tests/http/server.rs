//! The other end of the wire: a listener whose tests say every byte.
//!
//! Also what the tests share: messages, clients, and a subscription that is
//! already accepted.

use marmoset_http::{
    Client, ClientConfig, Encoding, Endpoint, SCHEDULER_PATH, SubscribeError, Subscription,
};
use marmoset_proto::mesos::v1::FrameworkInfo;
use marmoset_proto::mesos::v1::scheduler::{Call, Event, call, event};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
     Mesos-Stream-Id: 5df25fa7-8ba1-433d-af79-879aa66e71b3\r\n\
     Content-Type: application/x-protobuf\r\n\r\n";
/// A whole record, in a chunk of its own.
pub(crate) const HEARTBEAT: &[u8] = b"4\r\n2\n\x08\x08\r\n";

pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) endpoint: Endpoint,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from(listener.local_addr().unwrap());
        Self { listener, endpoint }
    }

    pub(crate) async fn accept(&self) -> Peer<TcpStream> {
        Peer { stream: self.listener.accept().await.unwrap().0, read: Vec::new() }
    }

    /// Takes a connection and a request, and answers it.
    pub(crate) async fn answer(&self, bytes: impl AsRef<[u8]>) -> (Peer<TcpStream>, Received) {
        let mut peer = self.accept().await;
        let request = peer.request().await;
        peer.write(bytes).await;
        (peer, request)
    }

    /// Whether nobody waits to be accepted.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        self.listener.poll_accept(&mut cx).is_pending()
    }
}

/// One accepted connection.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) line: String,
    /// Lower-case names, in the order they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Reads one request with a `Content-Length`.
    pub(crate) async fn request(&mut self) -> Received {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "end of requests");
        };
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n").map(str::to_owned);
        let line = lines.next().unwrap();
        let headers: Vec<_> = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, length)| length.parse().unwrap());
        while self.read.len() < end + 4 + length {
            assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "end of a body");
        }
        let body = self.read[end + 4..end + 4 + length].to_vec();
        self.read.drain(..end + 4 + length);
        Received { line, headers, body }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Waits until the client closes; anything it sends instead fails the test.
    pub(crate) async fn closed(mut self) {
        assert_eq!(self.read, b"");
        match self.stream.read_buf(&mut self.read).await {
            Ok(read) => assert_eq!(read, 0, "unexpected: {:?}", self.read),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

impl Peer<TcpStream> {
    /// Ends the connection with RST instead of FIN.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Whether no unread request waits.
    pub(crate) fn is_quiet(&self) -> bool {
        let error = self.stream.try_read(&mut [0]).unwrap_err();
        self.read.is_empty() && error.kind() == std::io::ErrorKind::WouldBlock
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "`{name}` came twice");
        value
    }

    pub(crate) fn call(&self) -> Call {
        let encoding = Encoding::from_media_type(self.header("content-type").unwrap()).unwrap();
        marmoset_proto::codec::decode(&self.body, encoding).unwrap()
    }
}

/// Puts bytes into one chunk.
pub(crate) fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

pub(crate) fn plain(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n{headers}Content-Length: \
         {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn client() -> Client {
    Client::new(ClientConfig::default()).unwrap()
}

pub(crate) fn subscribe_call() -> Call {
    // JSON always says the fields that have a default.
    let framework_info = FrameworkInfo {
        user: "root".into(),
        name: "test".into(),
        failover_timeout: Some(0.0),
        checkpoint: Some(false),
        ..FrameworkInfo::default()
    };
    Call {
        r#type: Some(call::Type::Subscribe.into()),
        subscribe: Some(call::Subscribe { framework_info, ..call::Subscribe::default() }),
        ..Call::default()
    }
}

/// A call that a test can recognise.
pub(crate) fn call(framework: &str) -> Call {
    Call {
        framework_id: Some(framework.into()),
        r#type: Some(call::Type::Revive.into()),
        ..Call::default()
    }
}

pub(crate) fn heartbeat() -> Event {
    Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() }
}

pub(crate) async fn subscribe(
    client: &Client,
    server: &Server,
) -> Result<Subscription<Event>, SubscribeError> {
    client.subscribe(&server.endpoint, SCHEDULER_PATH, &subscribe_call()).await
}

/// Subscribes, and expects that to be refused with `answer`.
pub(crate) async fn refused(answer: impl AsRef<[u8]>) -> SubscribeError {
    let server = Server::start().await;
    let client = client();
    let (outcome, _peer) = tokio::join!(subscribe(&client, &server), server.answer(answer));
    outcome.unwrap_err()
}

/// Makes a subscription whose stream the test writes.
pub(crate) async fn subscribed_with(
    config: ClientConfig,
) -> (Subscription<Event>, Peer<TcpStream>, Server, Client) {
    let server = Server::start().await;
    let client = Client::new(config).unwrap();
    let (subscription, (peer, _)) =
        tokio::join!(subscribe(&client, &server), server.answer(STREAM));
    (subscription.unwrap(), peer, server, client)
}

pub(crate) async fn subscribed() -> (Subscription<Event>, Peer<TcpStream>, Server, Client) {
    subscribed_with(ClientConfig::default()).await
}
