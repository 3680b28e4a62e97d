//! Frameworks of one's own: implement [`Framework::offers`], and nothing else if nothing else is needed.
//!
//! Owns the loop around a [`Session`] that turns events into calls of a trait, and
//! acknowledges updates. Refuses to decide what runs where: that is the whole
//! point of the trait. For jobs there is [`run`](crate::run).
//!
//! ```no_run
//! use marmoset_scheduler::{
//!     CancellationToken, ConnectionConfig, Driver, Framework, Identity, SessionConfig, drive,
//! };
//! use marmoset_proto::mesos::v1::Offer;
//!
//! struct Picky;
//!
//! impl Framework for Picky {
//!     fn offers(&mut self, offers: Vec<Offer>, driver: &mut Driver) {
//!         for offer in offers {
//!             driver.decline(&offer);
//!         }
//!     }
//! }
//!
//! # async fn example() -> Result<(), marmoset_scheduler::SessionError> {
//! let connection = ConnectionConfig::new(vec!["127.0.0.1:5050".to_owned()]);
//! let config = SessionConfig::new(connection, Identity::new("picky", "root"));
//! drive(config, &mut Picky, CancellationToken::new()).await
//! # }
//! ```

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use marmoset_proto::mesos::v1::{
    AgentId, ExecutorId, Filters, FrameworkId, Offer, OfferId, TaskId, TaskInfo, TaskStatus,
    offer::{Operation, operation},
    scheduler::{Call, Event, call, event},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::SessionError,
    narrative,
    session::{Session, SessionConfig, SessionEvent},
};

/// What a framework does when something happens. Only [`offers`](Self::offers) is required.
///
/// Callbacks run one after the other and must not block; what they want done they tell the
/// [`Driver`], whose calls are sent in order when the callback returns.
pub trait Framework {
    /// Agents offer resources. Each offer is to be used or declined; one that is neither stays
    /// reserved for this framework.
    fn offers(&mut self, offers: Vec<Offer>, driver: &mut Driver);

    /// The framework is registered, for the first time or again. Offers of before are void.
    fn registered(&mut self, framework_id: &FrameworkId, driver: &mut Driver) {
        let _ = (framework_id, driver);
    }

    /// There is no master for the moment.
    fn disconnected(&mut self, why: &str) {
        let _ = why;
    }

    /// The master has forgotten the framework: all its tasks are gone. It registers as a new one.
    fn removed(&mut self, driver: &mut Driver) {
        let _ = driver;
    }

    /// A task tells its state. It is acknowledged when this returns; an update may come twice.
    fn update(&mut self, status: &TaskStatus, driver: &mut Driver) {
        let _ = (status, driver);
    }

    /// An offer is void.
    fn rescinded(&mut self, offer_id: &OfferId, driver: &mut Driver) {
        let _ = (offer_id, driver);
    }

    /// An executor sent a message. Mesos does not promise that it arrives.
    fn message(
        &mut self,
        agent: &AgentId,
        executor: &ExecutorId,
        data: &[u8],
        driver: &mut Driver,
    ) {
        let _ = (agent, executor, data, driver);
    }

    /// An agent is gone, or, if one is named, an executor. Tasks tell their end by updates.
    fn failure(
        &mut self,
        agent: Option<&AgentId>,
        executor: Option<&ExecutorId>,
        driver: &mut Driver,
    ) {
        let _ = (agent, executor, driver);
    }
}

/// Collects what a callback wants done.
#[derive(Debug, Default)]
pub struct Driver {
    calls: VecDeque<Call>,
    is_finished: bool,
}

impl Driver {
    /// Launches tasks with an offer. What they leave over is offered again at once.
    pub fn launch(&mut self, offer: &Offer, tasks: Vec<TaskInfo>) {
        for task in &tasks {
            tracing::info!(target: "marmoset", "Creating task {}", task.task_id);
        }
        let launch = Operation {
            r#type: Some(operation::Type::Launch.into()),
            launch: Some(operation::Launch { task_infos: tasks }),
            ..Operation::default()
        };
        self.accept(vec![offer.id.clone()], vec![launch], Duration::ZERO);
    }

    /// Accepts offers of one agent with any operations; the rest is not offered for `refuse`.
    pub fn accept(
        &mut self,
        offer_ids: Vec<OfferId>,
        operations: Vec<Operation>,
        refuse: Duration,
    ) {
        self.call(Call {
            accept: Some(call::Accept { offer_ids, operations, filters: Some(filters(refuse)) }),
            ..of(call::Type::Accept)
        });
    }

    /// Declines an offer; the agent's resources are not offered again for Mesos' five seconds.
    pub fn decline(&mut self, offer: &Offer) {
        self.decline_for(offer, Duration::from_secs(5));
    }

