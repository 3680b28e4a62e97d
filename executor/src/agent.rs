//! The connection to the agent.
//!
//! Owns one subscription at a time and the ways for its UPDATE calls. Refuses to
//! decide when to connect, and which way an update takes: the core does, and is
//! told everything that happens. Called by the dispatcher.
//!
//! A task per subscription reads events; others, started by it, one for each
//! lane, encode calls and send them one after the other, over a connection that
//! is opened with the first. They outlive the stream: last updates are worth
//! sending when the agent has closed it.

use marmoset_executor_core::{CallId, ConnectionId, Disconnection, Input, LaneId};
use marmoset_http::{CallError, Calls, Client, Endpoint, StreamError, SubscribeError};
use marmoset_proto::mesos::v1::executor::{Call, Event};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Inputs that may wait for the dispatcher; then the stream is read no further.
const INPUTS: usize = 256;

/// Calls that a lane holds: one on its way, which the core may give up with the stream, and one
/// after it.
const CALLS: usize = 2;

/// A call and its name.
type Named = (CallId, Box<Call>);

/// The agent, as the dispatcher sees it.
#[derive(Debug)]
pub(crate) struct Agent {
    client: Client,
    endpoint: Endpoint,
    path: String,
    /// How many lanes the core sends calls over.
    lanes: usize,
    inputs: mpsc::Sender<Input>,
    received: mpsc::Receiver<Input>,
    tasks: TaskTracker,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    stream: CancellationToken,
    lanes: Vec<mpsc::Sender<Named>>,
}

impl Agent {
    pub(crate) fn new(client: Client, endpoint: Endpoint, path: String, lanes: usize) -> Self {
        let (inputs, received) = mpsc::channel(INPUTS);
        let tasks = TaskTracker::new();
        Self { client, endpoint, path, lanes, inputs, received, tasks, current: None }
    }

    /// Replaces the connection.
    pub(crate) fn subscribe(&mut self, id: ConnectionId, call: Box<Call>) {
        self.disconnect();
        let stream = CancellationToken::new();
        let (lanes, waiting) = (0..self.lanes).map(|_| mpsc::channel(CALLS)).unzip();
        let connection = Connection {
            id,
            client: self.client.clone(),
            endpoint: self.endpoint.clone(),
            path: self.path.clone(),
            inputs: self.inputs.clone(),
            tasks: self.tasks.clone(),
        };
        let cancelled = stream.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => {}
                () = connection.run(&call, waiting) => {}
            }
        });
        self.current = Some(Current { stream, lanes });
    }

    /// Stops listening. Calls that were handed over still go out.
    pub(crate) fn disconnect(&mut self) {
        if let Some(current) = &self.current {
            current.stream.cancel();
        }
    }

    /// Sends an UPDATE. Gives it back as failed if there is no way.
    pub(crate) fn update(&mut self, id: CallId, lane: LaneId, call: Box<Call>) -> Option<Input> {
        let failed =
            |reason: &str| Some(Input::CallFailed(id, Disconnection::Broken(reason.to_string())));
        match self.current.as_ref().and_then(|current| current.lanes.get(lane.0)) {
            None => failed("there is no connection"),
            Some(lane) => match lane.try_send((id, call)) {
                Ok(()) => None,
                Err(_) => failed("the connection for calls is gone"),
            },
        }
    }

    /// What has happened besides, if there is something.
    pub(crate) fn waiting(&mut self) -> Option<Input> {
        self.received.try_recv().ok()
    }

    /// What happened next. May be cancelled.
    pub(crate) async fn next(&mut self) -> Input {
        self.received.recv().await.expect("the sender is kept")
    }
}

struct Connection {
    id: ConnectionId,
    client: Client,
    endpoint: Endpoint,
    path: String,
    inputs: mpsc::Sender<Input>,
    tasks: TaskTracker,
}

impl Connection {
    async fn run(self, call: &Call, lanes: Vec<mpsc::Receiver<Named>>) {
        let subscribed = self.client.subscribe::<Call, Event>(&self.endpoint, &self.path, call);
        let mut subscription = match subscribed.await {
            Ok(subscription) => subscription,
            Err(error) => return self.tell(Input::Disconnected(self.id, refused(&error))).await,
        };
        self.tell(Input::Connected(self.id)).await;
        for waiting in lanes {
            self.tasks.spawn(send(subscription.calls(), waiting, self.inputs.clone()));
        }
        let end = loop {
            match subscription.next().await {
                Ok(Some(event)) => self.tell(Input::Event(self.id, Box::new(event))).await,
                Ok(None) => break Disconnection::Ended,
                Err(error) if error.ends_stream() => break broken(&error),
                Err(error) => {
                    tracing::error!(error = chain(&error), "an event was not understood");
                }
            }
        };
        self.tell(Input::Disconnected(self.id, end)).await;
    }

    async fn tell(&self, input: Input) {
        // The dispatcher ends last.
        let _ = self.inputs.send(input).await;
    }
}

/// Sends one call after the other, in their order.
async fn send(calls: Calls, mut waiting: mpsc::Receiver<Named>, inputs: mpsc::Sender<Input>) {
    while let Some((id, call)) = waiting.recv().await {
        let input = match calls.send(&*call).await {
            Ok(_) => Input::CallDone(id),
            Err(error) => Input::CallFailed(id, failed(&error)),
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

fn refused(error: &SubscribeError) -> Disconnection {
    match error.is_retryable() {
        true => Disconnection::Broken(chain(error)),
        false => Disconnection::Refused(chain(error)),
    }
}

fn broken(error: &StreamError) -> Disconnection {
    Disconnection::Broken(chain(error))
}

fn failed(error: &CallError) -> Disconnection {
    match error.is_fatal() {
        true => Disconnection::Refused(chain(error)),
        false => Disconnection::Broken(chain(error)),
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
