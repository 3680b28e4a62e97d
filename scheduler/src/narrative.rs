//! The story of a framework, line by line, for whoever watches: at INFO, target `marmoset`.
//!
//! Owns the wording, which people know from other frameworks. These lines are
//! sentences on purpose; everything else in the log is fields.

use std::fmt::Write as _;

use marmoset_proto::{
    item,
    mesos::v1::{FrameworkId, Offer, OfferId, TaskId, TaskState, TaskStatus},
    resources::{Millis, Resources},
};
use marmoset_scheduler_core::{EndState, Location, Notice, TaskEnd, TaskRetry, TaskStart};

/// The part of the story that must not repeat itself.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Why there is no subscription, as it was told last.
    told: Option<String>,
}

impl Connection {
    /// Tells that the framework is registered.
    pub(crate) fn registered(&mut self, framework_id: &FrameworkId) {
        self.told = None;
        tracing::info!(target: "marmoset", "Registered with framework ID {framework_id}");
    }

    /// Tells that there is no subscription, once for each reason.
    pub(crate) fn unsubscribed(&mut self, why: &str) {
        if self.told.as_deref() == Some(why) {
            tracing::debug!(why, "still not connected to a master");
        } else {
            tracing::warn!(why, "not connected to a master; trying again");
            self.told = Some(why.to_owned());
        }
    }
}

/// Whether anybody listens: of a million tasks each would cost a few texts for nobody.
fn is_heard() -> bool {
    tracing::enabled!(target: "marmoset", tracing::Level::INFO)
}

/// Tells what an offer holds.
pub(crate) fn offered(offer: &Offer) {
    match Resources::from_proto(&offer.resources) {
        Ok(resources) => told(&offer.id, &resources),
        Err(error) => tracing::warn!(offer = %offer.id, %error, "an offer cannot be read"),
    }
}

fn told(offer_id: &OfferId, resources: &Resources) {
    if !is_heard() {
        return;
    }
    let text = amounts(resources);
    tracing::info!(target: "marmoset", "Received offer {offer_id}. {text}");
}

/// Tells the state of a task.
pub(crate) fn updated(status: &TaskStatus) {
    state(&status.task_id, status.state(), status.message.as_deref());
}

fn state(task_id: &TaskId, state: TaskState, message: Option<&str>) {
    let state = state.as_str_name();
    match message {
        Some(message) if !message.is_empty() => {
            tracing::info!(target: "marmoset", "Task {task_id} is in state {state}: {message}");
        }
        Some(_) | None => tracing::info!(target: "marmoset", "Task {task_id} is in state {state}"),
    }
}

/// Tells of a Mesos task on its way.
pub(crate) fn launched(location: &Location, items: u64, width: u64) {
    let Location { task_id, hostname, .. } = location;
    if items == 1 {
        tracing::info!(target: "marmoset", "Creating task {task_id} on {hostname}");
    } else {
        tracing::info!(
            target: "marmoset",
            "Creating task {task_id} on {hostname}: {items} tasks, {width} at a time"
        );
    }
}

/// Tells that a process runs.
pub(crate) fn started(job: &str, start: &TaskStart) {
    tracing::debug!(job, index = start.index, attempt = start.attempt, "started");
}

/// Tells that a task is tried again.
pub(crate) fn retried(job: &str, retry: &TaskRetry) {
    if !is_heard() {
        return;
    }
    let TaskRetry { index, attempt, text, .. } = retry;
    let task_id = item::task_id(job, *index, *attempt);
    tracing::info!(target: "marmoset", "Task {task_id} is tried again: {text}");
}

/// Tells how a task ended, unless the update of its Mesos task says so.
pub(crate) fn ended(job: &str, end: &TaskEnd) {
    if !is_heard() {
        return;
    }
    let task_id = end.task_id(job);
    if end.location.as_ref().is_some_and(|location| location.task_id.as_str() == task_id) {
        return;
    }
    let (which, message) = match end.state {
        EndState::Finished => (TaskState::TaskFinished, None),
        EndState::Failed => (TaskState::TaskFailed, Some(end.text())),
        EndState::Killed => (TaskState::TaskKilled, Some(end.text())),
        EndState::Lost => (TaskState::TaskLost, Some(end.text())),
        EndState::Error => (TaskState::TaskError, Some(end.text())),
    };
    state(&TaskId::from(task_id), which, message.as_deref());
}

/// Tells what the core noticed.
pub(crate) fn notice(connection: &mut Connection, notice: &Notice) {
    match notice {
        Notice::Subscribed { framework_id, .. } => connection.registered(framework_id),
        Notice::Unsubscribed { why } => connection.unsubscribed(why),
        Notice::FrameworkRemoved => {
            tracing::warn!("the master has removed the framework: what ran is lost");
        }
        Notice::Offered { offer_id, resources, .. } => told(offer_id, resources),
        Notice::Declined { .. } => tracing::info!(target: "marmoset", "Declining offer"),
        Notice::Rescinded { offer_id } => {
            tracing::info!(target: "marmoset", "Offer {offer_id} was rescinded");
        }
        Notice::Updated { task_id, state: which, message } => {
            state(task_id, *which, message.as_deref());
        }
        Notice::ExecutorEnded { agent_id, executor_id } => {
            tracing::info!(target: "marmoset", "Executor {executor_id} on {agent_id} has ended");
        }
        Notice::CallFailed { call, why } => tracing::warn!(call, why, "a call was not taken"),
        Notice::Malformed { what } => tracing::warn!(what, "not understood"),
    }
}

/// What an offer holds: `cpus: 4.0, mem: 6686.0, ports: 8000-8100`.
fn amounts(resources: &Resources) -> String {
    let mut parts = Vec::new();
    for (name, amount) in [("cpus", resources.cpus()), ("mem", resources.mem())] {
        if let Some(amount) = amount {
            parts.push(format!("{name}: {}", decimal(amount)));
        }
    }
    let mut ports = String::new();
    for range in resources.ports().iter() {
        let comma = if ports.is_empty() { "" } else { "," };
        let _ = write!(ports, "{comma}{}-{}", range.0, range.1);
    }
    if !ports.is_empty() {
        parts.push(format!("ports: {ports}"));
    }
    parts.join(", ")
}

/// One to three digits behind the point.
fn decimal(Millis(amount): Millis) -> String {
    let fraction = format!("{:03}", amount % 1000);
    let digits = fraction.trim_end_matches('0');
    format!("{}.{}", amount / 1000, if digits.is_empty() { "0" } else { digits })
}

#[cfg(test)]
mod tests {
    use marmoset_proto::resources;

    use super::*;

    #[test]
    fn offers_read_as_they_always_did() {
        let amounts = |text: &str| amounts(&resources::parse(text).unwrap());
        assert_eq!(
            amounts("cpus:4;mem:6686;ports:[8000-8100]"),
            "cpus: 4.0, mem: 6686.0, ports: 8000-8100"
        );
        assert_eq!(
            amounts("cpus:3.4;mem:6566;ports:[8003-8003,8006-8100];disk:100"),
            "cpus: 3.4, mem: 6566.0, ports: 8003-8003,8006-8100"
        );
        assert_eq!(amounts("cpus:0.125"), "cpus: 0.125");
        assert_eq!(amounts("mem:10"), "mem: 10.0");
    }
}
