//! A scripted fake master: real sockets and real HTTP, and nothing of Mesos behind them.
//!
//! The test plays the master: it takes calls with [`FakeMaster::expect`], in order, and sends
//! events. A call of another type than expected fails the test.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]
#![expect(dead_code, reason = "each test file uses its part of it")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{
        FrameworkId, Offer, TaskInfo, TaskState, TaskStatus,
        offer::operation,
        scheduler::{Call, Event, call, event},
        task_status,
    },
    recordio, resources,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};

/// How long a test waits for a call that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What SUBSCRIBE is answered with, other than a stream.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    Redirect(SocketAddr),
    Status(u16, &'static str, &'static str),
}

pub(crate) struct FakeMaster {
    pub(crate) address: SocketAddr,
    calls: mpsc::UnboundedReceiver<(Call, HeaderMap)>,
    shared: Arc<Shared>,
    stream: Option<mpsc::UnboundedSender<Bytes>>,
}

#[derive(Default)]
struct Shared {
    refusal: Mutex<Option<Refusal>>,
    files: Mutex<Vec<(String, Vec<u8>)>>,
    stream: Mutex<Option<mpsc::UnboundedSender<Bytes>>>,
}

type Served = (Arc<Shared>, mpsc::UnboundedSender<(Call, HeaderMap)>);

