//! The executor's side of its subscription: when to try again, what to repeat.
//!
//! ```text
//!               SUBSCRIBED                 stream or call broke
//!  Connecting ─────────────▶ Connected ─────────────────────────▶ Waiting
//!      ▲  │ not now (503, 404, refused)                           │  │
//!      │  └───────────────────────────────────────────────────────┘  │ gave up, or the
//!      └──────────────────────────── pause over ───────────────────┘  │ agent will not return
//!                                                                    ▼
//!                                                                Orphaned
//! ```
//!
//! An update stays in the ledger until it is acknowledged; the task stays until
//! one of its updates is. Both are repeated in every SUBSCRIBE.

use std::time::{Duration, Instant};

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    TaskInfo, TaskStatus,
    executor::{Call, call},
};

use super::config::{Config, Recovery};

/// Before the first subscription, and after a refusal that will pass.
const RETRY: Duration = Duration::from_millis(200);
/// How long an agent that never answered is tried.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Connecting,
    Connected,
    Waiting { until: Instant },
    Orphaned,
}

/// What a change of the connection means for the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It will be tried again.
    Temporary,
    /// There is no agent any more.
    Final,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    config: Config,
    link: Link,
    /// Whether the agent ever had this executor.
    subscribed: bool,
    /// Since when there is no agent.
    lost: Option<Instant>,
    tasks: Vec<TaskInfo>,
    updates: Vec<TaskStatus>,
    /// How many of the updates the agent was sent on this connection.
    sent: usize,
}

