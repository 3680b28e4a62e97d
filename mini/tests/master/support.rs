//! A scheduler of plain HTTP and JSON, and an agent that does what the test says.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use marmoset_mini::{
    Cluster, ClusterConfig, MasterConfig, MasterTimers,
    link::{ToAgent, ToMaster},
};
use marmoset_proto::{
    mesos::v1::{
        AgentId, AgentInfo, Attribute, ExecutorId, FrameworkId, TaskId, TaskInfo, TaskState,
        TaskStatus, task_status::Source, value,
    },
    recordio, resources,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Resources of a scripted agent.
pub(crate) const RESOURCES: &str = "cpus:8;mem:8192;disk:10000;ports:[8000-8100]";

/// A cluster without agents whose allocator runs often.
pub(crate) async fn cluster() -> Cluster {
    cluster_with(|_| {}).await
}

pub(crate) async fn cluster_with(change: impl FnOnce(&mut MasterConfig)) -> Cluster {
    let mut master = MasterConfig {
        timers: MasterTimers {
            allocation_interval: Duration::from_millis(50),
            ..MasterTimers::default()
        },
        seed: Some(1),
        ..MasterConfig::default()
    };
    change(&mut master);
    let config = ClusterConfig { hostname: "localhost".to_owned(), master, agents: Vec::new() };
    Cluster::start(config).await.unwrap()
}

/// A framework of the kind the recordings have.
pub(crate) fn framework() -> Value {
    json!({
        "user": "root",
        "name": "test",
        "roles": ["*"],
        "capabilities": [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}],
        "failover_timeout": 0.0,
    })
}

/// The same, patient.
pub(crate) fn patient_framework() -> Value {
    let mut info = framework();
    info["failover_timeout"] = json!(1000.0);
    info["checkpoint"] = json!(true);
    info
}

pub(crate) fn client() -> reqwest::Client {
    // No TLS is ever used here, but the client wants a provider for it.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .build()
        .unwrap()
}

/// One subscription and a connection for calls.
pub(crate) struct Scheduler {
    client: reqwest::Client,
    url: String,
    pub(crate) stream_id: String,
    pub(crate) id: Value,
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    records: recordio::Decoder,
}

impl Scheduler {
    /// Subscribes and reads SUBSCRIBED and the first HEARTBEAT.
    pub(crate) async fn subscribe(addr: SocketAddr, info: Value) -> Self {
        let mut scheduler = Self::open(addr, info).await;
        let event = scheduler.event().await.unwrap();
        assert_eq!(event["type"], "SUBSCRIBED", "{event}");
        scheduler.id = event["subscribed"]["framework_id"].clone();
        assert_eq!(scheduler.event().await.unwrap()["type"], "HEARTBEAT");
        scheduler
    }

    /// Sends a SUBSCRIBE and reads nothing.
    pub(crate) async fn open(addr: SocketAddr, info: Value) -> Self {
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        if let Some(id) = info.get("id") {
            call["framework_id"] = id.clone();
        }
        Self::open_with(addr, call).await
    }

