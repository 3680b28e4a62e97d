//! An endless response body: events become records, records become chunks.
//!
//! ```text
//!  actor ──send──▶ (unbounded queue) ──poll──▶ encode + frame ──▶ socket
//!    │ close(): the queue drains, then the terminating chunk, then the connection closes
//!    │ cut():   the connection breaks at once, without a terminating chunk
//!    ◀── gone(): the client is gone
//! ```
//!
//! Encoding happens where the body is polled, on the connection's task, so that
//! an actor never pays for it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use marmoset_proto::recordio;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Body;

/// The server broke the connection off on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the stream was cut")]
pub(crate) struct StreamCut;

/// The sending end of an event stream.
///
/// The queue is unbounded because Mesos' is: a master or agent never blocks on a
/// slow reader and never drops an event, its memory grows instead (libprocess,
/// `encoder.hpp`). What bounds it in practice is that a scheduler that does not
/// read does not acknowledge, accept or decline either, so it is owed at most
/// one update per task and one offer per agent, plus heartbeats.
#[derive(Debug)]
pub(crate) struct EventStream<E> {
    queue: mpsc::UnboundedSender<E>,
    cut: CancellationToken,
    gone: CancellationToken,
}

// Not derived: a derive would ask for `E: Clone`.
impl<E> Clone for EventStream<E> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), cut: self.cut.clone(), gone: self.gone.clone() }
    }
}

impl<E> EventStream<E> {
    /// Queues an event. Whether the client is still there does not matter to the caller;
    /// [`gone`](Self::gone) tells.
    pub(crate) fn send(&self, event: E) {
        let _gone = self.queue.send(event);
    }

    /// Is cancelled once the client is gone; unlike a clone, it does not keep the stream open.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Ends the stream after what is queued. Other clones must be dropped for it to take effect.
    pub(crate) fn close(self) {
        drop(self);
    }

    /// Breaks the connection at once.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

/// Makes a stream and the body that carries it; `encode` turns one event into one record's payload.
pub(crate) fn event_stream<E: Send + 'static>(
    encode: impl Fn(&E) -> Bytes + Send + Sync + 'static,
) -> (EventStream<E>, Body) {
    let (queue, events) = mpsc::unbounded_channel();
    let cut = CancellationToken::new();
    let cutting = Box::pin(cut.clone().cancelled_owned());
    let gone = CancellationToken::new();
    let dropped = gone.clone().drop_guard();
    let body = EventBody { events, cutting, encode: Arc::new(encode), _dropped: dropped };
    (EventStream { queue, cut, gone }, Box::pin(body))
}

type Cutting = Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>;

struct EventBody<E> {
    events: mpsc::UnboundedReceiver<E>,
    cutting: Cutting,
    encode: Arc<dyn Fn(&E) -> Bytes + Send + Sync>,
    _dropped: DropGuard,
}

impl<E> http_body::Body for EventBody<E> {
    type Data = Bytes;
    type Error = StreamCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamCut>>> {
        if self.cutting.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(StreamCut)));
        }
        self.events.poll_recv(context).map(|event| {
            let payload = (self.encode)(&event?);
            Some(Ok(Frame::data(recordio::encode(&payload))))
        })
    }
}