impl Session {
    /// Makes one that is to subscribe at once.
    pub(super) fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            link: Link::Waiting { until: now },
            subscribed: false,
            lost: None,
            tasks: Vec::new(),
            updates: Vec::new(),
            sent: 0,
        }
    }

    /// Who and where.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// When [`Session::poll_subscribe`] has something.
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        match self.link {
            Link::Waiting { until } => Some(until),
            Link::Connecting | Link::Connected | Link::Orphaned => None,
        }
    }

    /// Yields the SUBSCRIBE to send, once it is time.
    pub(super) fn poll_subscribe(&mut self, now: Instant) -> Option<Call> {
        if self.poll_wake().is_none_or(|at| at > now) {
            return None;
        }
        self.link = Link::Connecting;
        self.sent = self.updates.len();
        let updates = self.updates.iter().cloned().map(|status| call::Update { status });
        Some(Call {
            subscribe: Some(call::Subscribe {
                unacknowledged_tasks: self.tasks.clone(),
                unacknowledged_updates: updates.collect(),
            }),
            ..self.call(call::Type::Subscribe)
        })
    }

    /// Yields the next UPDATE to send, while there is a connection.
    pub(super) fn poll_update(&mut self) -> Option<Call> {
        if self.link != Link::Connected {
            return None;
        }
        let status = self.updates.get(self.sent)?.clone();
        self.sent += 1;
        Some(Call { update: Some(call::Update { status }), ..self.call(call::Type::Update) })
    }

    /// SUBSCRIBED came.
    pub(super) fn handle_subscribed(&mut self) {
        self.link = Link::Connected;
        self.subscribed = true;
        self.lost = None;
    }

    /// The connection broke, or could not be made. `jitter` is in 0..1.
    pub(super) fn handle_lost(&mut self, now: Instant, jitter: f64) -> Loss {
        if self.link == Link::Orphaned {
            return Loss::Final;
        }
        let lost = *self.lost.get_or_insert(now);
        let pause = match self.config.recovery {
            _ if !self.subscribed && now < lost + PATIENCE => RETRY,
            Some(Recovery { timeout, backoff }) if self.subscribed && now < lost + timeout => {
                backoff.mul_f64(jitter).min(RETRY * 5)
            }
            Some(_) | None => return self.orphan(),
        };
        self.link = Link::Waiting { until: now + pause };
        Loss::Temporary
    }

    fn orphan(&mut self) -> Loss {
        self.link = Link::Orphaned;
        Loss::Final
    }

    /// Whether nobody will acknowledge anything any more.
    pub(super) fn is_orphaned(&self) -> bool {
        self.link == Link::Orphaned
    }

    /// Remembers a task until one of its updates is acknowledged.
    pub(super) fn add_task(&mut self, task: TaskInfo) {
        self.tasks.push(task);
    }

    /// Takes an update over.
    pub(super) fn add_update(&mut self, status: TaskStatus) {
        self.updates.push(status);
    }

    /// The agent has an update.
    pub(super) fn handle_acknowledged(&mut self, uuid: &Bytes) {
        let Some(at) = self.updates.iter().position(|update| update.uuid.as_ref() == Some(uuid))
        else {
            return;
        };
        let update = self.updates.remove(at);
        if at < self.sent {
            self.sent -= 1;
        }
        self.tasks.retain(|task| task.task_id != update.task_id);
    }

    fn call(&self, kind: call::Type) -> Call {
        Call {
            executor_id: self.config.executor.clone(),
            framework_id: self.config.framework.clone(),
            r#type: Some(kind.into()),
            ..Call::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(recovery: Option<Recovery>) -> (Session, Instant) {
        let now = Instant::now();
        let config = Config {
            endpoint: String::new(),
            framework: "f".into(),
            executor: "e".into(),
            shutdown_grace: Duration::from_secs(5),
            recovery,
            place: None,
        };
        (Session::new(config, now), now)
    }

    fn update(number: u8) -> TaskStatus {
        TaskStatus {
            task_id: "t".into(),
            uuid: Some(Bytes::from(vec![number; 16])),
            ..TaskStatus::default()
        }
    }

    fn sent(call: Option<Call>) -> Option<u8> {
        Some(call?.update?.status.uuid?[0])
    }

    #[test]
    fn updates_wait_for_the_subscription_and_are_repeated_in_the_next() {
        let recovery =
            Recovery { timeout: Duration::from_secs(60), backoff: Duration::from_secs(2) };
        let (mut session, now) = session(Some(recovery));
        assert!(
            session.poll_subscribe(now).unwrap().subscribe.unwrap().unacknowledged_tasks.is_empty()
        );
        session.add_task(TaskInfo { task_id: "t".into(), ..TaskInfo::default() });
        session.add_update(update(1));
        assert_eq!(session.poll_update(), None);
        session.handle_subscribed();
        assert_eq!(sent(session.poll_update()), Some(1));
        assert_eq!(sent(session.poll_update()), None);
        session.add_update(update(2));
        assert_eq!(session.handle_lost(now, 0.5), Loss::Temporary);
        assert_eq!(sent(session.poll_update()), None);
        let later = session.poll_wake().unwrap();
        assert_eq!(later, now + Duration::from_secs(1));
        let subscribe = session.poll_subscribe(later).unwrap().subscribe.unwrap();
        assert_eq!(subscribe.unacknowledged_tasks.len(), 1);
        assert_eq!(subscribe.unacknowledged_updates.len(), 2);
        session.add_update(update(3));
        session.handle_subscribed();
        assert_eq!(sent(session.poll_update()), Some(3));
        session.handle_acknowledged(&update(1).uuid.unwrap());
        session.add_update(update(4));
        assert_eq!(sent(session.poll_update()), Some(4));
        assert!(session.tasks.is_empty());
        assert_eq!(session.updates.len(), 3);
    }

    #[test]
    fn without_checkpointing_a_lost_agent_is_lost_for_ever() {
        let (mut session, now) = session(None);
        session.poll_subscribe(now);
        for second in [0, 1, 59] {
            let at = now + Duration::from_secs(second);
            assert_eq!(session.handle_lost(at, 0.0), Loss::Temporary, "it never was there");
        }
        session.handle_subscribed();
        assert_eq!(session.handle_lost(now, 0.0), Loss::Final);
        assert_eq!(session.poll_wake(), None);
    }

    #[test]
    fn with_checkpointing_it_is_given_up_after_the_recovery_timeout() {
        let recovery =
            Recovery { timeout: Duration::from_secs(60), backoff: Duration::from_secs(2) };
        let (mut session, now) = session(Some(recovery));
        session.handle_subscribed();
        assert_eq!(session.handle_lost(now, 0.9), Loss::Temporary);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(session.handle_lost(at(59), 0.9), Loss::Temporary);
        assert_eq!(session.handle_lost(at(60), 0.9), Loss::Final);
    }
}
