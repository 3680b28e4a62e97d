//! One HTTP/1.1 connection: requests go out, answers come back, in order.
//!
//! Owns the socket through [`Dialer`] and drives it while somebody waits for it:
//! no task of its own, so dropping a connection closes it at once. Called by
//! subscriptions, calls and downloads; knows nothing of what they carry.

mod dial;
mod tls;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};

pub(crate) use dial::Dialer;
pub use dial::{ResolveError, resolve};
pub(crate) use tls::Authorities;

use crate::error::TransportError;
use crate::refusal::readable;

type Driving = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves bytes between the socket and the answers; `None` once it ended.
    driving: Option<Driving>,
}

/// Why a request got no answer.
pub(crate) enum ExchangeError {
    /// Not a byte of it was sent: it may be sent again.
    Unsent(Box<Request<Full<Bytes>>>, TransportError),
    /// It may have been executed.
    Broken(TransportError),
    /// What came back is not HTTP.
    NotHttp,
}

impl Connection {
    /// Starts HTTP on a fresh socket.
    async fn handshake(socket: dial::Socket) -> Result<Self, hyper::Error> {
        let (sender, connection) =
            http1::Builder::new().handshake(hyper_util::rt::TokioIo::new(socket)).await?;
        Ok(Self { sender, driving: Some(Box::pin(connection)) })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ExchangeError> {
        let Self { sender, driving } = self;
        if let Err(error) = drive(driving, sender.ready()).await {
            return Err(ExchangeError::Unsent(Box::new(request), TransportError(error)));
        }
        let answer = drive(driving, sender.try_send_request(request)).await;
        answer.map_err(|mut error| match error.take_message() {
            Some(request) => {
                ExchangeError::Unsent(Box::new(request), TransportError(error.into_error()))
            }
            None => {
                let error = error.into_error();
                if error.is_parse() {
                    ExchangeError::NotHttp
                } else {
                    ExchangeError::Broken(TransportError(error))
                }
            }
        })
    }

    /// Waits for the next piece of an answer; `None` at its proper end.
    pub(crate) fn poll_piece(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, TransportError>> {
        poll_driving(&mut self.driving, cx);
        loop {
            return match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => Poll::Ready(Ok(Some(piece))),
                    // Trailers say nothing here.
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(TransportError(error))),
                Poll::Ready(None) => Poll::Ready(Ok(None)),
                Poll::Pending => Poll::Pending,
            };
        }
    }

    /// The async form of [`poll_piece`](Self::poll_piece); may be cancelled.
    pub(crate) async fn piece(
        &mut self,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, TransportError> {
        poll_fn(|cx| self.poll_piece(body, cx)).await
    }

    /// Reads up to `limit` bytes of an answer; the flag tells whether that was all.
    pub(crate) async fn read(
        &mut self,
        body: &mut Incoming,
        limit: usize,
    ) -> Result<(Bytes, bool), TransportError> {
        let mut read = BytesMut::new();
        while let Some(piece) = self.piece(body).await? {
            let room = limit - read.len();
            if piece.len() > room {
                read.extend_from_slice(&piece[..room]);
                return Ok((read.freeze(), false));
            }
            read.extend_from_slice(&piece);
        }
        Ok((read.freeze(), true))
    }

    /// Reads what a refusal says, as far as it comes, fits and makes haste.
    pub(crate) async fn complaint(
        &mut self,
        body: &mut Incoming,
        limit: usize,
        within: Duration,
    ) -> Complaint {
        match tokio::time::timeout(within, self.read(body, limit)).await {
            Ok(Ok((bytes, whole))) => Complaint { text: readable(&bytes, !whole), whole },
            Ok(Err(_)) | Err(_) => Complaint { text: String::new(), whole: false },
        }
    }

    /// Waits until the peer closes an idle connection.
    pub(crate) async fn closed(&mut self) {
        if let Some(driving) = &mut self.driving {
            let _ = driving.await;
            self.driving = None;
        }
    }

    /// Whether another request can be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.driving.is_some() && !self.sender.is_closed()
    }
}

/// The body of a refusal.
pub(crate) struct Complaint {
    pub(crate) text: String,
    /// Whether the connection can be used on: nothing of the answer is left unread.
    pub(crate) whole: bool,
}

fn poll_driving(driving: &mut Option<Driving>, cx: &mut Context<'_>) {
    if let Some(future) = driving
        && future.as_mut().poll(cx).is_ready()
    {
        // How it ended is told to whoever waits for an answer.
        *driving = None;
    }
}

async fn drive<F: Future>(driving: &mut Option<Driving>, waiting: F) -> F::Output {
    let mut waiting = pin!(waiting);
    poll_fn(|cx| {
        poll_driving(driving, cx);
        waiting.as_mut().poll(cx)
    })
    .await
}
