//! Subscription, failover, disconnection and removal of frameworks.

use std::{collections::BTreeSet, time::Duration};

use marmoset_proto::mesos::v1::{
    FrameworkId, FrameworkInfo, TaskState,
    scheduler::call::{Subscribe, UpdateFramework},
    task_status::Reason,
};

use super::{
    Action, COMPLETED_FRAMEWORKS, Capabilities, Connection, Core, Framework, LONGEST, Now, Reply,
    StreamId, events, statuses,
};
use crate::{
    link::ToAgent,
    master::{
        allocator::{Constraints, Wishes},
        validate,
    },
};

impl Core {
    /// Takes a SUBSCRIBE that passed the checks of the edge. A refused one gets ERROR on its
    /// stream, which is then closed.
    pub(crate) fn handle_subscribe(
        &mut self,
        stream: StreamId,
        subscribe: Subscribe,
        principal: Option<&str>,
        now: Now,
    ) {
        if let Err(message) = self.subscribe(&stream, subscribe, principal, now) {
            let event = Box::new(events::error(message));
            self.actions.push_back(Action::SendEvent { stream: stream.clone(), event });
            self.actions.push_back(Action::CloseStream { stream });
            return;
        }
        self.run_asked(now);
    }

    fn subscribe(
        &mut self,
        stream: &StreamId,
        subscribe: Subscribe,
        principal: Option<&str>,
        now: Now,
    ) -> Result<(), String> {
        let Subscribe { framework_info: mut info, suppressed_roles, offer_constraints } = subscribe;
        let (suppressed, constraints) =
            validate::subscription(&info, &suppressed_roles, offer_constraints.as_ref())?;
        if let Some(principal) = principal {
            info.principal.get_or_insert_with(|| principal.to_owned());
        }
        let id = match info.id.clone().filter(|id| !id.value.is_empty()) {
            Some(id) => {
                if self.completed.iter().any(|removed| removed.info.id.as_ref() == Some(&id)) {
                    return Err("Framework has been removed".to_owned());
                }
                id
            }
            None => self.next_framework_id(),
        };
        info.id = Some(id.clone());
        let connection = Connection::Connected {
            stream: stream.clone(),
            heartbeat_at: now.instant + self.timers.heartbeat_interval,
        };

        if let Some(known) = self.frameworks.get(&id) {
            if known.info.principal != info.principal {
                return Err("Changing framework's principal is not allowed.".to_owned());
            }
            self.take_over(&id, now);
        }
        let again = self.frameworks.contains_key(&id);
        let framework = self
            .frameworks
            .entry(id.clone())
            .or_insert_with(|| Framework::new(info.clone(), Connection::Recovered, now.time));
        framework.update(info, offer_constraints);
        framework.connection = connection;
        if again {
            framework.reregistered_time = Some(now.time);
        }
        self.streams.insert(stream.clone(), id.clone());
        self.wish(&id, suppressed, constraints);
        tracing::info!(framework = %id, again, "framework subscribed");

        self.send(
            &id,
            events::subscribed(id.clone(), self.info.clone(), self.timers.heartbeat_interval),
        );
        self.send(&id, events::heartbeat());
        if again {
            self.tell_agents_of(&id);
        }
        Ok(())
    }

    /// Ends the subscription a framework has, for another one of the same framework.
    ///
    /// Its offers are discarded without RESCIND: the new stream never saw them.
    fn take_over(&mut self, id: &FrameworkId, now: Now) {
        self.discard_offers(id, now);
        self.allocator.deactivate_framework(id);
        if let Some(old) = self.frameworks.get(id).and_then(Framework::stream).cloned() {
            self.send(id, events::error("Framework failed over"));
            self.streams.remove(&old);
            self.actions.push_back(Action::CloseStream { stream: old });
        }
    }

    /// Replaces a framework's info without a new subscription.
    pub(super) fn update_framework(
        &mut self,
        id: &FrameworkId,
        update: UpdateFramework,
        now: Now,
    ) -> Reply {
        let UpdateFramework { framework_info: mut info, suppressed_roles, offer_constraints } =
            update;
        let checked = validate::subscription(&info, &suppressed_roles, offer_constraints.as_ref());
        let (suppressed, constraints) = match checked {
            Ok(checked) => checked,
            Err(message) => {
                return Reply::BadRequest(format!(
                    "Supplied FrameworkInfo is not valid: {message}"
                ));
            }
        };
        let Some(framework) = self.frameworks.get_mut(id) else {
            return Reply::BadRequest("Framework cannot be found".to_owned());
        };
        if info.principal.is_none() {
            info.principal.clone_from(&framework.info.principal);
        }
        if let Err(message) = validate::update(&framework.info, &info) {
            return Reply::BadRequest(format!("Supplied FrameworkInfo is not valid: {message}"));
        }
        let left = framework.roles.clone();
        framework.update(info, offer_constraints);
        let roles = framework.roles.clone();
        self.wish(id, suppressed, constraints);
        self.rescind_offers_of_roles(id, &left.difference(&roles).cloned().collect(), now);
        self.tell_agents_of(id);
        Reply::Done
    }