impl FakeMaster {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        // One test's calls.
        let (sender, calls) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/api/v1/scheduler", post(scheduler))
            .route("/files/download", get(download))
            .with_state((Arc::clone(&shared), sender));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, calls, shared, stream: None }
    }

    pub(crate) fn host_and_port(&self) -> String {
        self.address.to_string()
    }

    /// Answers SUBSCRIBE with something else from now on.
    pub(crate) async fn refuse(&self, refusal: Refusal) {
        *self.shared.refusal.lock().await = Some(refusal);
    }

    /// Makes a file that `/files/download` gives.
    pub(crate) async fn file(&self, path: &str, content: &[u8]) {
        self.shared.files.lock().await.push((path.to_owned(), content.to_vec()));
    }

    /// Takes the next call, which must be of this type.
    pub(crate) async fn expect(&mut self, kind: call::Type) -> Call {
        self.expect_with_headers(kind).await.0
    }

    pub(crate) async fn expect_with_headers(&mut self, kind: call::Type) -> (Call, HeaderMap) {
        let next = timeout(PATIENCE, self.calls.recv()).await;
        let (call, headers) = next
            .unwrap_or_else(|_| panic!("no {} came", kind.as_str_name()))
            .expect("the server runs");
        assert_eq!(call.r#type(), kind, "{call:?}");
        if kind == call::Type::Subscribe {
            self.stream = self.shared.stream.lock().await.take();
        }
        (call, headers)
    }

    /// Takes calls until there is one of this type; the others must be among `between`.
    pub(crate) async fn expect_after(&mut self, kind: call::Type, between: &[call::Type]) -> Call {
        loop {
            let next = timeout(PATIENCE, self.calls.recv()).await;
            let (call, _) = next
                .unwrap_or_else(|_| panic!("no {} came", kind.as_str_name()))
                .expect("the server runs");
            if call.r#type() == kind {
                return call;
            }
            assert!(between.contains(&call.r#type()), "{call:?}");
        }
    }

    /// Asserts that no call has come.
    pub(crate) fn assert_quiet(&mut self) {
        if let Ok((call, _)) = self.calls.try_recv() {
            panic!("nobody expected {call:?}");
        }
    }

    /// Takes SUBSCRIBE and answers SUBSCRIBED with this framework id.
    pub(crate) async fn subscribed(&mut self, framework_id: &str) -> Call {
        let call = self.expect(call::Type::Subscribe).await;
        self.send(Event {
            subscribed: Some(event::Subscribed {
                framework_id: framework_id.into(),
                heartbeat_interval_seconds: Some(15.0),
                ..event::Subscribed::default()
            }),
            ..of(event::Type::Subscribed)
        });
        call
    }

    pub(crate) fn send(&self, event: Event) {
        let record = recordio::encode(&codec::encode(&event, Encoding::Protobuf));
        self.stream.as_ref().expect("subscribed").send(record).unwrap();
    }

    pub(crate) fn offer(&self, offer: Offer) {
        self.send(Event {
            offers: Some(event::Offers { offers: vec![offer] }),
            ..of(event::Type::Offers)
        });
    }

    pub(crate) fn update(&self, status: TaskStatus) {
        self.send(Event { update: Some(event::Update { status }), ..of(event::Type::Update) });
    }

    pub(crate) fn error(&self, message: &str) {
        let message = message.to_owned();
        self.send(Event { error: Some(event::Error { message }), ..of(event::Type::Error) });
    }

    /// Ends the event stream.
    pub(crate) fn cut(&mut self) {
        self.stream = None;
    }

    /// An offer of this agent, whose files this same server gives.
    pub(crate) fn an_offer(&self, id: &str, framework_id: &str, amounts: &str) -> Offer {
        let mut resources = resources::parse(amounts).unwrap();
        resources.allocate("*");
        Offer {
            id: id.into(),
            framework_id: FrameworkId::from(framework_id),
            agent_id: "agent-1".into(),
            hostname: "127.0.0.1".to_owned(),
            url: Some(marmoset_proto::mesos::v1::Url {
                scheme: "http".to_owned(),
                address: marmoset_proto::mesos::v1::Address {
                    hostname: Some("127.0.0.1".to_owned()),
                    ip: Some("127.0.0.1".to_owned()),
                    port: i32::from(self.address.port()),
                },
                path: Some("/slave(1)".to_owned()),
                ..Default::default()
            }),
            resources: resources.to_proto(),
            allocation_info: Some(marmoset_proto::mesos::v1::resource::AllocationInfo {
                role: Some("*".to_owned()),
            }),
            ..Offer::default()
        }
    }
}

/// An event of this type.
pub(crate) fn of(kind: event::Type) -> Event {
    Event { r#type: Some(kind.into()), ..Event::default() }
}

/// A status as an executor's agent sends it; `uuid` makes it one to be acknowledged.
pub(crate) fn status(task: &TaskInfo, state: TaskState, uuid: Option<u8>) -> TaskStatus {
    TaskStatus {
        task_id: task.task_id.clone(),
        state: state.into(),
        source: Some(task_status::Source::Executor.into()),
        agent_id: Some(task.agent_id.clone()),
        executor_id: task.executor.as_ref().map(|executor| executor.executor_id.clone()),
        uuid: uuid.map(|byte| Bytes::from(vec![byte; 16])),
        ..TaskStatus::default()
    }
}

/// The tasks that an ACCEPT launches.
pub(crate) fn launched(accept: &Call) -> Vec<TaskInfo> {
    let operations = &accept.accept.as_ref().unwrap().operations;
    operations
        .iter()
        .filter(|operation| operation.r#type() == operation::Type::Launch)
        .flat_map(|operation| operation.launch.clone().unwrap().task_infos)
        .collect()
}

async fn scheduler(
    State((shared, calls)): State<Served>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call: Call = codec::decode(&body, Encoding::Protobuf).unwrap();
    if call.r#type() != call::Type::Subscribe {
        let _ = calls.send((call, headers));
        return StatusCode::ACCEPTED.into_response();
    }
    if let Some(refusal) = shared.refusal.lock().await.clone() {
        let _ = calls.send((call, headers));
        return match refusal {
            Refusal::Redirect(to) => (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, format!("//{to}/api/v1/scheduler"))],
            )
                .into_response(),
            Refusal::Status(status, kind, body) => {
                (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, kind)], body)
                    .into_response()
            }
        };
    }
    // Whatever the script sends.
    let (stream, records) = mpsc::unbounded_channel();
    *shared.stream.lock().await = Some(stream);
    let _ = calls.send((call, headers));
    let records = UnboundedReceiverStream::new(records).map(Ok::<_, std::io::Error>);
    (
        [("content-type", "application/x-protobuf"), ("mesos-stream-id", "a-stream")],
        Body::from_stream(records),
    )
        .into_response()
}

async fn download(
    State((shared, _)): State<Served>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let path = query.into_iter().find(|(name, _)| name == "path").map(|(_, value)| value);
    let files = shared.files.lock().await;
    match files.iter().find(|(name, _)| Some(name) == path.as_ref()) {
        Some((_, content)) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
