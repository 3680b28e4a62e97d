//! ACCEPT: operations on the resources of one or more offers of one agent.
//!
//! ```text
//!  offers valid? ──no──▶ every task DROPPED, every operation with id ERROR; the valid ones of the
//!     │                  offers are given back without filter
//!     yes: their resources become one sum
//!     ▼
//!  for each operation, in order: take from the sum, change it, or refuse and leave it
//!     ▼
//!  what is left is given back with the call's filter
//! ```

use std::collections::BTreeSet;

use marmoset_proto::{
    mesos::v1::{
        AgentId, FrameworkId, OfferId, TaskInfo, TaskState,
        offer::{Operation, operation::Type as OperationType},
        scheduler::call::Accept,
        task_status::Reason,
    },
    resources::Resources,
};

use super::{Core, Now, state_for, statuses};
use crate::master::allocator::refusal;

/// The resources an ACCEPT works on.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) framework_id: FrameworkId,
    pub(super) agent_id: AgentId,
    pub(super) role: String,
    /// What no operation has taken yet.
    pub(super) left: Resources,
}

impl Core {
    pub(super) fn accept(&mut self, id: &FrameworkId, accept: Accept, now: Now) {
        let Accept { offer_ids, operations, filters } = accept;
        let mut accepted = match self.take_offers(id, &offer_ids, now) {
            Ok(accepted) => accepted,
            Err(error) => {
                let message = |what: &str| format!("{what} with invalid offers: {error}");
                self.drop_operations(id, operations, Reason::InvalidOffers, &message, now);
                return;
            }
        };
        // An offer does not outlive its agent's connection, so this is a matter of the map alone.
        let agent = self.agents.get(&accepted.agent_id);
        let gone = match agent {
            None => Some(("Agent removed", Reason::AgentRemoved)),
            Some(agent) if agent.connected().is_none() => {
                Some(("Agent disconnected", Reason::AgentDisconnected))
            }
            Some(_) => None,
        };
        if let Some((text, reason)) = gone {
            self.drop_operations(id, operations, reason, &|_| text.to_owned(), now);
        } else {
            for operation in operations {
                self.operate(&mut accepted, operation, now);
            }
        }
        let refuse = refusal(filters.as_ref());
        let Accepted { framework_id, agent_id, left, .. } = accepted;
        self.allocator.recover(&framework_id, &agent_id, &left, Some(refuse), now.instant);
    }

    /// Ends the offers and sums up what they hold.
    fn take_offers(
        &mut self,
        id: &FrameworkId,
        offer_ids: &[OfferId],
        now: Now,
    ) -> Result<Accepted, String> {
        if let Err(error) = self.check_offers(id, offer_ids) {
            for offer_id in offer_ids {
                if self.offers.get(offer_id).is_some_and(|offer| offer.framework_id == *id) {
                    self.free_offer(offer_id, None, now);
                }
            }
            return Err(error);
        }
        let mut accepted = None::<Accepted>;
        for offer in offer_ids {
            let Some(offer) = self.take_offer(offer) else { continue };
            self.counters.offers_accepted += 1;
            match &mut accepted {
                Some(accepted) => accepted.left += &offer.resources,
                None => {
                    accepted = Some(Accepted {
                        framework_id: offer.framework_id,
                        agent_id: offer.agent_id,
                        role: offer.role,
                        left: offer.resources,
                    });
                }
            }
        }
        accepted.ok_or_else(|| "No offers specified".to_owned())
    }