    pub(crate) async fn open_with(addr: SocketAddr, call: Value) -> Self {
        let client = client();
        let url = format!("http://{addr}/api/v1/scheduler");
        let response = client
            .post(&url)
            .header("Content-Type", "application/json")
            .header("Accept", "application/json")
            .body(call.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        let stream_id = response.headers()["mesos-stream-id"].to_str().unwrap().to_owned();
        Self {
            client,
            url,
            stream_id,
            id: call["framework_id"].clone(),
            body: response.bytes_stream().boxed(),
            records: recordio::Decoder::new(64 << 20),
        }
    }

    /// The next event, or none when the stream has ended.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("an event in time")
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            if let Some(record) = self.records.next().unwrap() {
                return Some(serde_json::from_slice(&record).unwrap());
            }
            self.records.push(&self.body.next().await?.ok()?);
        }
    }

    /// The next event that is not HEARTBEAT, which must be of that type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await.expect("the stream goes on");
            if event["type"] != "HEARTBEAT" {
                assert_eq!(event["type"], kind, "{event}");
                return event;
            }
        }
    }

    /// The next event of that type; others before it are skipped.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await.expect("the stream goes on");
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The next OFFERS, which must hold one offer.
    pub(crate) async fn offer(&mut self) -> Value {
        let event = self.next("OFFERS").await;
        let offers = event["offers"]["offers"].as_array().unwrap().clone();
        assert_eq!(offers.len(), 1, "{event}");
        offers[0].clone()
    }

    /// The next UPDATE's status; offers are skipped.
    pub(crate) async fn status(&mut self) -> Value {
        self.next("UPDATE").await["update"]["status"].clone()
    }

    /// Makes a call; the framework id is filled in.
    pub(crate) async fn call(&self, mut call: Value) -> (u16, String) {
        call["framework_id"] = self.id.clone();
        let stream = Some(self.stream_id.as_str());
        post(&self.client, &self.url, stream, &call).await
    }

    /// Makes a call that must be accepted.
    pub(crate) async fn ok(&self, call: Value) {
        let kind = call["type"].clone();
        let answer = self.call(call).await;
        assert_eq!(answer, (202, String::new()), "{kind}");
    }

    /// Declines an offer.
    pub(crate) async fn decline(&self, offer: &Value, refuse_seconds: f64) {
        self.ok(json!({"type": "DECLINE", "decline": {
            "offer_ids": [offer["id"]], "filters": {"refuse_seconds": refuse_seconds}}}))
            .await;
    }

    /// Launches tasks on an offer; what is left comes back at once.
    pub(crate) async fn launch(&self, offer: &Value, tasks: Vec<Value>) {
        self.accept(offer, json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}])).await;
    }

    pub(crate) async fn accept(&self, offer: &Value, operations: Value) {
        self.ok(json!({"type": "ACCEPT", "accept": {
            "offer_ids": [offer["id"]],
            "operations": operations,
            "filters": {"refuse_seconds": 0.0}}}))
            .await;
    }

    pub(crate) async fn acknowledge(&self, status: &Value) {
        self.ok(json!({"type": "ACKNOWLEDGE", "acknowledge": {
            "agent_id": status["agent_id"],
            "task_id": status["task_id"],
            "uuid": status["uuid"]}}))
            .await;
    }
}

