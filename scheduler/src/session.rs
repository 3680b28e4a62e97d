//! The session of a framework with its master, for frameworks that decide for themselves.
//!
//! Owns the connection for as long as the framework lives: subscribing, finding
//! and remembering the leader, noticing silence, subscribing again with the same
//! id after a random, growing pause. Decides nothing about offers or tasks and
//! stores nothing: whoever wants to survive a restart keeps the framework id.
//! When to do what is decided by [`marmoset_scheduler_core::Session`], which has
//! the states; the wire is `link`. Called by [`drive`](crate::drive), or directly:
//!
//! ```no_run
//! # async fn example() -> Result<(), marmoset_scheduler::SessionError> {
//! use marmoset_scheduler::{ConnectionConfig, Identity, Session, SessionConfig, SessionEvent};
//!
//! let connection = ConnectionConfig::new(vec!["127.0.0.1:5050".to_owned()]);
//! let framework = Identity::new("listener", "root");
//! let mut session = Session::start(SessionConfig::new(connection, framework))?;
//! loop {
//!     match session.next().await? {
//!         SessionEvent::Subscribed { framework_id, .. } => println!("we are {framework_id}"),
//!         SessionEvent::Event(event) => println!("{:?}", event.r#type()),
//!         SessionEvent::Unsubscribed { why } => println!("trying again: {why}"),
//!         SessionEvent::Removed => println!("all tasks are gone"),
//!     }
//! }
//! # }
//! ```

use marmoset_proto::mesos::v1::{
    FrameworkId, MasterInfo,
    scheduler::{Call, Event, call},
};
use marmoset_scheduler_core::{self as core, Framework, SessionAction, SessionInput, Timing};

use crate::{
    config::ConnectionConfig,
    error::SessionError,
    link::{Fact, Link},
    time::{now, until},
};

/// Who subscribes, and where.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Where the masters are.
    pub connection: ConnectionConfig,
    /// What the framework says of itself. With an id it takes up its former life.
    pub framework: Framework,
    /// Back-off, time-outs, and how long a first answer is waited for.
    pub timing: Timing,
}

impl SessionConfig {
    /// The usual timers: it looks for a master for ever.
    pub fn new(connection: ConnectionConfig, framework: Framework) -> Self {
        Self { connection, framework, timing: Timing::default() }
    }
}

/// News of a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// The framework is subscribed; all offers it held before are void.
    Subscribed {
        /// Its id; to be stored before anything else is done.
        framework_id: FrameworkId,
        /// The leader, as far as it told.
        master: Option<Box<MasterInfo>>,
    },
    /// Any event but SUBSCRIBED, HEARTBEAT and ERROR, which are the session's own.
    Event(Box<Event>),
    /// There is no subscription, or not any more; another attempt follows.
    Unsubscribed {
        /// Why, with all causes.
        why: String,
    },
    /// The master has removed the framework: all its tasks are gone. It subscribes as a new one.
    Removed,
}

/// A call was made while there is no subscription; it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not subscribed to a master")]
pub struct NotSubscribed;

/// A framework's session. Dropping it ends it without a TEARDOWN: the master keeps the
/// framework's tasks for its failover time-out.
#[derive(Debug)]
pub struct Session {
    core: core::Session,
    link: Link,
}

impl Session {
    /// Starts to look for the leading master. Returns at once.
    ///
    /// # Errors
    /// An address, the credentials or the certificates cannot be used.
    pub fn start(config: SessionConfig) -> Result<Self, SessionError> {
        let link = Link::new(&config.connection, config.framework.principal.as_deref())?;
        let core = core::Session::new(now(), config.framework, config.timing, rand::random());
        Ok(Self { core, link })
    }

    /// Waits for the next piece of news. May be cancelled without losing one.
    ///
    /// # Errors
    /// The session is over.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn next(&mut self) -> Result<SessionEvent, SessionError> {
        loop {
            while let Some(action) = self.core.poll_action() {
                if let Some(event) = self.perform(action)? {
                    return Ok(event);
                }
            }
            let input = tokio::select! {
                biased;
                fact = self.link.next() => input(fact),
                () = until(self.core.poll_wake()) => SessionInput::Wake,
            };
            self.core.handle(now(), input);
        }
    }

    fn perform(&mut self, action: SessionAction) -> Result<Option<SessionEvent>, SessionError> {
        Ok(match action {
            SessionAction::Subscribe(call) => {
                self.link.subscribe(*call);
                None
            }
            SessionAction::Disconnect { why } => {
                tracing::debug!(why, "closing the connection");
                self.link.disconnect();
                None
            }
            // Told with `Subscribed`, which follows.
            SessionAction::StoreFrameworkId(_) => None,
            SessionAction::Subscribed { framework_id, master } => {
                Some(SessionEvent::Subscribed { framework_id, master })
            }
            SessionAction::Unsubscribed { why } => Some(SessionEvent::Unsubscribed { why }),
            SessionAction::FrameworkRemoved => Some(SessionEvent::Removed),
            SessionAction::Event(event) => Some(SessionEvent::Event(event)),
            SessionAction::Stopped(reason) => {
                return Err(self.link.error(reason).unwrap_or(SessionError::Ended));
            }
        })
    }

    /// Sends a call behind those before it; the framework id is filled in. Does not wait: what
    /// the master makes of it is told by events.
    ///
    /// # Errors
    /// There is no subscription: the call is dropped.
    pub fn send(&mut self, call: Call) -> Result<(), NotSubscribed> {
        if !self.core.is_subscribed() {
            return Err(NotSubscribed);
        }
        let framework_id = self.core.framework_id().cloned();
        self.link.send(Box::new(Call { framework_id, ..call }));
        Ok(())
    }

    /// Removes the framework from the master: its tasks are killed, its executors shut down.
    ///
    /// Waits a few seconds at most. Without a subscription it only ends the session.
    pub async fn teardown(mut self) {
        // Not subscribed: then there is nobody to tell.
        let _ = self.send(self.core.call(call::Type::Teardown));
        self.link.finish().await;
    }

    /// The framework's id, once there is one.
    pub fn framework_id(&self) -> Option<&FrameworkId> {
        self.core.framework_id()
    }
}

fn input(fact: Fact) -> SessionInput {
    match fact {
        Fact::Connected => SessionInput::Connected,
        Fact::ConnectFailed(failure) => SessionInput::ConnectFailed(failure),
        Fact::Event(event) => SessionInput::Event(event),
        Fact::Disconnected { why } => SessionInput::Disconnected { why },
        Fact::CallFailed { call, why } => {
            tracing::warn!(call = call.r#type().as_str_name(), ?why, "a call was not taken");
            SessionInput::CallFailed(why)
        }
    }
}
