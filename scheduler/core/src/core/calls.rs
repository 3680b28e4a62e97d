//! Calls: building them, and what follows when one is not taken.
//!
//! A call that cannot be sent because there is no subscription is dropped here: each of them
//! is made again when there is one (reconciliation, repeated KILLs, updates that are sent
//! again), or is void (answers to offers).

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    AgentId, Filters, Offer, OfferId, TaskId, TaskInfo, offer,
    scheduler::{Call, call},
};

use super::{Action, Core, SessionInput};
use crate::{clock::Now, event::Notice, session::CallFailure};

impl Core {
    pub(super) fn send(&mut self, call: Call) {
        if self.session.is_subscribed() {
            self.actions.push_back(Action::Send(Box::new(call)));
        }
    }

    pub(super) fn accept(
        &mut self,
        offer_ids: Vec<OfferId>,
        tasks: Vec<TaskInfo>,
        refuse: std::time::Duration,
    ) {
        self.counters.accepts += 1;
        let launch = offer::Operation {
            r#type: Some(offer::operation::Type::Launch.into()),
            launch: Some(offer::operation::Launch { task_infos: tasks }),
            ..offer::Operation::default()
        };
        let mut call = self.session.call(call::Type::Accept);
        call.accept = Some(call::Accept {
            offer_ids,
            operations: vec![launch],
            filters: Some(Filters { refuse_seconds: Some(refuse.as_secs_f64()) }),
        });
        self.send(call);
    }

    pub(super) fn decline(&mut self, offer_ids: Vec<OfferId>, refuse: std::time::Duration) {
        if offer_ids.is_empty() {
            return;
        }
        self.counters.declined += offer_ids.len() as u64;
        for offer_id in &offer_ids {
            self.notice(Notice::Declined { offer_id: offer_id.clone() });
        }
        let mut call = self.session.call(call::Type::Decline);
        call.decline = Some(call::Decline {
            offer_ids,
            filters: Some(Filters { refuse_seconds: Some(refuse.as_secs_f64()) }),
        });
        self.send(call);
    }

    pub(super) fn acknowledge(&mut self, agent_id: AgentId, task_id: TaskId, uuid: Bytes) {
        self.counters.acknowledged += 1;
        let mut call = self.session.call(call::Type::Acknowledge);
        call.acknowledge = Some(call::Acknowledge { agent_id, task_id, uuid });
        self.send(call);
    }

    pub(super) fn kill(&mut self, task_id: TaskId, agent_id: Option<AgentId>) {
        self.counters.kills += 1;
        let mut call = self.session.call(call::Type::Kill);
        call.kill = Some(call::Kill { task_id, agent_id, kill_policy: None });
        self.send(call);
    }

    /// Asks about some Mesos tasks; about all when there are none.
    pub(super) fn reconcile(&mut self, tasks: &[(TaskId, AgentId)]) {
        let size = self.config.limits.tasks_per_reconcile.max(1);
        let mut chunks = tasks.chunks(size).collect::<Vec<_>>();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for chunk in chunks {
            self.counters.reconciles += 1;
            let tasks = chunk.iter().map(|(task_id, agent_id)| call::reconcile::Task {
                task_id: task_id.clone(),
                agent_id: Some(agent_id.clone()),
            });
            let mut call = self.session.call(call::Type::Reconcile);
            call.reconcile = Some(call::Reconcile { tasks: tasks.collect() });
            self.send(call);
        }
    }

    pub(super) fn revive(&mut self) {
        self.counters.revives += 1;
        let mut call = self.session.call(call::Type::Revive);
        call.revive = Some(call::Revive { roles: self.config.framework.roles.clone() });
        self.send(call);
    }

    pub(super) fn suppress(&mut self) {
        self.counters.suppresses += 1;
        let mut call = self.session.call(call::Type::Suppress);
        call.suppress = Some(call::Suppress { roles: self.config.framework.roles.clone() });
        self.send(call);
    }

    pub(super) fn call_failed(&mut self, now: Now, call: Call, why: CallFailure) {
        let text = match &why {
            CallFailure::Refused { why }
            | CallFailure::NotSubscribed { why }
            | CallFailure::Broken { why } => why.clone(),
        };
        self.notice(Notice::CallFailed { call: call.r#type().as_str_name(), why: text.clone() });
        if let Some(accept) = call.accept {
            match &why {
                CallFailure::Refused { .. } => {
                    let message = format!("the master refused the ACCEPT: {text}");
                    let offer_ids = accept.offer_ids.clone();
                    self.launch_refused(now, accept, &message);
                    // They are still out, and nobody else can use them.
                    self.decline(offer_ids, self.config.timing.refuse_small);
                }
                CallFailure::NotSubscribed { .. } => self.launch_void(now, accept, &text),
                // Reconciliation tells what became of it.
                CallFailure::Broken { .. } => {}
            }
        }
        self.session.handle(now, SessionInput::CallFailed(why));
        self.follow_session(now);
    }
}

/// The Mesos tasks an ACCEPT launches.
pub(super) fn launched(accept: call::Accept) -> impl Iterator<Item = TaskInfo> {
    let launches = accept.operations.into_iter().filter_map(|operation| operation.launch);
    launches.flat_map(|launch| launch.task_infos)
}

/// The role an offer is for.
pub(super) fn role(offer: &Offer) -> String {
    let role = offer.allocation_info.as_ref().and_then(|allocation| allocation.role.clone());
    role.unwrap_or_else(|| "*".to_owned())
}
