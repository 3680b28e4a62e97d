//! Calls, one after the other.
//!
//! Owns one connection for calls, and their order: a call is sent when the one
//! before it was answered. One task does so, so that a caller that stops waiting
//! cannot tear a call apart.
//!
//! ```text
//!        first call              server closes while idle
//! Closed ───────────▶ Open ───────────────────────────────▶ Closed
//!    │                 │
//!    │ no connection   │ no answer, or the connection broke before it
//!    └────────────────▶└───────────────────────────────────▶ Broken
//! ```
//!
//! - `Closed`: nothing is under way; the next call connects.
//! - `Open`: at most one call is under way.
//! - `Broken`: a call was lost; no later one is sent, as they could change
//!   places. The caller subscribes again, or takes a new handle.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Body as _;
use marmoset_proto::Message;
use marmoset_proto::codec::{self, Encoding};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::client::{Shared, request};
use crate::connection::{Connection, ExchangeError};
use crate::endpoint::Endpoint;
use crate::error::CallError;
use crate::refusal;

/// Calls that may wait for their turn before `send` itself waits.
const WAITING: usize = 64;

/// How a call was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 202: taken, which does not mean it succeeds; events will tell.
    Accepted,
    /// 200: done, as UPDATE_FRAMEWORK is answered.
    Done,
}

/// Sends calls over one connection, in order. Clones share it.
#[derive(Clone)]
pub struct Calls {
    jobs: mpsc::Sender<Job>,
    endpoint: Endpoint,
    encoding: Encoding,
}

struct Job {
    body: Bytes,
    reply: oneshot::Sender<Result<Answer, CallError>>,
}

impl Calls {
    pub(crate) fn start(
        shared: Arc<Shared>,
        endpoint: Endpoint,
        path: PathAndQuery,
        headers: HeaderMap,
    ) -> Self {
        let (sender, jobs) = mpsc::channel(WAITING);
        let calls =
            Self { jobs: sender, endpoint: endpoint.clone(), encoding: shared.config.encoding };
        let tasks = shared.tasks.clone();
        let line = Line { shared, endpoint, path, headers, jobs, connection: None };
        tasks.spawn(line.serve());
        calls
    }

    /// Sends a call after those handed over before, and waits for its answer.
    ///
    /// A caller that stops waiting does not stop the call.
    ///
    /// # Errors
    /// Say whether to send it again or to subscribe again; see
    /// [`CallError::is_retryable`] and [`CallError::needs_resubscribe`].
    pub async fn send<C: Message>(&self, call: &C) -> Result<Answer, CallError> {
        let body = codec::encode(call, self.encoding);
        let (reply, answer) = oneshot::channel();
        let not_sent = || CallError::NotSent { endpoint: self.endpoint.clone() };
        self.jobs.send(Job { body, reply }).await.map_err(|_| not_sent())?;
        answer.await.unwrap_or_else(|_| Err(not_sent()))
    }

    /// Whom they go to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether an earlier call was lost, so that no other will be sent.
    pub fn is_broken(&self) -> bool {
        self.jobs.is_closed()
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The other end of [`Calls`].
struct Line {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    path: PathAndQuery,
    headers: HeaderMap,
    jobs: mpsc::Receiver<Job>,
    connection: Option<Connection>,
}

impl Line {
    async fn serve(mut self) {
        while let Some(Job { body, reply }) = self.next_job().await {
            let outcome = self.call(body).await;
            let lost = matches!(
                &outcome,
                Err(CallError::Connect { .. }
                    | CallError::Timeout { .. }
                    | CallError::Broken { .. })
            );
            // Nobody may be waiting any more.
            let _ = reply.send(outcome);
            if lost {
                return self.refuse_the_rest().await;
            }
        }
    }

    async fn refuse_the_rest(mut self) {
        self.connection = None;
        self.jobs.close();
        while let Some(Job { reply, .. }) = self.jobs.recv().await {
            let _ = reply.send(Err(CallError::NotSent { endpoint: self.endpoint.clone() }));
        }
    }

    async fn next_job(&mut self) -> Option<Job> {
        loop {
            let Some(connection) = &mut self.connection else { return self.jobs.recv().await };
            tokio::select! {
                // An end that was already seen comes before a call that could meet it.
                biased;
                () = connection.closed() => self.connection = None,
                job = self.jobs.recv() => return job,
            }
        }
    }

    async fn call(&mut self, body: Bytes) -> Result<Answer, CallError> {
        let after = self.shared.config.call_timeout;
        let request = request(Method::POST, &self.path, self.headers.clone(), body);
        let kept = self.connection.take().filter(Connection::is_open);
        let was_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let deadline = Instant::now() + after;
        let mut outcome = timeout_at(deadline, connection.exchange(request)).await;
        if was_kept && let Ok(Err(ExchangeError::Unsent(request, _))) = outcome {
            // The server had closed it before anything of this call went out.
            connection = self.connect().await?;
            outcome = timeout_at(deadline, connection.exchange(*request)).await;
        }
        let endpoint = self.endpoint.clone();
        let mut answer = match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(ExchangeError::NotHttp)) => {
                return Err(CallError::Refused { endpoint, refusal: refusal::not_http() });
            }
            Ok(Err(ExchangeError::Unsent(_, source) | ExchangeError::Broken(source))) => {
                return Err(CallError::Broken { endpoint, source });
            }
            Err(_) => return Err(CallError::Timeout { endpoint, after }),
        };
        let accepted = match answer.status() {
            StatusCode::ACCEPTED => Answer::Accepted,
            StatusCode::OK => Answer::Done,
            _ => {
                let path = self.path.as_str();
                let (refusal, whole) = self
                    .shared
                    .refusal(&endpoint, path, &mut connection, &mut answer, deadline)
                    .await;
                self.connection = whole.then_some(connection);
                return Err(CallError::Refused { endpoint, refusal });
            }
        };
        // Such answers have no body; one that has costs the connection.
        self.connection = answer.body().is_end_stream().then_some(connection);
        Ok(accepted)
    }

    async fn connect(&mut self) -> Result<Connection, CallError> {
        let opened = self.shared.dialer.open(&self.endpoint).await;
        opened.map_err(|source| CallError::Connect { endpoint: self.endpoint.clone(), source })
    }
}