    /// The stream of a scheduler has ended at its side.
    pub(crate) fn handle_stream_ended(&mut self, stream: &StreamId, now: Now) {
        // A stream that was replaced or closed by the master is no longer known.
        let Some(id) = self.streams.remove(stream) else { return };
        let Some(framework) = self.frameworks.get_mut(&id) else { return };
        let timeout = failover_timeout(&framework.info);
        framework.connection =
            Connection::Disconnected { remove_at: now.instant + timeout.min(LONGEST) };
        tracing::info!(framework = %id, ?timeout, "framework disconnected");
        self.discard_offers(&id, now);
        self.allocator.deactivate_framework(&id);
        if timeout.is_zero() {
            self.remove_framework(&id, now);
        }
    }

    pub(super) fn teardown(&mut self, id: &FrameworkId, now: Now) {
        self.remove_framework(id, now);
    }

    pub(super) fn remove_overdue_frameworks(&mut self, now: Now) {
        let overdue = self
            .frameworks
            .iter()
            .filter(|(_, framework)| {
                matches!(framework.connection,
                    Connection::Disconnected { remove_at } if remove_at <= now.instant)
            })
            .map(|(id, _)| id.clone())
            .collect::<Vec<_>>();
        for id in overdue {
            self.remove_framework(&id, now);
        }
    }

    /// Forgets a framework: its tasks count as killed (nobody is told), its executors are shut
    /// down, its stream ends, its id is refused from now on.
    pub(super) fn remove_framework(&mut self, id: &FrameworkId, now: Now) {
        self.discard_offers(id, now);
        let Some(mut framework) = self.frameworks.remove(id) else { return };
        tracing::info!(framework = %id, tasks = framework.tasks.len(), "framework removed");
        if let Some(stream) = framework.stream().cloned() {
            self.streams.remove(&stream);
            self.actions.push_back(Action::CloseStream { stream });
        }
        for agent in self.agents.values_mut() {
            let agent_id = agent.id();
            if let Some(used) = agent.used.remove(id) {
                self.allocator.recover(id, &agent_id, &used, None, now.instant);
            }
            agent.tasks.remove(id);
            agent.executors.retain(|(owner, _), _| owner != id);
            agent.kills.retain(|(owner, _), _| owner != id);
            if let Some(link) = agent.connected() {
                let message = ToAgent::ShutdownFramework { framework_id: id.clone() };
                self.actions.push_back(Action::SendAgent { link, message });
            }
        }
        for (_, mut task) in std::mem::take(&mut framework.tasks) {
            if !task.state.is_terminal() {
                let status = statuses::master_made(
                    &task.id,
                    TaskState::TaskKilled,
                    Some(Reason::FrameworkRemoved),
                    format!("Framework {id} removed"),
                    Some(&task.agent_id),
                    now,
                );
                task.state = TaskState::TaskKilled;
                task.record(&status);
                self.counters.count_update(&status);
            }
            framework.complete(task);
        }
        self.allocator.remove_framework(id);
        framework.connection = Connection::Disconnected { remove_at: now.instant };
        framework.unregistered_time = now.time;
        self.completed.push_back(framework);
        if self.completed.len() > COMPLETED_FRAMEWORKS {
            self.completed.pop_front();
        }
    }

    /// Tells the allocator what a framework wants.
    fn wish(&mut self, id: &FrameworkId, suppressed: BTreeSet<String>, constraints: Constraints) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let wishes = Wishes {
            roles: framework.roles.clone(),
            suppressed,
            capabilities: Capabilities::of(&framework.info),
            offer_filters: framework.info.offer_filters.clone(),
            constraints,
        };
        self.allocator.set_framework(id, wishes, framework.stream().is_some());
    }

    fn tell_agents_of(&mut self, id: &FrameworkId) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let message = ToAgent::UpdateFramework { framework: framework.info.clone() };
        for link in self.agents.values().filter_map(super::Agent::connected) {
            self.actions.push_back(Action::SendAgent { link, message: message.clone() });
        }
    }

    fn next_framework_id(&mut self) -> FrameworkId {
        let id = format!("{}-{:04}", self.info.id, self.next_framework);
        self.next_framework += 1;
        id.into()
    }
}

/// The time a framework may be away; not a time or negative means none.
fn failover_timeout(info: &FrameworkInfo) -> Duration {
    Duration::try_from_secs_f64(info.failover_timeout()).unwrap_or_default()
}