    /// Checks the offers of an ACCEPT as a set, in Mesos' order.
    fn check_offers(&self, id: &FrameworkId, offer_ids: &[OfferId]) -> Result<(), String> {
        if offer_ids.is_empty() {
            return Err("No offers specified".to_owned());
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = offer_ids.iter().find(|offer| !seen.insert(*offer)) {
            return Err(format!("Duplicate offer {twice} in offer list"));
        }
        let mut offers = Vec::with_capacity(offer_ids.len());
        for offer in offer_ids {
            let known = self.offers.get(offer);
            offers.push((offer, known.ok_or(format!("Offer {offer} is no longer valid"))?));
        }
        if let Some((offer, known)) = offers.iter().find(|(_, known)| known.framework_id != *id) {
            return Err(format!(
                "Offer {offer} has invalid framework {} while framework {id} is expected",
                known.framework_id
            ));
        }
        let Some((_, first)) = offers.first() else { return Ok(()) };
        if let Some((offer, known)) = offers.iter().find(|(_, known)| known.role != first.role) {
            return Err(format!(
                "Aggregated offers must be allocated to the same role. Offer {offer} uses role \
                 '{} but another is using role '{}",
                known.role, first.role
            ));
        }
        if let Some((offer, known)) =
            offers.iter().find(|(_, known)| known.agent_id != first.agent_id)
        {
            return Err(format!(
                "Aggregated offers must belong to one single agent. Offer {offer} uses agent {} \
                 and agent {}",
                known.agent_id, first.agent_id
            ));
        }
        Ok(())
    }

    fn operate(&mut self, accepted: &mut Accepted, operation: Operation, now: Now) {
        let kind = operation
            .r#type
            .and_then(|kind| OperationType::try_from(kind).ok())
            .unwrap_or(OperationType::Unknown);
        self.counters.count_operation(kind);
        match kind {
            OperationType::Launch => {
                let id = operation.id;
                for task in operation.launch.unwrap_or_default().task_infos {
                    self.launch(accepted, task, id.as_ref(), now);
                }
            }
            OperationType::LaunchGroup => {
                let group = operation.launch_group.unwrap_or_default();
                self.launch_group(accepted, group, operation.id.as_ref(), now);
            }
            OperationType::Reserve => self.reserve(accepted, operation),
            OperationType::Unreserve => self.unreserve(accepted, operation),
            OperationType::Create
            | OperationType::Destroy
            | OperationType::GrowVolume
            | OperationType::ShrinkVolume
            | OperationType::CreateDisk
            | OperationType::DestroyDisk => {
                let message = format!("{} is not supported by this cluster", kind.as_str_name());
                self.refuse_operation(accepted, operation.id, message);
            }
            OperationType::Unknown => {
                let message = "the type of the operation is missing or unknown".to_owned();
                self.refuse_operation(accepted, operation.id, message);
            }
        }
    }

    /// Answers all operations of an ACCEPT that cannot be looked at.
    fn drop_operations(
        &mut self,
        id: &FrameworkId,
        operations: Vec<Operation>,
        reason: Reason,
        message: &dyn Fn(&str) -> String,
        now: Now,
    ) {
        let Some(capabilities) = self.frameworks.get(id).map(|known| known.capabilities) else {
            return;
        };
        let state = state_for(capabilities, TaskState::TaskDropped);
        for operation in operations {
            for task in tasks_of(&operation) {
                let text = message("Task launched");
                let agent = Some(&task.agent_id);
                let status =
                    statuses::master_made(&task.task_id, state, Some(reason), text, agent, now);
                self.tell(id, status);
            }
            if reason == Reason::InvalidOffers && operation.id.is_some() {
                self.tell_operation_error(id, operation.id, None, message("Operation attempted"));
            }
        }
    }
}

/// The tasks an operation would launch.
fn tasks_of(operation: &Operation) -> Vec<&TaskInfo> {
    match operation.r#type.and_then(|kind| OperationType::try_from(kind).ok()) {
        Some(OperationType::Launch) => {
            operation.launch.iter().flat_map(|launch| &launch.task_infos).collect()
        }
        Some(OperationType::LaunchGroup) => {
            operation.launch_group.iter().flat_map(|group| &group.task_group.tasks).collect()
        }
        Some(
            OperationType::Unknown
            | OperationType::Reserve
            | OperationType::Unreserve
            | OperationType::Create
            | OperationType::Destroy
            | OperationType::GrowVolume
            | OperationType::ShrinkVolume
            | OperationType::CreateDisk
            | OperationType::DestroyDisk,
        )
        | None => Vec::new(),
    }
}
