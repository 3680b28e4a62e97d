//! Reservations, and the answers to operations that are not launches.
//!
//! A reservation changes the marks on an agent's resources at the master; agents
//! are not told, because nothing they do depends on it. It lasts as long as the
//! master does. Answers carry no uuid: nobody retries them.

use marmoset_proto::{
    mesos::v1::{
        FrameworkId, OperationId, OperationState, OperationStatus, Resource, offer::Operation,
    },
    resources::Resources,
};

use super::{AgentId, Core, accept::Accepted, events};
use crate::master::upgrade;

impl Core {
    pub(super) fn reserve(&mut self, accepted: &mut Accepted, operation: Operation) {
        let reserve = operation.reserve.unwrap_or_default();
        let mut wanted = reserve.resources;
        let result = if reserve.source.is_empty() {
            upgrade::resources(&mut wanted, &accepted.role);
            self.check_reserve(accepted, &wanted)
                .and_then(|()| less_reserved(&wanted))
                .and_then(|source| self.convert(accepted, &source, &wanted))
        } else {
            Err("'source' must be empty: re-reservation is for operators".to_owned())
        };
        self.answer_operation(accepted, operation.id, result.map(|()| wanted));
    }

    pub(super) fn unreserve(&mut self, accepted: &mut Accepted, operation: Operation) {
        let mut reserved = operation.unreserve.unwrap_or_default().resources;
        upgrade::resources(&mut reserved, &accepted.role);
        let result = less_reserved(&reserved)
            .and_then(|plain| self.convert(accepted, &reserved, &plain).map(|()| plain));
        self.answer_operation(accepted, operation.id, result);
    }

    fn check_reserve(&self, accepted: &Accepted, wanted: &[Resource]) -> Result<(), String> {
        let Some(framework) = self.frameworks.get(&accepted.framework_id) else {
            return Err("Framework removed".to_owned());
        };
        Resources::from_proto(wanted).map_err(|error| format!("Invalid resources: {error}"))?;
        for resource in wanted {
            let Some(reservation) = resource.reservations.last() else {
                return Err(format!("Resource {} is not dynamically reserved", resource.name));
            };
            if reservation.role() != accepted.role {
                return Err(format!(
                    "A reserve operation was attempted for a resource with role '{}', but the \
                     resource was allocated to role '{}'",
                    reservation.role(),
                    accepted.role
                ));
            }
            if framework.info.principal.is_some()
                && reservation.principal != framework.info.principal
            {
                return Err(format!(
                    "A reserve operation was attempted by authenticated principal '{}', which does \
                     not match a reserved resource in the request with principal '{}'",
                    framework.info.principal(),
                    reservation.principal()
                ));
            }
        }
        Ok(())
    }

    /// Exchanges resources of the ACCEPT, and of the agent, for the same amounts under other marks.
    fn convert(
        &mut self,
        accepted: &mut Accepted,
        from: &[Resource],
        to: &[Resource],
    ) -> Result<(), String> {
        let read = |resources: &[Resource]| {
            Resources::from_proto(resources).map_err(|error| format!("Invalid resources: {error}"))
        };
        let (from, to) = (read(from)?, read(to)?);
        let left = accepted.left.checked_sub(&from).ok_or_else(|| {
            format!("Invalid operation: {} does not contain {from}", accepted.left)
        })?;
        accepted.left = left;
        accepted.left += &to;
        let Some(agent) = self.agents.get_mut(&accepted.agent_id) else { return Ok(()) };
        let plain = |resources: &Resources| {
            let mut resources = resources.clone();
            resources.unallocate();
            resources
        };
        agent.total -= &plain(&from);
        agent.total += &plain(&to);
        self.allocator.convert(&accepted.agent_id, &plain(&from), &plain(&to));
        Ok(())
    }

    fn answer_operation(
        &mut self,
        accepted: &Accepted,
        id: Option<OperationId>,
        result: Result<Vec<Resource>, String>,
    ) {
        match result {
            Err(message) => self.refuse_operation(accepted, id, message),
            Ok(converted_resources) => {
                if id.is_some() {
                    let status = OperationStatus {
                        operation_id: id,
                        state: OperationState::OperationFinished.into(),
                        converted_resources,
                        agent_id: Some(accepted.agent_id.clone()),
                        ..OperationStatus::default()
                    };
                    self.send(&accepted.framework_id, events::operation(status));
                }
            }
        }
    }

    pub(super) fn refuse_operation(
        &mut self,
        accepted: &Accepted,
        id: Option<OperationId>,
        message: String,
    ) {
        tracing::warn!(framework = %accepted.framework_id, message, "refused an operation");
        let agent = Some(&accepted.agent_id);
        self.tell_operation_error(&accepted.framework_id, id, agent, message);
    }

    /// OPERATION_ERROR, if the operation has an id to be told of.
    pub(super) fn tell_operation_error(
        &mut self,
        framework_id: &FrameworkId,
        id: Option<OperationId>,
        agent_id: Option<&AgentId>,
        message: String,
    ) {
        if id.is_none() {
            return;
        }
        let status = OperationStatus {
            operation_id: id,
            state: OperationState::OperationError.into(),
            message: Some(message),
            agent_id: agent_id.cloned(),
            ..OperationStatus::default()
        };
        self.send(framework_id, events::operation(status));
    }
}

/// The same resources with the newest reservation taken off.
fn less_reserved(resources: &[Resource]) -> Result<Vec<Resource>, String> {
    resources
        .iter()
        .cloned()
        .map(|mut resource| match resource.reservations.pop() {
            Some(_) => Ok(resource),
            None => Err(format!("Resource {} is not reserved", resource.name)),
        })
        .collect()
}
