//! What the agent says, and what the state of the connection means.

use marmoset_proto::mesos::v1::{
    TaskId,
    executor::{Call, Event, call, event},
    framework_info::capability,
};

use super::{ACKNOWLEDGEMENT_LIMIT, Core, Life};
use crate::{
    action::{Action, Exit},
    ids::{CallId, UpdateId},
    input::Disconnection,
    ledger::Acknowledged,
    note::Note,
    session::{Due, Lost},
    task::KeptInfo,
    time::Now,
};

impl Core {
    pub(super) fn handle_event(&mut self, now: Now, event: Event) {
        let kind = event.r#type();
        match kind {
            event::Type::Subscribed => {
                if let Some(subscribed) = event.subscribed {
                    return self.handle_subscribed(subscribed);
                }
            }
            event::Type::Launch => {
                if let Some(launch) = event.launch {
                    return self.launch(now, vec![launch.task], None);
                }
            }
            event::Type::LaunchGroup => {
                if let Some(launch) = event.launch_group {
                    let group = self.last_group.next();
                    return self.launch(now, launch.task_group.tasks, Some(group));
                }
            }
            event::Type::Kill => {
                if let Some(kill) = event.kill {
                    return self.handle_kill(now, kill);
                }
            }
            event::Type::Acknowledged => {
                if let Some(acknowledged) = event.acknowledged {
                    let id = UpdateId::from_bytes(&acknowledged.uuid);
                    return self.handle_acknowledged(now, acknowledged.task_id, id);
                }
            }
            event::Type::Message => {
                if let Some(message) = event.message {
                    return self.handle_message(now, &message.data);
                }
            }
            event::Type::Error => {
                let message = event.error.map(|error| error.message).unwrap_or_default();
                let reason = format!("the agent reported an error: {message}");
                return self.drain(now, reason.clone(), Exit::Refused(reason));
            }
            event::Type::Shutdown => {
                return self.drain(now, "the agent ordered it".to_string(), Exit::Ordered);
            }
            event::Type::Heartbeat => return,
            event::Type::Unknown => {}
        }
        self.note(Note::EventIgnored { kind: kind.as_str_name().to_string() });
    }

    fn handle_subscribed(&mut self, subscribed: event::Subscribed) {
        self.session.handle_subscribed();
        let capabilities = &subscribed.framework_info.capabilities;
        self.killing_state = capabilities
            .iter()
            .any(|capability| capability.r#type() == capability::Type::TaskKillingState);
        let note = Note::Subscribed {
            agent: subscribed.agent_info.id.map(|id| id.value).unwrap_or_default(),
            tasks: self.tasks.values().filter(|task| task.info.is_some()).count(),
            updates: self.ledger.len(),
        };
        self.note(note);
    }

    fn handle_acknowledged(&mut self, now: Now, task: TaskId, id: Option<UpdateId>) {
        let known = id.map_or(Acknowledged::Unknown, |id| self.ledger.acknowledge(&task, id));
        match known {
            Acknowledged::Unknown => {
                self.note(Note::AcknowledgementIgnored { task, update: id });
            }
            Acknowledged::Earlier => {
                if let Some(entry) = self.tasks.get_mut(&task) {
                    entry.info = None;
                }
                // A batch may report again.
                self.settle(now, &task);
            }
            Acknowledged::Last => _ = self.tasks.remove(&task),
        }
    }

    pub(super) fn handle_disconnected(&mut self, now: Now, cause: &Disconnection) {
        match self.life {
            // SHUTDOWN is the last thing an agent says. Calls on their way may still arrive.
            Life::Draining(_) | Life::Over => self.session.close(),
            Life::Serving if cause.is_final() => {
                self.session.close();
                let reason = format!("the subscription was refused: {cause}");
                self.drain(now, reason.clone(), Exit::Refused(reason));
            }
            Life::Serving => self.lose_connection(now, cause.to_string()),
        }
    }

    pub(super) fn handle_call_failed(&mut self, now: Now, call: CallId, cause: &Disconnection) {
        if !self.ledger.is_calling(call) {
            return;
        }
        match self.life {
            // Each update is tried once more at most: a retry would outlive us.
            Life::Draining(_) | Life::Over => _ = self.ledger.call_done(now.instant, call),
            Life::Serving if cause.is_final() => {
                let reason = format!("an update was refused: {cause}");
                self.ledger.call_done(now.instant, call);
                self.drain(now, reason.clone(), Exit::Refused(reason));
            }
            // The stream may be well: subscribing anew sends all updates again, in order.
            Life::Serving => self.resubscribe(now, format!("an update call failed: {cause}")),
        }
    }

    pub(super) fn wake_session(&mut self, now: Now) {
        match self.session.due(now.instant) {
            None => {}
            Some(Due::Connect) => self.subscribe(now),
            Some(Due::TooSlow) => {
                self.lose_connection(now, "the agent does not answer SUBSCRIBE".to_string());
            }
            Some(Due::GiveUp) => {
                self.session.close();
                let reason = "the agent did not come back within the recovery timeout".to_string();
                self.drain(now, reason.clone(), Exit::AgentLost(reason));
            }
        }
        while matches!(self.life, Life::Serving)
            && self.session.is_subscribed()
            && self.ledger.oldest_sent().is_some_and(|at| now.instant >= at + ACKNOWLEDGEMENT_LIMIT)
            && let Some((task, update)) = self.ledger.doubt_oldest()
        {
            self.note(Note::AcknowledgementOverdue { task, update });
            self.resubscribe(now, "an acknowledgement is overdue".to_string());
        }
    }

    /// Replaces a connection that we ourselves do not trust: the agent is there as far as we know.
    fn resubscribe(&mut self, now: Now, reason: String) {
        self.note(Note::Disconnected { reason, retry_in: std::time::Duration::ZERO });
        self.subscribe(now);
    }

    fn lose_connection(&mut self, now: Now, reason: String) {
        self.ledger.forget_calls(now.instant);
        self.actions.push_back(Action::Disconnect);
        match self.session.handle_lost(now.instant, &mut self.random) {
            Lost::Retry { after } => {
                self.note(Note::Disconnected { reason, retry_in: after });
            }
            Lost::GiveUp => {
                let reason =
                    format!("the agent is lost, and without checkpointing for good: {reason}");
                self.drain(now, reason.clone(), Exit::AgentLost(reason));
            }
        }
    }

    fn subscribe(&mut self, now: Now) {
        let connection = self.session.connect(now.instant);
        let tasks = self.tasks.values().filter_map(|task| task.info.as_ref().map(KeptInfo::read));
        let subscribe = call::Subscribe {
            unacknowledged_tasks: tasks.collect(),
            unacknowledged_updates: self.ledger.for_subscription(now.instant),
        };
        let call = Call {
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(subscribe),
            ..self.empty_call()
        };
        self.actions.push_back(Action::Subscribe(connection, Box::new(call)));
    }
}