pub(crate) async fn post(
    client: &reqwest::Client,
    url: &str,
    stream: Option<&str>,
    call: &Value,
) -> (u16, String) {
    let mut request =
        client.post(url).header("Content-Type", "application/json").body(call.to_string());
    if let Some(stream) = stream {
        request = request.header("Mesos-Stream-Id", stream);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

pub(crate) async fn get(addr: SocketAddr, path: &str) -> Value {
    let response = client().get(format!("http://{addr}{path}")).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

pub(crate) fn scalar(name: &str, value: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
}

/// A task with a command, for the agent's built-in executor.
pub(crate) fn command_task(id: &str, offer: &Value, cpus: f64) -> Value {
    json!({
        "name": id,
        "task_id": {"value": id},
        "agent_id": offer["agent_id"],
        "command": {"value": "true"},
        "resources": [scalar("cpus", cpus), scalar("mem", 16.0)],
    })
}

/// A task of the resident executor.
pub(crate) fn task(id: &str, offer: &Value, cpus: f64) -> Value {
    let mut task = command_task(id, offer, cpus);
    task.as_object_mut().unwrap().remove("command");
    task["executor"] = executor();
    task
}

pub(crate) fn executor() -> Value {
    json!({
        "type": "CUSTOM",
        "executor_id": {"value": "resident"},
        "command": {"value": "exec resident", "shell": true},
        "resources": [scalar("cpus", 0.1), scalar("mem", 32.0)],
    })
}

/// The amount of a scalar in an offer.
pub(crate) fn amount(offer: &Value, name: &str) -> f64 {
    offer["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|resource| resource["name"] == name)
        .filter_map(|resource| resource["scalar"]["value"].as_f64())
        .sum()
}

/// An agent whose every message a test writes.
pub(crate) struct FakeAgent {
    pub(crate) id: AgentId,
    pub(crate) addr: SocketAddr,
    info: AgentInfo,
    to_master: mpsc::UnboundedSender<ToMaster>,
    from_master: mpsc::UnboundedReceiver<ToAgent>,
}

impl FakeAgent {
    pub(crate) async fn register(cluster: &Cluster) -> Self {
        Self::register_with(cluster, RESOURCES, "a1", &[]).await
    }

    pub(crate) async fn register_with(
        cluster: &Cluster,
        resources: &str,
        hostname: &str,
        attributes: &[(&str, &str)],
    ) -> Self {
        static NEXT_PORT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
        let port = NEXT_PORT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let info = AgentInfo {
            hostname: hostname.to_owned(),
            resources: resources::parse(resources).unwrap().to_proto(),
            attributes: attributes
                .iter()
                .map(|(name, text)| Attribute {
                    name: (*name).to_owned(),
                    r#type: value::Type::Text.into(),
                    text: Some(value::Text { value: (*text).to_owned() }),
                    ..Attribute::default()
                })
                .collect(),
            port: Some(port.into()),
            ..AgentInfo::default()
        };
        let to_master = cluster.master_link();
        let (link, from_master) = mpsc::unbounded_channel();
        to_master.send(ToMaster::Register { info: info.clone(), addr, link }).unwrap();
        let mut agent = Self { id: AgentId::default(), addr, info, to_master, from_master };
        agent.read_id().await;
        agent
    }

    async fn read_id(&mut self) {
        match self.message().await {
            Some(ToAgent::Registered { agent_id }) => self.id = agent_id,
            other => panic!("expected an id, not {other:?}"),
        }
        self.info.id = Some(self.id.clone());
    }

    /// Ends without a word to the master.
    pub(crate) fn vanish(&mut self) {
        self.from_master.close();
    }

    /// Starts anew at the same address, as if it had never known its id.
    pub(crate) async fn register_anew(&mut self) {
        let (link, from_master) = mpsc::unbounded_channel();
        self.from_master = from_master;
        let info = AgentInfo { id: None, ..self.info.clone() };
        self.to_master.send(ToMaster::Register { info, addr: self.addr, link }).unwrap();
        self.read_id().await;
    }

    /// Comes back with these tasks.
    pub(crate) async fn reregister(&mut self, tasks: Vec<(FrameworkId, TaskInfo, TaskState)>) {
        let (link, from_master) = mpsc::unbounded_channel();
        self.from_master = from_master;
        self.to_master
            .send(ToMaster::Reregister {
                info: self.info.clone(),
                addr: self.addr,
                link,
                frameworks: Vec::new(),
                executors: Vec::new(),
                tasks,
            })
            .unwrap();
        self.read_id().await;
    }

    pub(crate) fn disconnect(&self) {
        self.to_master.send(ToMaster::Disconnected { agent_id: self.id.clone() }).unwrap();
    }

    /// The next message, or none when the master has closed the link.
    pub(crate) async fn message(&mut self) -> Option<ToAgent> {
        tokio::time::timeout(PATIENCE, self.from_master.recv()).await.expect("a message in time")
    }

    /// The next message, which must be a task to run.
    pub(crate) async fn run_task(&mut self) -> (FrameworkId, TaskInfo, bool) {
        match self.message().await {
            Some(ToAgent::RunTask { framework, task, launch_executor }) => {
                (framework.id.unwrap(), task, launch_executor)
            }
            other => panic!("expected a task, not {other:?}"),
        }
    }

    /// Whether nothing was sent to it that it has not read.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.from_master.try_recv().is_err()
    }

    /// Sends an update whose state is the latest.
    pub(crate) fn update(&self, framework: &FrameworkId, task: &TaskId, state: TaskState) {
        self.update_ahead(framework, task, state, state);
    }

    /// Sends an update that is behind the latest state.
    pub(crate) fn update_ahead(
        &self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        state: TaskState,
        latest_state: TaskState,
    ) -> Bytes {
        let uuid = Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let status = TaskStatus {
            task_id: task_id.clone(),
            state: state.into(),
            source: Some(Source::Executor.into()),
            agent_id: Some(self.id.clone()),
            uuid: Some(uuid.clone()),
            timestamp: Some(1.0),
            data: Some(Bytes::from_static(b"data")),
            ..TaskStatus::default()
        };
        self.send(framework_id, status, latest_state);
        uuid
    }

    pub(crate) fn send(
        &self,
        framework_id: &FrameworkId,
        status: TaskStatus,
        latest_state: TaskState,
    ) {
        self.to_master
            .send(ToMaster::StatusUpdate {
                agent_id: self.id.clone(),
                framework_id: framework_id.clone(),
                executor_id: Some(ExecutorId::from("resident")),
                status: Box::new(status),
                latest_state,
            })
            .unwrap();
    }

    pub(crate) fn executor_exited(&self, framework_id: &FrameworkId, status: i32) {
        self.to_master
            .send(ToMaster::ExitedExecutor {
                agent_id: self.id.clone(),
                framework_id: framework_id.clone(),
                executor_id: ExecutorId::from("resident"),
                status,
            })
            .unwrap();
    }

    pub(crate) fn message_from_executor(&self, framework_id: &FrameworkId, data: &'static [u8]) {
        self.to_master
            .send(ToMaster::Message {
                agent_id: self.id.clone(),
                framework_id: framework_id.clone(),
                executor_id: ExecutorId::from("resident"),
                data: Bytes::from_static(data),
            })
            .unwrap();
    }
}
