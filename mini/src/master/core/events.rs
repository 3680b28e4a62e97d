//! Events for schedulers, ready to send.

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    AgentId, ExecutorId, FrameworkId, MasterInfo, Offer, OfferId, OperationStatus, TaskStatus,
    scheduler::{
        Event,
        event::{
            Error, Failure, Message, Offers, Rescind, Subscribed, Type, Update,
            UpdateOperationStatus,
        },
    },
};

pub(super) fn subscribed(
    framework_id: FrameworkId,
    master_info: MasterInfo,
    heartbeat_interval: std::time::Duration,
) -> Event {
    Event {
        subscribed: Some(Subscribed {
            framework_id,
            heartbeat_interval_seconds: Some(heartbeat_interval.as_secs_f64()),
            master_info: Some(master_info),
        }),
        ..of(Type::Subscribed)
    }
}

pub(super) fn heartbeat() -> Event {
    of(Type::Heartbeat)
}

pub(super) fn offers(offers: Vec<Offer>) -> Event {
    Event { offers: Some(Offers { offers }), ..of(Type::Offers) }
}

pub(super) fn rescind(offer_id: OfferId) -> Event {
    Event { rescind: Some(Rescind { offer_id }), ..of(Type::Rescind) }
}

pub(super) fn update(status: TaskStatus) -> Event {
    Event { update: Some(Update { status }), ..of(Type::Update) }
}

pub(super) fn operation(status: OperationStatus) -> Event {
    Event {
        update_operation_status: Some(UpdateOperationStatus { status }),
        ..of(Type::UpdateOperationStatus)
    }
}

pub(super) fn message(agent_id: AgentId, executor_id: ExecutorId, data: Bytes) -> Event {
    Event { message: Some(Message { agent_id, executor_id, data }), ..of(Type::Message) }
}

/// An agent was removed.
pub(super) fn agent_failure(agent_id: AgentId) -> Event {
    let failure = Failure { agent_id: Some(agent_id), ..Failure::default() };
    Event { failure: Some(failure), ..of(Type::Failure) }
}

/// An executor ended with a wait status.
pub(super) fn executor_failure(agent_id: AgentId, executor_id: ExecutorId, status: i32) -> Event {
    let failure =
        Failure { agent_id: Some(agent_id), executor_id: Some(executor_id), status: Some(status) };
    Event { failure: Some(failure), ..of(Type::Failure) }
}

pub(super) fn error(message: impl Into<String>) -> Event {
    Event { error: Some(Error { message: message.into() }), ..of(Type::Error) }
}

fn of(kind: Type) -> Event {
    Event { r#type: Some(kind.into()), ..Event::default() }
}
