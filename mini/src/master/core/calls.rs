//! The calls that need a few lines each: REVIVE, SUPPRESS, KILL, SHUTDOWN, MESSAGE.

use std::collections::BTreeSet;

use marmoset_proto::mesos::v1::{
    FrameworkId,
    scheduler::call::{Kill, Message, Shutdown, reconcile},
};

use super::{Core, Now};
use crate::link::ToAgent;

impl Core {
    pub(super) fn revive(&mut self, id: &FrameworkId, roles: Vec<String>) {
        if let Some(roles) = self.own_roles(id, roles) {
            self.allocator.revive(id, &roles);
        }
    }

    pub(super) fn suppress(&mut self, id: &FrameworkId, roles: Vec<String>) {
        if let Some(roles) = self.own_roles(id, roles) {
            self.allocator.suppress(id, &roles);
        }
    }

    /// The roles of a call, or none when the framework is not subscribed to one of them: then
    /// the whole call is dropped.
    fn own_roles(&self, id: &FrameworkId, roles: Vec<String>) -> Option<BTreeSet<String>> {
        let framework = self.frameworks.get(id)?;
        let roles = roles.into_iter().collect::<BTreeSet<_>>();
        let own = roles.is_subset(&framework.roles);
        if !own {
            tracing::warn!(framework = %id, ?roles, "dropped a call that names a foreign role");
        }
        own.then_some(roles)
    }

    pub(super) fn kill(&mut self, id: &FrameworkId, kill: Kill, now: Now) {
        let Kill { task_id, agent_id, kill_policy } = kill;
        let known = self.frameworks.get(id).and_then(|framework| framework.tasks.get(&task_id));
        let Some(task) = known else {
            self.reconcile(id, &[reconcile::Task { task_id, agent_id }], now);
            return;
        };
        if agent_id.is_some_and(|given| given != task.agent_id) {
            tracing::warn!(framework = %id, task = %task_id, "dropped a KILL for a wrong agent");
            return;
        }
        let agent_id = task.agent_id.clone();
        let message =
            ToAgent::KillTask { framework_id: id.clone(), task_id: task_id.clone(), kill_policy };
        if !self.send_agent(&agent_id, message)
            && let Some(agent) = self.agents.get_mut(&agent_id)
        {
            agent.kills.insert((id.clone(), task_id), kill_policy);
        }
    }

    pub(super) fn shutdown(&mut self, id: &FrameworkId, shutdown: Shutdown) {
        let Shutdown { executor_id, agent_id } = shutdown;
        let message = ToAgent::ShutdownExecutor { framework_id: id.clone(), executor_id };
        if !self.send_agent(&agent_id, message) {
            tracing::warn!(framework = %id, agent = %agent_id, "dropped a SHUTDOWN: no such agent");
        }
    }

    pub(super) fn message(&mut self, id: &FrameworkId, message: Message) {
        let Message { agent_id, executor_id, data } = message;
        let message = ToAgent::Message { framework_id: id.clone(), executor_id, data };
        if !self.send_agent(&agent_id, message) {
            tracing::debug!(framework = %id, agent = %agent_id, "dropped a MESSAGE: no such agent");
        }
    }
}
