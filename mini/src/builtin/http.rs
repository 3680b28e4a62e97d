//! Just enough HTTP/1.1 to speak with one agent.
//!
//! One connection carries the subscription, another one all calls; both in
//! protobuf. Reads what an agent writes (chunks with records inside, or a sized
//! body) and nothing else.

use bytes::Bytes;
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::executor::{Call, Event},
    recordio,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Longest event: a LAUNCH with a very large payload.
const MAX_EVENT: usize = 256 << 20;

/// What went wrong with the agent.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("cannot reach the agent")]
    Io(#[from] std::io::Error),
    #[error("the agent ended the connection")]
    Ended,
    #[error("the agent's answer is no HTTP: {0}")]
    Malformed(&'static str),
    #[error("the agent's event stream is broken")]
    Record(#[from] recordio::RecordIoError),
    #[error("the agent's event cannot be read")]
    Event(#[from] codec::DecodeError),
    #[error("the agent answered {status}: {body}")]
    Status { status: u16, body: String },
}

impl HttpError {
    /// Whether it is no use to try again.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Status { status, .. } => !matches!(status, 404 | 503),
            Self::Io(_) | Self::Ended | Self::Malformed(_) | Self::Record(_) | Self::Event(_) => {
                false
            }
        }
    }
}

/// A connection with what was read ahead.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

struct Head {
    status: u16,
    chunked: bool,
    length: usize,
}

impl Connection {
    async fn open(endpoint: &str) -> Result<Self, HttpError> {
        let stream = TcpStream::connect(endpoint).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    async fn send(&mut self, endpoint: &str, call: &Call) -> Result<Head, HttpError> {
        let media = Encoding::Protobuf.media_type();
        let body = codec::encode(call, Encoding::Protobuf);
        let mut request = format!(
            "POST /api/v1/executor HTTP/1.1\r\nHost: {endpoint}\r\nAccept: {media}\r\n\
             Content-Type: {media}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        self.stream.write_all(&request).await?;
        let head = loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let head = parse_head(&self.ahead[..end])?;
                self.ahead.drain(..end + 4);
                break head;
            }
            if self.ahead.len() > MAX_HEAD {
                return Err(HttpError::Malformed("its head does not end"));
            }
            self.fill().await?;
        };
        Ok(head)
    }

    async fn fill(&mut self) -> Result<(), HttpError> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece).await? {
            0 => Err(HttpError::Ended),
            length => {
                self.ahead.extend_from_slice(&piece[..length]);
                Ok(())
            }
        }
    }

    async fn body(&mut self, head: &Head) -> Result<Vec<u8>, HttpError> {
        if head.length > MAX_HEAD {
            return Err(HttpError::Malformed("its answer to a call is huge"));
        }
        while self.ahead.len() < head.length {
            self.fill().await?;
        }
        Ok(self.ahead.drain(..head.length).collect())
    }

    async fn refused(&mut self, head: &Head) -> HttpError {
        let body = self.body(head).await.unwrap_or_default();
        HttpError::Status { status: head.status, body: String::from_utf8_lossy(&body).into_owned() }
    }
}

