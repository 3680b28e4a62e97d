//! The entrance: subscribing, and fetching documents.
//!
//! Owns the settings and what is made of them once: credentials as a header,
//! trusted authorities, and the set of tasks that send calls. Called by the
//! scheduler's and the executor's sessions; one client serves any number of
//! servers.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use marmoset_proto::Message;
use marmoset_proto::codec::{self, Encoding};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::config::{ClientConfig, ConfigError};
use crate::connection::{Authorities, Connection, Dialer, ExchangeError};
use crate::endpoint::Endpoint;
use crate::error::{GetError, SubscribeError};
use crate::refusal::{self, Answered, Refusal};
use crate::subscription::{STREAM_ID, Subscription};

/// Speaks to masters and agents.
///
/// Cheap to clone; clones share their settings.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

/// What all subscriptions and calls of one client use.
pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) dialer: Dialer,
    /// Those that send calls.
    pub(crate) tasks: TaskTracker,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Checks the settings and reads `ca_file`.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        let authorization = config.auth.header()?;
        let authorities = Authorities::new(config.ca_file.as_deref())?;
        let dialer = Dialer::new(&config, authorities);
        Ok(Self(Arc::new(Shared { config, dialer, tasks: TaskTracker::new(), authorization })))
    }

    /// The settings it was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    /// Sends SUBSCRIBE over a connection of its own and waits for the stream.
    ///
    /// One redirect is followed; [`Subscription::leader`] tells where it led. A
    /// subscription that the master refuses for what it contains *succeeds*
    /// here: its only event is ERROR.
    ///
    /// # Errors
    /// Say whether to try again; see [`SubscribeError::is_retryable`].
    pub async fn subscribe<C: Message, E: Message>(
        &self,
        endpoint: &Endpoint,
        path: &str,
        call: &C,
    ) -> Result<Subscription<E>, SubscribeError> {
        let path = PathAndQuery::try_from(path)
            .map_err(|_| SubscribeError::BadPath { path: path.to_owned() })?;
        let body = codec::encode(call, self.0.config.encoding);
        let (leader, origin) = match self.attempt(endpoint, &path, body.clone()).await {
            Err(SubscribeError::Refused {
                refusal: Refusal::Redirected { leader },
                endpoint: origin,
            }) => (leader, origin),
            other => return other,
        };
        tracing::debug!(%origin, %leader, "redirected");
        match self.attempt(&leader, &path, body).await {
            Ok(subscription) => Ok(subscription.redirected()),
            Err(SubscribeError::Refused {
                refusal: Refusal::Redirected { leader: to },
                endpoint,
            }) if to == origin => {
                let refusal = Refusal::RedirectLoop { to };
                Err(SubscribeError::Refused { endpoint, refusal })
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches a document of at most `limit` bytes, such as `/state`.
    ///
    /// # Errors
    /// [`GetError::NotFound`] for a 404; [`GetError::TooLarge`] past the limit.
    pub async fn get(
        &self,
        endpoint: &Endpoint,
        path_and_query: &str,
        limit: usize,
    ) -> Result<Bytes, GetError> {
        let mut document = self.fetch(endpoint, path_and_query).await?;
        let Document { connection, answer, endpoint, deadline } = &mut document;
        match timeout_at(*deadline, connection.read(answer.body_mut(), limit)).await {
            Ok(Ok((bytes, true))) => Ok(bytes),
            Ok(Ok((_, false))) => Err(GetError::TooLarge {
                endpoint: endpoint.clone(),
                path: path_and_query.to_owned(),
                limit,
            }),
            Ok(Err(source)) => Err(GetError::Broken { endpoint: endpoint.clone(), source }),
            Err(_) => Err(self.0.get_timeout(endpoint)),
        }
    }

    /// Copies a document of any size, such as `/files/download?path=…`, and
    /// tells its length in bytes. There is no limit on its duration, only on
    /// pauses.
    ///
    /// # Errors
    /// As [`Client::get`]; what was written before stays written.
    pub async fn download<W: AsyncWrite>(
        &self,
        endpoint: &Endpoint,
        path_and_query: &str,
        to: W,
    ) -> Result<u64, GetError> {
        let Document { mut connection, mut answer, endpoint, .. } =
            self.fetch(endpoint, path_and_query).await?;
        let pause = self.0.config.call_timeout;
        let mut to = pin!(to);
        let mut length = 0;
        loop {
            let piece = match timeout(pause, connection.piece(answer.body_mut())).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break,
                Ok(Err(source)) => return Err(GetError::Broken { endpoint, source }),
                Err(_) => return Err(self.0.get_timeout(&endpoint)),
            };
            if let Err(source) = to.write_all(&piece).await {
                return Err(GetError::Write { endpoint, source });
            }
            length += piece.len() as u64;
        }
        match to.flush().await {
            Ok(()) => Ok(length),
            Err(source) => Err(GetError::Write { endpoint, source }),
        }
    }

    /// Waits until all calls that were handed over are answered or given up.
    ///
    /// Ends only once every [`Calls`](crate::Calls) was dropped.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn attempt<E: Message>(
        &self,
        endpoint: &Endpoint,
        path: &PathAndQuery,
        body: Bytes,
    ) -> Result<Subscription<E>, SubscribeError> {
        let endpoint = endpoint.clone();
        let shared = &self.0;
        let after = shared.config.subscribe_timeout;
        let mut connection = match shared.dialer.open(&endpoint).await {
            Ok(connection) => connection,
            Err(source) => return Err(SubscribeError::Connect { endpoint, source }),
        };
        let deadline = Instant::now() + after;
        let headers = shared.headers(&endpoint, Some(shared.config.encoding));
        let request = request(Method::POST, path, headers, body);
        let mut answer = match timeout_at(deadline, connection.exchange(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ExchangeError::NotHttp)) => {
                return Err(SubscribeError::Refused { endpoint, refusal: refusal::not_http() });
            }
            Ok(Err(ExchangeError::Unsent(_, source) | ExchangeError::Broken(source))) => {
                return Err(SubscribeError::Broken { endpoint, source });
            }
            Err(_) => return Err(SubscribeError::Timeout { endpoint, after }),
        };
        if answer.status() == StatusCode::OK {
            let Some(encoding) = encoding_of(answer.headers()) else {
                let found = refusal::found(answer.status(), answer.headers());
                return Err(SubscribeError::Refused {
                    endpoint,
                    refusal: Refusal::NotMesos { found },
                });
            };
            let shared = Arc::clone(shared);
            return Ok(Subscription::new(
                shared,
                endpoint,
                path.clone(),
                connection,
                answer,
                encoding,
            ));
        }
        let (refusal, _) =
            shared.refusal(&endpoint, path.as_str(), &mut connection, &mut answer, deadline).await;
        Err(SubscribeError::Refused { endpoint, refusal })
    }

    /// Sends GET, follows one redirect, and waits for the head of a success.
    async fn fetch(&self, endpoint: &Endpoint, path: &str) -> Result<Document, GetError> {
        let parsed = PathAndQuery::try_from(path)
            .map_err(|_| GetError::BadPath { path: path.to_owned() })?;
        match self.fetch_once(endpoint, &parsed).await {
            Err(GetError::Refused { refusal: Refusal::Redirected { leader }, .. }) => {
                self.fetch_once(&leader, &parsed).await
            }
            other => other,
        }
    }

    async fn fetch_once(
        &self,
        endpoint: &Endpoint,
        path: &PathAndQuery,
    ) -> Result<Document, GetError> {
        let endpoint = endpoint.clone();
        let shared = &self.0;
        let mut connection = match shared.dialer.open(&endpoint).await {
            Ok(connection) => connection,
            Err(source) => return Err(GetError::Connect { endpoint, source }),
        };
        let deadline = Instant::now() + shared.config.call_timeout;
        let request = request(Method::GET, path, shared.headers(&endpoint, None), Bytes::new());
        let path = path.as_str();
        let mut answer = match timeout_at(deadline, connection.exchange(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ExchangeError::NotHttp)) => {
                let refusal = refusal::not_http();
                return Err(GetError::Refused { endpoint, path: path.to_owned(), refusal });
            }
            Ok(Err(ExchangeError::Unsent(_, source) | ExchangeError::Broken(source))) => {
                return Err(GetError::Broken { endpoint, source });
            }
            Err(_) => return Err(shared.get_timeout(&endpoint)),
        };
        match answer.status() {
            StatusCode::OK => Ok(Document { connection, answer, endpoint, deadline }),
            StatusCode::NOT_FOUND => Err(GetError::NotFound { endpoint, path: path.to_owned() }),
            _ => {
                let (refusal, _) =
                    shared.refusal(&endpoint, path, &mut connection, &mut answer, deadline).await;
                Err(GetError::Refused { endpoint, path: path.to_owned(), refusal })
            }
        }
    }
}

