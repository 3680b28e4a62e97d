//! The subscription to a master: ids, heartbeats, errors, reconnection.
//!
//! Owns when to subscribe and with what, and when a stream counts as dead. Refuses to know
//! what the framework does: every other event is handed on. Called by [`Core`](crate::Core),
//! and by frameworks that decide everything else themselves.

use marmoset_proto::mesos::v1::{
    FrameworkId, MasterInfo,
    scheduler::{Call, Event},
};

/// What the connection tells the session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionInput {
    /// The SUBSCRIBE was answered with 200: events follow.
    Connected,
    /// The attempt ended without a stream.
    ConnectFailed(ConnectFailure),
    /// An event arrived.
    Event(Box<Event>),
    /// The stream ended.
    Disconnected {
        /// Why.
        why: String,
    },
    /// A call was not taken.
    CallFailed(CallFailure),
    /// The moment of [`Session::poll_wake`] has come.
    Wake,
    /// Nothing more is to be done: the session ends.
    Stop,
}

/// Why an attempt to subscribe ended without a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectFailure {
    /// No connection, no answer, no leader, 5xx: worth another attempt.
    Unavailable {
        /// Why.
        why: String,
    },
    /// It will not get better by itself: 400, 401, 403, not a master at all.
    Fatal {
        /// Why, and what to do.
        why: String,
    },
}

/// Why a call was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFailure {
    /// The master refused the call itself (400): it had no effect.
    Refused {
        /// What it said.
        why: String,
    },
    /// The master does not know this stream or framework (403, 404, 409), does not lead any more (307)
    /// or is not ready (503): it had no effect, and a new subscription is due.
    NotSubscribed {
        /// What it said.
        why: String,
    },
    /// The connection failed: it may have had its effect or not.
    Broken {
        /// How.
        why: String,
    },
}

/// What the session wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionAction {
    /// Open a connection to the leading master and send this.
    Subscribe(Box<Call>),
    /// Close both connections. Nothing of them is to be reported afterwards.
    Disconnect {
        /// Why.
        why: String,
    },
    /// Keep this id where it survives this process, before anything else is done.
    StoreFrameworkId(FrameworkId),
    /// There is a subscription now: all earlier offers are void.
    Subscribed {
        /// Under this id.
        framework_id: FrameworkId,
        /// The leader.
        master: Option<Box<MasterInfo>>,
    },
    /// The subscription is over; another attempt follows.
    Unsubscribed {
        /// Why.
        why: String,
    },
    /// The master removed the framework: all that ran is killed, the id is void.
    FrameworkRemoved,
    /// An event that is not the session's own.
    Event(Box<Event>),
    /// The session is over for good.
    Stopped(StopReason),
}

/// Why a session is over for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked for.
    Requested,
    /// Another instance of the framework took over.
    FailedOver,
    /// The master refuses the framework.
    Rejected {
        /// What it said.
        message: String,
    },
    /// No master in the time that was given.
    Unreachable {
        /// What the last attempt said.
        why: String,
    },
}
