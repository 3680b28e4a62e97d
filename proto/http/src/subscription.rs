//! The stream of events.
//!
//! Owns one connection and what comes through it: chunks to records to events,
//! and the watch over silence. What an event means is the caller's.
//!
//! ```text
//!          record                     clean end
//! Live ──────────────▶ Live   Live ──────────────▶ Over
//!   │ broken, truncated, malformed, or silent for too long
//!   └──────────────────────────────────────────────▶ Over (after the error)
//! ```
//!
//! - `Live`: the connection is open; events come in order.
//! - `Over`: the connection is closed; there is no next event.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Response};
use hyper::body::Incoming;
use marmoset_proto::Message;
use marmoset_proto::codec::{self, Encoding};
use marmoset_proto::recordio::Decoder;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::calls::Calls;
use crate::client::{Shared, stream_id};
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::error::StreamError;

/// Names the subscription in each call of the scheduler API.
pub(crate) const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");

/// An accepted subscription, which yields events of type `E`.
///
/// Dropping it closes its connection, by which a master notices that the
/// scheduler is gone.
pub struct Subscription<E> {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    path: PathAndQuery,
    stream_id: Option<HeaderValue>,
    redirected: bool,
    encoding: Encoding,
    decoder: Decoder,
    state: State,
    watch: Option<Watch>,
    event: PhantomData<fn() -> E>,
}

enum State {
    Live { connection: Box<Connection>, body: Incoming },
    Over,
}

/// Waits for silence.
struct Watch {
    limit: Duration,
    /// Kept between events, so that it fires only after the sockets were looked at.
    alarm: Pin<Box<Sleep>>,
}

impl<E: Message> Subscription<E> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        endpoint: Endpoint,
        path: PathAndQuery,
        connection: Connection,
        answer: Response<Incoming>,
        encoding: Encoding,
    ) -> Self {
        let stream_id = stream_id(answer.headers());
        let decoder = Decoder::new(shared.config.max_frame);
        let silence = shared.config.silence;
        let mut this = Self {
            shared,
            endpoint,
            path,
            stream_id,
            redirected: false,
            encoding,
            decoder,
            state: State::Live { connection: Box::new(connection), body: answer.into_body() },
            watch: None,
            event: PhantomData,
        };
        this.set_silence(silence);
        this
    }

    pub(crate) fn redirected(mut self) -> Self {
        self.redirected = true;
        self
    }

    /// Waits for the next event; `None` after the stream's proper end and after
    /// an error that ended it. May be cancelled without losing an event.
    ///
    /// # Errors
    /// All but [`StreamError::Decode`] end the stream.
    pub async fn next(&mut self) -> Result<Option<E>, StreamError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The poll form of [`next`](Self::next).
    ///
    /// # Errors
    /// As for `next`.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<E>, StreamError>> {
        let outcome = match self.poll_record(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                // What arrived while nobody looked is not silence.
                match self.poll_record(cx) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => Err(self.silent()),
                }
            }
        };
        Poll::Ready(match outcome {
            Ok(Some(record)) => {
                self.restart_watch();
                let length = record.len();
                codec::decode(&record, self.encoding)
                    .map(Some)
                    .map_err(|source| StreamError::Decode { length, source })
            }
            Ok(None) => {
                self.state = State::Over;
                Ok(None)
            }
            Err(error) => {
                self.state = State::Over;
                Err(error)
            }
        })
    }

    /// Sets how long the stream may be silent, counted from now; `None`: for ever.
    ///
    /// A scheduler sets five times the interval that SUBSCRIBED announces.
    pub fn set_silence(&mut self, limit: Option<Duration>) {
        self.watch = limit
            .map(|limit| Watch { limit, alarm: Box::pin(sleep_until(Instant::now() + limit)) });
    }

    /// Opens a way for calls of this subscription: a connection of its own, made
    /// with the first call. Calls of different handles have no mutual order.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn calls(&self) -> Calls {
        let mut headers = self.shared.headers(&self.endpoint, Some(self.shared.config.encoding));
        if let Some(id) = &self.stream_id {
            headers.insert(STREAM_ID, id.clone());
        }
        Calls::start(Arc::clone(&self.shared), self.endpoint.clone(), self.path.clone(), headers)
    }

    /// Who accepted the subscription.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Who leads, if it was not the one asked: to be asked first from now on.
    pub fn leader(&self) -> Option<&Endpoint> {
        self.redirected.then_some(&self.endpoint)
    }

    /// The id that ties calls to this subscription; the executor API has none.
    pub fn stream_id(&self) -> Option<&str> {
        self.stream_id.as_ref().and_then(|id| id.to_str().ok())
    }

    /// Takes a whole record, reading until there is one.
    fn poll_record(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<bytes::Bytes>, StreamError>> {
        let State::Live { connection, body } = &mut self.state else {
            return Poll::Ready(Ok(None));
        };
        loop {
            if let Some(record) = self.decoder.next().map_err(StreamError::Framing)? {
                return Poll::Ready(Ok(Some(record)));
            }
            match ready!(connection.poll_piece(body, cx)).map_err(StreamError::Broken)? {
                Some(piece) => self.decoder.push(&piece),
                None if self.decoder.is_clean() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(StreamError::Truncated)),
            }
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.watch {
            Some(watch) => watch.alarm.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn silent(&self) -> StreamError {
        let after = self.watch.as_ref().map(|watch| watch.limit).unwrap_or_default();
        StreamError::Silent { after }
    }

    fn restart_watch(&mut self) {
        if let Some(Watch { limit, alarm }) = &mut self.watch {
            alarm.as_mut().reset(Instant::now() + *limit);
        }
    }
}

impl<E> fmt::Debug for Subscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("endpoint", &self.endpoint)
            .field("path", &self.path)
            .field("stream_id", &self.stream_id)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}
