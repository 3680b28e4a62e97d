//! The master's HTTP: paths, checks in Mesos' order, and answers.
//!
//! Everything that can be refused without knowing the state is refused here; what
//! is left becomes a [`Command`]. Runs on the connections' tasks. (Mesos 1.11,
//! src/master/http.cpp, `Http::scheduler`.)

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::scheduler::{Call, Event, call::Type as CallType},
};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::{
    actor::{Command, View},
    auth, call,
    core::{Caller, Reply, StreamId},
    version,
};
use crate::{
    config::{Credential, Leadership},
    http::{
        Request, Response, Service, accepted, accepted_encoding, check_call_headers, decode_call,
        empty, event_stream, events, json, not_allowed, redirect, text,
    },
};

const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");
const NOT_ACCEPTABLE: &str =
    "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";

/// The HTTP side of a master.
#[derive(Debug)]
pub(super) struct Edge {
    commands: mpsc::Sender<Command>,
    leadership: watch::Receiver<Leadership>,
    credentials: Option<Vec<Credential>>,
    hostname: String,
    addr: SocketAddr,
}

impl Service for Edge {
    async fn call(&self, request: Request) -> Response {
        self.route(request).await.unwrap_or_else(|refusal| refusal)
    }
}

impl Edge {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        leadership: watch::Receiver<Leadership>,
        credentials: Option<Vec<Credential>>,
        hostname: String,
        addr: SocketAddr,
    ) -> Self {
        Self { commands, leadership, credentials, hostname, addr }
    }

    /// `Err` is an answer, too: the one that ended the checks.
    async fn route(&self, request: Request) -> Result<Response, Response> {
        let path = match request.path.strip_prefix("/master") {
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) | None => request.path.as_str(),
        };
        let view = match path {
            "/api/v1/scheduler" => return self.scheduler(request).await,
            "/health" => return Ok(empty(StatusCode::OK)),
            "/version" => return Ok(json(&version::document())),
            "/redirect" => return Ok(self.redirect()),
            "/state" => View::State,
            "/state-summary" => View::Summary,
            "/slaves" => View::Slaves,
            "/frameworks" => View::Frameworks,
            "/flags" => View::Flags,
            "/metrics/snapshot" => View::Metrics,
            "/tasks" => View::Tasks {
                limit: number(&request, "limit")?.unwrap_or(100),
                offset: number(&request, "offset")?.unwrap_or(0),
                ascending: request.query_parameter("order").as_deref() == Some("asc"),
            },
            _ => return Err(text(StatusCode::NOT_FOUND, "")),
        };
        if request.method != Method::GET {
            return Err(not_allowed(&Method::GET, &request.method));
        }
        // These two tell about this very master, whether it leads or not.
        if !matches!(view, View::Flags | View::Metrics) {
            self.check_leadership(&request)?;
        }
        self.show(view).await
    }

    async fn scheduler(&self, request: Request) -> Result<Response, Response> {
        let principal = auth::principal(&request, self.credentials.as_deref())?;
        self.check_leadership(&request)?;
        let encoding = check_call_headers(&request)?;
        let accepts = accepted_encoding(&request.headers);
        let stream = request.header("Mesos-Stream-Id").map(str::to_owned);
        let body = request.into_body().await?;
        let call: Call = decode_call(&body, encoding)?;
        let kind = call::validate(&call, principal.as_deref()).map_err(|error| {
            text(StatusCode::BAD_REQUEST, format!("Failed to validate scheduler::Call: {error}"))
        })?;
        match kind {
            CallType::Subscribe => {
                let encoding =
                    accepts.ok_or_else(|| text(StatusCode::NOT_ACCEPTABLE, NOT_ACCEPTABLE))?;
                if stream.is_some() {
                    return Err(text(
                        StatusCode::BAD_REQUEST,
                        "Subscribe calls should not include the 'Mesos-Stream-Id' header",
                    ));
                }
                self.subscribe(call, encoding, principal).await
            }
            CallType::ReconcileOperations if accepts.is_none() => {
                Err(text(StatusCode::NOT_ACCEPTABLE, NOT_ACCEPTABLE))
            }
            CallType::ReconcileOperations
            | CallType::Unknown
            | CallType::Teardown
            | CallType::Accept
            | CallType::Decline
            | CallType::AcceptInverseOffers
            | CallType::DeclineInverseOffers
            | CallType::Revive
            | CallType::Kill
            | CallType::Shutdown
            | CallType::Acknowledge
            | CallType::AcknowledgeOperationStatus
            | CallType::Reconcile
            | CallType::Message
            | CallType::Request
            | CallType::Suppress
            | CallType::UpdateFramework => self.forward(call, Caller { stream, principal }).await,
        }
    }

    async fn subscribe(
        &self,
        call: Call,
        encoding: Encoding,
        principal: Option<String>,
    ) -> Result<Response, Response> {
        let id = Uuid::new_v4().to_string();
        let (stream, body) = event_stream(move |event: &Event| codec::encode(event, encoding));
        let mut response = events(body, encoding);
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(STREAM_ID, value);
        }
        let command = Command::Subscribe {
            stream: StreamId(id),
            events: stream,
            subscribe: Box::new(call.subscribe.unwrap_or_default()),
            principal,
        };
        self.commands.send(command).await.map_err(|_| ended())?;
        Ok(response)
    }

    async fn forward(&self, call: Call, caller: Caller) -> Result<Response, Response> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Call { call: Box::new(call), caller, reply };
        self.commands.send(command).await.map_err(|_| ended())?;
        Ok(match answer.await.map_err(|_| ended())? {
            Reply::Accepted => accepted(),
            Reply::Done => empty(StatusCode::OK),
            Reply::BadRequest(message) => text(StatusCode::BAD_REQUEST, message),
            Reply::Forbidden(message) => text(StatusCode::FORBIDDEN, message),
            Reply::NotImplemented => text(StatusCode::NOT_IMPLEMENTED, ""),
        })
    }

    async fn show(&self, view: View) -> Result<Response, Response> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::View { view, reply }).await.map_err(|_| ended())?;
        Ok(json(&answer.await.map_err(|_| ended())?))
    }

    /// Sends clients on when another master leads.
    #[expect(clippy::result_large_err, reason = "an answer is built once per refused request")]
    fn check_leadership(&self, request: &Request) -> Result<(), Response> {
        match &*self.leadership.borrow() {
            Leadership::Leading => Ok(()),
            Leadership::Recovering => {
                Err(text(StatusCode::SERVICE_UNAVAILABLE, "Master has not finished recovery"))
            }
            Leadership::NoLeader => Err(text(StatusCode::SERVICE_UNAVAILABLE, "No leader elected")),
            Leadership::Following(leader) => {
                Err(redirect(&format!("//{leader}{}", request.target)))
            }
        }
    }

    /// `/redirect`: where the leader is, without a path.
    fn redirect(&self) -> Response {
        match &*self.leadership.borrow() {
            Leadership::Leading | Leadership::Recovering => {
                redirect(&format!("//{}:{}", self.hostname, self.addr.port()))
            }
            Leadership::Following(leader) => redirect(&format!("//{leader}")),
            Leadership::NoLeader => text(StatusCode::SERVICE_UNAVAILABLE, "No leader elected"),
        }
    }
}

/// A query parameter that must be a number if it is there.
#[expect(clippy::result_large_err, reason = "an answer is built once per refused request")]
fn number(request: &Request, name: &str) -> Result<Option<usize>, Response> {
    let Some(value) = request.query_parameter(name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| {
        let message = format!("query parameter `{name}` must be a number, not `{value}`");
        text(StatusCode::BAD_REQUEST, message)
    })
}

/// The master is about to end.
fn ended() -> Response {
    text(StatusCode::SERVICE_UNAVAILABLE, "")
}
