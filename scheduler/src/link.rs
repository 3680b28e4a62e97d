//! The wire to the master: what a session or a core wants done about its connection, done.
//!
//! Owns sockets and the list of masters, and turns what happens on them into
//! facts. Decides nothing: when to connect, what silence means and when to give
//! up is for the core. Called by the dispatcher and by [`Session`](crate::Session).
//!
//! ```text
//!            subscribe                 Connected
//! Idle ─────────────────▶ Attempting ──────────────▶ Streaming ─┐ Event
//!  ▲                          │                        │   ▲    │
//!  │ ConnectFailed            │                        │   └────┘
//!  └──────────────────────────┘                        │
//!  └──── Disconnected, CallFailed, or disconnect() ────┘
//! ```

mod attempt;
mod masters;

use std::{future::pending, time::Duration};

use marmoset_http::{Client, Endpoint};
use marmoset_proto::mesos::v1::scheduler::{Call, Event, call};
use marmoset_scheduler_core::{CallFailure, ConnectFailure, StopReason};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{config::ConnectionConfig, error::SessionError};
use masters::Masters;

/// Facts that wait to be read; while they do, events wait in the socket.
const FACTS: usize = 256;

/// How long the last call, TEARDOWN, may take.
const PARTING: Duration = Duration::from_secs(5);

/// What happened on the wire.
#[derive(Debug)]
pub(crate) enum Fact {
    /// A master answered SUBSCRIBE with a stream.
    Connected,
    /// No master did.
    ConnectFailed(ConnectFailure),
    /// An event arrived.
    Event(Box<Event>),
    /// The stream ended.
    Disconnected { why: String },
    /// A call was not taken.
    CallFailed { call: Box<Call>, why: CallFailure },
}

/// What an attempt reports to its link.
#[derive(Debug)]
enum Report {
    Connected { master: Endpoint },
    ConnectFailed { failure: ConnectFailure, error: Option<SessionError> },
    Event(Box<Event>),
    Disconnected { why: String },
    CallFailed { call: Box<Call>, why: CallFailure, leader: Option<Endpoint> },
}

/// The wire to the master.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    masters: Masters,
    attempt: Option<Attempt>,
    /// The attempt that carries TEARDOWN, until it is sent.
    parting: Option<AbortOnDropHandle<()>>,
    /// What the session sees as text only.
    fatal: Option<SessionError>,
}

/// From SUBSCRIBE to the end of its stream. Dropping it closes both connections.
#[derive(Debug)]
struct Attempt {
    reports: mpsc::Receiver<Report>,
    /// Unbounded, so that whoever decides never waits for the network. Bounded by who sends:
    /// each call answers an event or a timer, and of updates, the source of most calls, agents
    /// send one per Mesos task until it is acknowledged.
    calls: mpsc::UnboundedSender<Box<Call>>,
    task: AbortOnDropHandle<()>,
    is_torn_down: bool,
}

impl Link {
    /// Checks the settings; connects to nobody yet.
    pub(crate) fn new(
        config: &ConnectionConfig,
        principal: Option<&str>,
    ) -> Result<Self, SessionError> {
        let masters = Masters::new(&config.masters, config.ca_file.is_some())?;
        let client = Client::new(config.client(principal))?;
        Ok(Self { client, masters, attempt: None, parting: None, fatal: None })
    }

    /// Looks for a master that takes this SUBSCRIBE.
    pub(crate) fn subscribe(&mut self, call: Call) {
        let (report, reports) = mpsc::channel(FACTS);
        let (calls, queue) = mpsc::unbounded_channel();
        let task = attempt::run(self.client.clone(), self.masters.clone(), call, queue, report);
        let task = AbortOnDropHandle::new(tokio::spawn(task));
        self.attempt = Some(Attempt { reports, calls, task, is_torn_down: false });
    }

    /// Closes both connections. TEARDOWN, if it is on its way, is sent before.
    pub(crate) fn disconnect(&mut self) {
        if let Some(Attempt { task, is_torn_down: true, .. }) = self.attempt.take() {
            // Without senders the attempt ends when its queue is empty.
            self.parting = Some(task);
        }
    }

    /// Sends a call behind those before it. Without a stream it is dropped.
    pub(crate) fn send(&mut self, call: Box<Call>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.is_torn_down |= call.r#type() == call::Type::Teardown;
            // If the stream has just ended, its report says so.
            let _ = attempt.calls.send(call);
        }
    }

    /// Waits for the next fact; for ever while there is no attempt. May be cancelled.
    pub(crate) async fn next(&mut self) -> Fact {
        let Some(attempt) = &mut self.attempt else { return pending().await };
        let report = attempt.reports.recv().await.unwrap_or(Report::Disconnected {
            why: "the task of the connection is gone".to_owned(),
        });
        match report {
            Report::Connected { master } => {
                self.masters.found(master);
                Fact::Connected
            }
            Report::Event(event) => Fact::Event(event),
            Report::ConnectFailed { failure, error } => {
                self.attempt = None;
                self.fatal = error.or(self.fatal.take());
                Fact::ConnectFailed(failure)
            }
            Report::Disconnected { why } => {
                self.attempt = None;
                Fact::Disconnected { why }
            }
            Report::CallFailed { call, why, leader } => {
                if let Some(leader) = leader {
                    self.masters.found(leader);
                }
                Fact::CallFailed { call, why }
            }
        }
    }

    /// Names why a session stopped, with what only the wire knows. None: it was asked for.
    pub(crate) fn error(&mut self, reason: StopReason) -> Option<SessionError> {
        match reason {
            StopReason::Requested => None,
            StopReason::FailedOver => Some(SessionError::TakenOver),
            StopReason::Rejected { message } => {
                Some(self.fatal.take().unwrap_or(SessionError::Refused { message }))
            }
            StopReason::Unreachable { why } => Some(SessionError::Unreachable { last: why }),
        }
    }

    /// Waits until TEARDOWN, if there was one, is answered.
    pub(crate) async fn finish(mut self) {
        self.disconnect();
        if let Some(task) = self.parting
            && timeout(PARTING, task).await.is_err()
        {
            tracing::warn!("the master did not answer TEARDOWN");
        }
    }
}
