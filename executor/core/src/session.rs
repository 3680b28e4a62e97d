//! The connection to the agent: when to open it, and when to give it up for good.
//!
//! Owns the link's state and its timers. Refuses to know what travels over it.
//! Called by the core.
//!
//! ```text
//!                ┌───────────────────── retry_at ─────────────────────┐
//!                ▼                                                    │
//!  start ──▶ Connecting ──200──▶ Subscribing ──SUBSCRIBED──▶ Subscribed
//!                │                    │                          │    │
//!                │ refused, broken    │ ended, broken, too slow  │    │
//!                └────────────────────┴──────────────────────────┴──▶ Waiting
//!                                                                     │
//!   a refusal that no retry heals, MESOS_CHECKPOINT=0 after           │ the recovery
//!   SUBSCRIBED, SHUTDOWN, ERROR ──────────▶ Closed ◀──────────────────┘ time-out
//! ```
//!
//! * **Connecting**: SUBSCRIBE was sent, no answer yet.
//! * **Subscribing**: the answer is a stream; its first event is to come.
//! * **Subscribed**: events flow, updates may be sent.
//! * **Waiting**: no connection; the next try has an instant.
//! * **Closed**: no connection will be opened again.
//!
//! An agent that restarts waits for its executors for two seconds only, so the
//! delay between tries is random and below half a second, whatever
//! `MESOS_SUBSCRIPTION_BACKOFF_MAX` allows. (Mesos 1.11, src/slave/slave.cpp,
//! `reregisterExecutorTimeout`; src/executor/executor.cpp, `backoff`.)

use std::time::{Duration, Instant};

use crate::{config::Checkpoint, ids::ConnectionId, random::Random};

/// How long an agent may take from SUBSCRIBE to SUBSCRIBED before we try anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest delay between two tries.
const DELAY_MAX: Duration = Duration::from_millis(500);
/// Longest delay before the first retry; doubled each time.
const DELAY_FIRST: Duration = Duration::from_millis(50);
/// How long the first subscription is tried for when there is no recovery time-out.
const FIRST_LIMIT: Duration = Duration::from_secs(60);

/// The connection and its timers.
#[derive(Debug)]
pub(crate) struct Session {
    checkpoint: Checkpoint,
    link: Link,
    last: ConnectionId,
    outage: Outage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Connecting { until: Instant },
    Subscribing { until: Instant },
    Subscribed,
    Waiting { retry_at: Instant },
    Closed,
}

/// The time without a subscription.
#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    tries: u32,
    /// Whether this is the time before the first subscription.
    first: bool,
}

/// What to do about a lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Wait, then try again.
    Retry { after: Duration },
    /// The agent will not know this executor again.
    GiveUp,
}

/// What time has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Open a connection.
    Connect,
    /// The agent does not answer: the connection counts as lost.
    TooSlow,
    /// The time for trying is over.
    GiveUp,
}

