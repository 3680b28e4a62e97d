//! The subscription to a master: ids, heartbeats, errors, reconnection.
//!
//! Owns when to subscribe and with what, and when a stream counts as dead. Refuses to know
//! what the framework does: every other event is handed on. Called by [`Core`](crate::Core),
//! and by frameworks that decide everything else themselves.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use marmoset_proto::mesos::v1::{
    FrameworkId, MasterInfo,
    scheduler::{Call, Event, call, event},
};

use crate::{
    clock::Now,
    config::{Framework, Timing},
    rng::Rng,
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
    /// Nothing more is to be done: the session ends. Calls that were sent before are still to
    /// be delivered; [`SessionAction::Disconnect`] does not follow.
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

/// ```text
///               ┌────────────── back-off over ────────────────┐
///               ▼                                             │
///  new ──▶ Connecting ──Connected──▶ Subscribing ─┐           │
///               │                        │   SUBSCRIBED       │
///               │ ConnectFailed          │        ▼           │
///               │ timeout         ended, │    Subscribed      │
///               │                 timeout│        │ ended, silence
///               └────────────▶ Waiting ◀─┴────────┘───────────┘
///                                 │
///   Stop, ERROR, patience over ───┴──▶ Stopped
/// ```
#[derive(Debug, Clone)]
enum Phase {
    /// An attempt was asked for.
    Connecting { until: Instant },
    /// The stream is there; its first event is not.
    Subscribing { until: Instant },
    /// Events flow; silence until then means that the stream is dead.
    Subscribed { heartbeat: Duration, silent_at: Instant },
    /// The next attempt is due then.
    Waiting { until: Instant },
    /// Over for good.
    Stopped,
}

/// The subscription of one framework.
#[derive(Debug)]
pub struct Session {
    framework: Framework,
    timing: Timing,
    rng: Rng,
    id: Option<FrameworkId>,
    phase: Phase,
    /// Attempts that ended without SUBSCRIBED, since the last one.
    failures: u32,
    /// Until when the first SUBSCRIBED is waited for.
    patience: Option<Instant>,
    /// What the last attempt ended with.
    last_failure: String,
    /// Whether the next subscription starts with all roles suppressed.
    suppressed: bool,
    /// Whether the last one did.
    started_suppressed: bool,
    actions: VecDeque<SessionAction>,
}

impl Session {
    /// A session that subscribes at once.
    pub fn new(now: Now, framework: Framework, timing: Timing, seed: u64) -> Self {
        let id = framework.id.clone();
        let patience = timing.patience.map(|patience| now.instant + patience);
        let mut session = Self {
            framework,
            timing,
            rng: Rng::new(seed),
            id,
            phase: Phase::Waiting { until: now.instant },
            failures: 0,
            patience,
            last_failure: String::from("no answer from any master"),
            suppressed: false,
            started_suppressed: false,
            actions: VecDeque::new(),
        };
        session.connect(now.instant);
        session
    }

    /// The id under which calls are made, once there is one.
    pub fn framework_id(&self) -> Option<&FrameworkId> {
        self.id.as_ref()
    }

    /// Whether calls can be made.
    pub fn is_subscribed(&self) -> bool {
        matches!(self.phase, Phase::Subscribed { .. })
    }

    /// Whether the session is over for good.
    pub fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Says whether the next subscription starts with all roles suppressed.
    pub fn suppress_on_subscribe(&mut self, suppressed: bool) {
        self.suppressed = suppressed;
    }

    /// Whether the subscription started with all roles suppressed.
    pub fn started_suppressed(&self) -> bool {
        self.started_suppressed
    }

    /// Gives a call with the framework's id in it.
    pub fn call(&self, kind: call::Type) -> Call {
        Call { framework_id: self.id.clone(), r#type: Some(kind.into()), ..Call::default() }
    }

    /// Gives the next thing to do.
    pub fn poll_action(&mut self) -> Option<SessionAction> {
        self.actions.pop_front()
    }

    /// When [`SessionInput::Wake`] is due.
    pub fn poll_wake(&self) -> Option<Instant> {
        let due = match self.phase {
            Phase::Connecting { until }
            | Phase::Subscribing { until }
            | Phase::Waiting { until } => until,
            Phase::Subscribed { silent_at, .. } => return Some(silent_at),
            Phase::Stopped => return None,
        };
        Some(self.patience.map_or(due, |patience| due.min(patience)))
    }

    /// Takes a fact.
    pub fn handle(&mut self, now: Now, input: SessionInput) {
        if self.is_stopped() {
            return;
        }
        match input {
            SessionInput::Connected => {
                if matches!(self.phase, Phase::Connecting { .. }) {
                    let until = now.instant + self.timing.subscribe_timeout;
                    self.phase = Phase::Subscribing { until };
                }
            }
            SessionInput::ConnectFailed(failure) => self.connect_failed(now.instant, failure),
            SessionInput::Event(event) => self.event(now.instant, event),
            SessionInput::Disconnected { why } => match self.phase {
                Phase::Connecting { .. } | Phase::Subscribing { .. } | Phase::Subscribed { .. } => {
                    self.lose(now.instant, why);
                }
                Phase::Waiting { .. } | Phase::Stopped => {}
            },
            SessionInput::CallFailed(failure) => match failure {
                CallFailure::Refused { .. } => {}
                CallFailure::NotSubscribed { why } | CallFailure::Broken { why } => {
                    if self.is_subscribed() {
                        self.disconnect(&why);
                        self.lose(now.instant, why);
                    }
                }
            },
            SessionInput::Wake => self.wake(now.instant),
            SessionInput::Stop => self.stop(StopReason::Requested),
        }
    }

    fn connect(&mut self, now: Instant) {
        let mut call = self.call(call::Type::Subscribe);
        let suppressed_roles =
            if self.suppressed { self.framework.roles.clone() } else { Vec::new() };
        call.subscribe = Some(call::Subscribe {
            framework_info: self.framework.to_proto(self.id.as_ref()),
            suppressed_roles,
            offer_constraints: None,
        });
        self.started_suppressed = self.suppressed;
        self.phase = Phase::Connecting { until: now + self.timing.subscribe_timeout };
        self.actions.push_back(SessionAction::Subscribe(Box::new(call)));
    }

    fn connect_failed(&mut self, now: Instant, failure: ConnectFailure) {
        match (&self.phase, failure) {
            (Phase::Connecting { .. }, ConnectFailure::Unavailable { why }) => self.lose(now, why),
            (Phase::Connecting { .. }, ConnectFailure::Fatal { why }) => {
                self.stop(StopReason::Rejected { message: why });
            }
            (
                Phase::Subscribing { .. }
                | Phase::Subscribed { .. }
                | Phase::Waiting { .. }
                | Phase::Stopped,
                ConnectFailure::Unavailable { .. } | ConnectFailure::Fatal { .. },
            ) => {}
        }
    }

    fn event(&mut self, now: Instant, event: Box<Event>) {
        // An event that is still on its way from a stream that was given up.
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Connecting { .. }) {
            return;
        }
        if let Phase::Subscribed { heartbeat, silent_at } = &mut self.phase {
            *silent_at = now + *heartbeat * self.timing.missed_heartbeats;
        }
        match event.r#type() {
            event::Type::Subscribed => {
                if let Some(subscribed) = event.subscribed {
                    self.subscribed(now, subscribed);
                }
            }
            event::Type::Error => {
                let message = event.error.map(|error| error.message).unwrap_or_default();
                self.error(now, message);
            }
            event::Type::Heartbeat => {}
            event::Type::Unknown
            | event::Type::Offers
            | event::Type::InverseOffers
            | event::Type::Rescind
            | event::Type::RescindInverseOffer
            | event::Type::Update
            | event::Type::UpdateOperationStatus
            | event::Type::Message
            | event::Type::Failure => self.actions.push_back(SessionAction::Event(event)),
        }
    }

    fn subscribed(&mut self, now: Instant, subscribed: event::Subscribed) {
        let heartbeat = subscribed
            .heartbeat_interval_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|interval| !interval.is_zero())
            .unwrap_or(DEFAULT_HEARTBEAT)
            .min(LONGEST_HEARTBEAT);
        let silent_at = now + heartbeat * self.timing.missed_heartbeats;
        self.phase = Phase::Subscribed { heartbeat, silent_at };
        self.failures = 0;
        self.patience = None;
        let framework_id = subscribed.framework_id;
        if self.id.as_ref() != Some(&framework_id) {
            self.id = Some(framework_id.clone());
            self.actions.push_back(SessionAction::StoreFrameworkId(framework_id.clone()));
        }
        let master = subscribed.master_info.map(Box::new);
        self.actions.push_back(SessionAction::Subscribed { framework_id, master });
    }

    /// The master closes the stream behind an ERROR.
    fn error(&mut self, now: Instant, message: String) {
        self.disconnect(&message);
        if message.contains("Framework failed over") {
            self.stop(StopReason::FailedOver);
        } else if message.contains("Framework has been removed") && self.id.is_some() {
            self.id = None;
            self.actions.push_back(SessionAction::FrameworkRemoved);
            self.lose(now, message);
        } else {
            self.stop(StopReason::Rejected { message });
        }
    }

    fn wake(&mut self, now: Instant) {
        if self.patience.is_some_and(|patience| patience <= now) {
            self.disconnect("no subscription in time");
            let why = self.last_failure.clone();
            return self.stop(StopReason::Unreachable { why });
        }
        match self.phase {
            Phase::Connecting { until } | Phase::Subscribing { until } if until <= now => {
                self.disconnect("no answer to SUBSCRIBE");
                self.lose(now, String::from("no answer to SUBSCRIBE"));
            }
            Phase::Subscribed { silent_at, .. } if silent_at <= now => {
                self.disconnect("the master is silent");
                self.lose(now, String::from("the master is silent"));
            }
            Phase::Waiting { until } if until <= now => self.connect(now),
            Phase::Connecting { .. }
            | Phase::Subscribing { .. }
            | Phase::Subscribed { .. }
            | Phase::Waiting { .. }
            | Phase::Stopped => {}
        }
    }

    fn disconnect(&mut self, why: &str) {
        match self.phase {
            Phase::Connecting { .. } | Phase::Subscribing { .. } | Phase::Subscribed { .. } => {
                self.actions.push_back(SessionAction::Disconnect { why: why.to_owned() });
            }
            Phase::Waiting { .. } | Phase::Stopped => {}
        }
    }

    /// Waits a random time before the next attempt; longer after each failure.
    fn lose(&mut self, now: Instant, why: String) {
        let doubled = 2_u32.saturating_pow(self.failures.min(16));
        let longest = self
            .timing
            .connect_backoff
            .saturating_mul(doubled)
            .min(self.timing.connect_backoff_max);
        self.failures = self.failures.saturating_add(1);
        self.last_failure.clone_from(&why);
        self.phase = Phase::Waiting { until: now + self.rng.up_to(longest) };
        self.actions.push_back(SessionAction::Unsubscribed { why });
    }

    fn stop(&mut self, reason: StopReason) {
        self.phase = Phase::Stopped;
        self.actions.push_back(SessionAction::Stopped(reason));
    }
}

/// What masters use unless they are told otherwise.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);
/// A longer one is a mistake that would hide a dead stream.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(3600);