/// The head of an answer whose body is still to be read.
struct Document {
    connection: Connection,
    answer: Response<Incoming>,
    endpoint: Endpoint,
    deadline: Instant,
}

impl Shared {
    /// Makes the headers of all requests to one place; `encoding` is that of
    /// the body and of what is asked for.
    pub(crate) fn headers(&self, endpoint: &Endpoint, encoding: Option<Encoding>) -> HeaderMap {
        const AGENT: HeaderValue =
            HeaderValue::from_static(concat!("marmoset/", env!("CARGO_PKG_VERSION")));
        let mut headers = HeaderMap::new();
        let host = HeaderValue::try_from(endpoint.host_header())
            .expect("a parsed host and a number are visible ASCII");
        headers.insert(HOST, host);
        if let Some(encoding) = encoding {
            // Exactly one type: with any addition Mesos answers in JSON.
            let media_type = HeaderValue::from_static(encoding.media_type());
            headers.insert(CONTENT_TYPE, media_type.clone());
            headers.insert(ACCEPT, media_type);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers.insert(USER_AGENT, AGENT);
        headers
    }

    /// Reads an answer that is no success, and tells whether all of it was read.
    pub(crate) async fn refusal(
        &self,
        from: &Endpoint,
        path: &str,
        connection: &mut Connection,
        answer: &mut Response<Incoming>,
        deadline: Instant,
    ) -> (Refusal, bool) {
        let within = deadline.saturating_duration_since(Instant::now());
        let limit = self.config.max_error_body;
        let complaint = connection.complaint(answer.body_mut(), limit, within).await;
        let (status, headers) = (answer.status(), answer.headers());
        let refusal =
            refusal::judge(Answered { from, path, status, headers, body: complaint.text });
        (refusal, complaint.whole)
    }

    fn get_timeout(&self, endpoint: &Endpoint) -> GetError {
        GetError::Timeout { endpoint: endpoint.clone(), after: self.config.call_timeout }
    }
}

/// Puts a request together; its target is the path alone, as for any origin.
pub(crate) fn request(
    method: Method,
    path: &PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.clone().into();
    *request.headers_mut() = headers;
    request
}

/// Finds how a stream is written; parameters do not matter.
fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    Encoding::from_media_type(&essence.to_ascii_lowercase())
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// Takes the stream's id out of an answer.
pub(crate) fn stream_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(STREAM_ID).cloned()
}