impl Session {
    pub(crate) fn new(now: Instant, checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            link: Link::Waiting { retry_at: now },
            last: ConnectionId::default(),
            outage: Outage { since: now, tries: 0, first: true },
        }
    }

    /// Starts a connection and names it. One that was subscribed counts as lost.
    pub(crate) fn connect(&mut self, now: Instant) -> ConnectionId {
        self.begin_outage(now);
        self.link = Link::Connecting { until: now + ANSWER_LIMIT };
        self.last.next()
    }

    /// Whether something about connection `id` is about the present.
    pub(crate) fn is_current(&self, id: ConnectionId) -> bool {
        match self.link {
            Link::Connecting { .. } | Link::Subscribing { .. } | Link::Subscribed => {
                id == self.last
            }
            Link::Waiting { .. } | Link::Closed => false,
        }
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        self.link == Link::Subscribed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.link == Link::Closed
    }

    /// Handles the answer 200.
    pub(crate) fn handle_connected(&mut self, now: Instant) {
        match self.link {
            Link::Connecting { .. } => self.link = Link::Subscribing { until: now + ANSWER_LIMIT },
            Link::Subscribing { .. } | Link::Subscribed | Link::Waiting { .. } | Link::Closed => {}
        }
    }

    /// Handles SUBSCRIBED.
    pub(crate) fn handle_subscribed(&mut self) {
        self.link = Link::Subscribed;
    }

    /// Handles the end of the connection, whoever ended it.
    pub(crate) fn handle_lost(&mut self, now: Instant, random: &mut Random) -> Lost {
        self.begin_outage(now);
        if self.checkpoint == Checkpoint::Off && !self.outage.first {
            self.close();
            return Lost::GiveUp;
        }
        let grown = DELAY_FIRST.saturating_mul(1 << self.outage.tries.min(8));
        let after = random.up_to(grown.min(DELAY_MAX).min(self.backoff_max()));
        self.outage.tries += 1;
        self.link = Link::Waiting { retry_at: now + after };
        Lost::Retry { after }
    }

    fn begin_outage(&mut self, now: Instant) {
        if self.link == Link::Subscribed {
            self.outage = Outage { since: now, tries: 0, first: false };
        }
    }

    /// Ends it for good.
    pub(crate) fn close(&mut self) {
        self.link = Link::Closed;
    }

    /// When [`Self::due`] is to be asked.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.link {
            Link::Connecting { until } | Link::Subscribing { until } => {
                Some(until.min(self.give_up_at()))
            }
            Link::Waiting { retry_at } => Some(retry_at.min(self.give_up_at())),
            Link::Subscribed | Link::Closed => None,
        }
    }

    /// What time has brought by `now`.
    pub(crate) fn due(&self, now: Instant) -> Option<Due> {
        if self.wake_at().is_none_or(|at| now < at) {
            return None;
        }
        if now >= self.give_up_at() {
            return Some(Due::GiveUp);
        }
        match self.link {
            Link::Waiting { .. } => Some(Due::Connect),
            Link::Connecting { .. } | Link::Subscribing { .. } => Some(Due::TooSlow),
            Link::Subscribed | Link::Closed => None,
        }
    }

    fn give_up_at(&self) -> Instant {
        self.outage.since
            + match self.checkpoint {
                Checkpoint::Off => FIRST_LIMIT,
                Checkpoint::On { recovery_timeout, .. } => recovery_timeout,
            }
    }

    fn backoff_max(&self) -> Duration {
        match self.checkpoint {
            Checkpoint::Off => DELAY_MAX,
            Checkpoint::On { backoff_max, .. } => backoff_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Checkpoint = Checkpoint::On {
        recovery_timeout: Duration::from_secs(900),
        backoff_max: Duration::from_secs(2),
    };

    fn subscribed(now: Instant, checkpoint: Checkpoint) -> Session {
        let mut session = Session::new(now, checkpoint);
        let id = session.connect(now);
        assert!(session.is_current(id));
        session.handle_connected(now);
        session.handle_subscribed();
        session
    }

    #[test]
    fn retries_stay_below_half_a_second_and_end() {
        let start = Instant::now();
        let mut random = Random::new([3; 32]);
        let mut session = subscribed(start, ON);
        let mut now = start;
        let mut tries = 0;
        loop {
            let Lost::Retry { after } = session.handle_lost(now, &mut random) else { panic!() };
            assert!(after <= DELAY_MAX);
            now = session.wake_at().unwrap();
            match session.due(now).unwrap() {
                Due::Connect => _ = session.connect(now),
                Due::GiveUp => break,
                Due::TooSlow => panic!(),
            }
            tries += 1;
        }
        assert_eq!(now, start + Duration::from_secs(900));
        assert!(tries > 1800, "{tries}");
    }

    #[test]
    fn without_checkpoint_the_first_loss_is_the_last() {
        let now = Instant::now();
        let mut session = subscribed(now, Checkpoint::Off);
        assert_eq!(session.handle_lost(now, &mut Random::new([0; 32])), Lost::GiveUp);
        assert!(session.is_closed());
        assert_eq!(session.wake_at(), None);
    }

    #[test]
    fn before_the_first_subscription_it_tries_for_a_minute() {
        let start = Instant::now();
        let mut session = Session::new(start, Checkpoint::Off);
        assert_eq!(session.due(start), Some(Due::Connect));
        session.connect(start);
        let lost = session.handle_lost(start, &mut Random::new([0; 32]));
        assert!(matches!(lost, Lost::Retry { .. }));
        assert_eq!(session.due(start + FIRST_LIMIT), Some(Due::GiveUp));
    }

    #[test]
    fn an_agent_that_says_nothing_is_left() {
        let start = Instant::now();
        let mut session = Session::new(start, ON);
        let id = session.connect(start);
        session.handle_connected(start);
        assert_eq!(session.due(start + ANSWER_LIMIT), Some(Due::TooSlow));
        session.handle_lost(start, &mut Random::new([0; 32]));
        assert!(!session.is_current(id));
    }
}