    /// Declines an offer; the agent's resources are not offered again for that long.
    pub fn decline_for(&mut self, offer: &Offer, refuse: Duration) {
        tracing::info!(target: "marmoset", "Declining offer");
        self.call(Call {
            decline: Some(call::Decline {
                offer_ids: vec![offer.id.clone()],
                filters: Some(filters(refuse)),
            }),
            ..of(call::Type::Decline)
        });
    }

    /// Asks for a task's end. To be repeated until its terminal update: nobody else does.
    pub fn kill(&mut self, task_id: TaskId, agent_id: Option<AgentId>) {
        let kill = call::Kill { task_id, agent_id, kill_policy: None };
        self.call(Call { kill: Some(kill), ..of(call::Type::Kill) });
    }

    /// Asks for offers again, whatever was declined or suppressed.
    pub fn revive(&mut self) {
        self.call(of(call::Type::Revive));
    }

    /// Asks for no offers until [`revive`](Self::revive).
    pub fn suppress(&mut self) {
        self.call(of(call::Type::Suppress));
    }

    /// Sends a message to an executor. Mesos does not promise that it arrives.
    pub fn message(&mut self, agent_id: AgentId, executor_id: ExecutorId, data: Bytes) {
        let message = call::Message { agent_id, executor_id, data };
        self.call(Call { message: Some(message), ..of(call::Type::Message) });
    }

    /// Makes any call; the framework id is filled in.
    pub fn call(&mut self, call: Call) {
        self.calls.push_back(call);
    }

    /// Ends the framework once everything before is sent: TEARDOWN.
    pub fn finish(&mut self) {
        self.is_finished = true;
    }

    fn acknowledge(&mut self, status: &TaskStatus) {
        // Exactly the updates that carry a uuid are acknowledged.
        if let (Some(uuid), Some(agent_id)) = (&status.uuid, &status.agent_id) {
            let acknowledge = call::Acknowledge {
                agent_id: agent_id.clone(),
                task_id: status.task_id.clone(),
                uuid: uuid.clone(),
            };
            self.call(Call { acknowledge: Some(acknowledge), ..of(call::Type::Acknowledge) });
        }
    }
}

fn of(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Call::default() }
}

fn filters(refuse: Duration) -> Filters {
    Filters { refuse_seconds: Some(refuse.as_secs_f64()) }
}

/// Runs a framework until it finishes itself, `stop` is cancelled (then it is torn down), or the
/// session is over.
///
/// # Errors
/// The session is over: no master answers in the time given, refuses the framework, or another
/// scheduler took it over.
pub async fn drive<F: Framework>(
    config: SessionConfig,
    framework: &mut F,
    stop: CancellationToken,
) -> Result<(), SessionError> {
    let mut session = Session::start(config)?;
    let mut driver = Driver::default();
    let mut story = narrative::Connection::default();
    while !driver.is_finished {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            event = session.next() => event?,
        };
        match event {
            SessionEvent::Subscribed { framework_id, .. } => {
                story.registered(&framework_id);
                framework.registered(&framework_id, &mut driver);
            }
            SessionEvent::Unsubscribed { why } => {
                story.unsubscribed(&why);
                framework.disconnected(&why);
            }
            SessionEvent::Removed => framework.removed(&mut driver),
            SessionEvent::Event(event) => dispatch(*event, framework, &mut driver),
        }
        for call in driver.calls.drain(..) {
            if session.send(call).is_err() {
                tracing::warn!("calls are dropped: there is no master for the moment");
            }
        }
    }
    session.teardown().await;
    Ok(())
}

fn dispatch<F: Framework>(event: Event, framework: &mut F, driver: &mut Driver) {
    match event.r#type() {
        event::Type::Offers => {
            let offers = event.offers.map(|offers| offers.offers).unwrap_or_default();
            for offer in &offers {
                narrative::offered(offer);
            }
            framework.offers(offers, driver);
        }
        event::Type::Update => {
            if let Some(update) = event.update {
                narrative::updated(&update.status);
                framework.update(&update.status, driver);
                driver.acknowledge(&update.status);
            }
        }
        event::Type::Rescind => {
            if let Some(rescind) = event.rescind {
                framework.rescinded(&rescind.offer_id, driver);
            }
        }
        event::Type::Message => {
            if let Some(message) = event.message {
                let event::Message { agent_id, executor_id, data } = message;
                framework.message(&agent_id, &executor_id, &data, driver);
            }
        }
        event::Type::Failure => {
            if let Some(failure) = event.failure {
                let (agent, executor) = (failure.agent_id.as_ref(), failure.executor_id.as_ref());
                framework.failure(agent, executor, driver);
            }
        }
        event::Type::InverseOffers
        | event::Type::RescindInverseOffer
        | event::Type::UpdateOperationStatus => {
            tracing::debug!(event = event.r#type().as_str_name(), "not handled");
        }
        // The session keeps these to itself.
        event::Type::Subscribed
        | event::Type::Error
        | event::Type::Heartbeat
        | event::Type::Unknown => {}
    }
}