fn parse_head(head: &[u8]) -> Result<Head, HttpError> {
    let head =
        std::str::from_utf8(head).map_err(|_| HttpError::Malformed("its head is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .ok_or(HttpError::Malformed("it has no status line"))?;
    let mut parsed = Head { status, chunked: false, length: 0 };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            parsed.chunked = value.trim().eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("content-length") {
            parsed.length = value
                .trim()
                .parse()
                .map_err(|_| HttpError::Malformed("its length is no number"))?;
        }
    }
    Ok(parsed)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The connection for calls; made when it is needed.
#[derive(Debug)]
pub(super) struct Calls {
    endpoint: String,
    connection: Option<Connection>,
}

impl Calls {
    /// Makes one that is not connected.
    pub(super) fn new(endpoint: String) -> Self {
        Self { endpoint, connection: None }
    }

    /// Forgets the connection.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// Sends a call and waits until it is accepted.
    ///
    /// # Errors
    /// The connection broke (whether the call was executed is not known), or the agent refused it.
    pub(super) async fn send(&mut self, call: &Call) -> Result<(), HttpError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.endpoint).await?,
        };
        let head = connection.send(&self.endpoint, call).await?;
        if head.status != 202 {
            return Err(connection.refused(&head).await);
        }
        connection.body(&head).await?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// The stream of events.
#[derive(Debug)]
pub(super) struct Events {
    connection: Connection,
    chunks: Chunks,
    records: recordio::Decoder,
}

impl Events {
    /// Subscribes.
    ///
    /// # Errors
    /// There is no connection, or the agent refused the call.
    pub(super) async fn open(endpoint: &str, call: &Call) -> Result<Self, HttpError> {
        let mut connection = Connection::open(endpoint).await?;
        let head = connection.send(endpoint, call).await?;
        if head.status != 200 {
            return Err(connection.refused(&head).await);
        }
        if !head.chunked {
            return Err(HttpError::Malformed("its event stream is not chunked"));
        }
        Ok(Self { connection, chunks: Chunks::Size, records: recordio::Decoder::new(MAX_EVENT) })
    }

    /// Waits for the next event. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// The stream ended or broke.
    pub(super) async fn next(&mut self) -> Result<Event, HttpError> {
        loop {
            if let Some(record) = self.records.next()? {
                return Ok(codec::decode(&record, Encoding::Protobuf)?);
            }
            match self.chunks.take(&mut self.connection.ahead)? {
                Taken::Data(data) => self.records.push(&data),
                Taken::Nothing => self.connection.fill().await?,
                Taken::End => return Err(HttpError::Ended),
            }
        }
    }
}

/// Where in a chunked body the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunks {
    /// Before a size line.
    Size,
    /// Within a chunk.
    Data { left: usize },
    /// Before the line end behind a chunk.
    End,
    /// Behind the last chunk.
    Over,
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Data(Bytes),
    Nothing,
    End,
}

impl Chunks {
    /// Takes what can be taken out of `bytes`.
    fn take(&mut self, bytes: &mut Vec<u8>) -> Result<Taken, HttpError> {
        const BROKEN: HttpError = HttpError::Malformed("a chunk of its event stream is broken");
        loop {
            match *self {
                Self::Over => return Ok(Taken::End),
                Self::Size => {
                    let Some(end) = find(bytes, b"\r\n") else {
                        return if bytes.len() > 64 { Err(BROKEN) } else { Ok(Taken::Nothing) };
                    };
                    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| BROKEN)?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let left = usize::from_str_radix(size, 16).map_err(|_| BROKEN)?;
                    bytes.drain(..end + 2);
                    *self = if left == 0 { Self::Over } else { Self::Data { left } };
                }
                Self::Data { left } => {
                    if bytes.is_empty() {
                        return Ok(Taken::Nothing);
                    }
                    let length = left.min(bytes.len());
                    let data: Vec<u8> = bytes.drain(..length).collect();
                    *self =
                        if length == left { Self::End } else { Self::Data { left: left - length } };
                    return Ok(Taken::Data(data.into()));
                }
                Self::End => {
                    if bytes.len() < 2 {
                        return Ok(Taken::Nothing);
                    }
                    if !bytes.starts_with(b"\r\n") {
                        return Err(BROKEN);
                    }
                    bytes.drain(..2);
                    *self = Self::Size;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), HttpError> {
        let (mut chunks, mut ahead, mut decoded) = (Chunks::Size, Vec::new(), Vec::new());
        for piece in pieces {
            ahead.extend_from_slice(piece);
            loop {
                match chunks.take(&mut ahead)? {
                    Taken::Data(data) => decoded.extend_from_slice(&data),
                    Taken::Nothing => break,
                    Taken::End => return Ok((decoded, true)),
                }
            }
        }
        Ok((decoded, false))
    }

    #[test]
    fn broken_chunks_are_told() {
        for bad in [&b"x\r\n"[..], b"3\r\nabcde", b"-1\r\n", &[b'1'; 100]] {
            assert!(decode(&[bad]).is_err(), "{bad:?}");
        }
        assert!(decode(&[b"10000000000000000000\r\n"]).is_err());
    }

    #[test]
    fn heads_are_read() {
        let head = parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nX: y").unwrap();
        assert!(head.chunked && head.status == 200);
        let head = parse_head(b"HTTP/1.1 202 Accepted\r\nContent-Length: 7").unwrap();
        assert_eq!((head.status, head.length), (202, 7));
        for bad in [&b"HTTP/2 200"[..], b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: x"]
        {
            assert!(parse_head(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn chunks_survive_any_split(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in 1usize..9,
        ) {
            let mut wire = Vec::new();
            for chunk in &data {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
            prop_assert_eq!(decode(&pieces).unwrap(), (data.concat(), true));
        }
    }
}
