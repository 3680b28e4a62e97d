//! The agent's loop: one task owns the core and performs what it decides.
//!
//! Owns the executors' streams, the containers' cancellation and the listener;
//! everybody else sends it messages. It decides nothing but the order of events:
//! orders first, then the master, then processes, then executors' calls.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use marmoset_proto::{
    codec::{self, Encoding},
    mesos::v1::{ExecutorId, FrameworkId, TaskStatus, executor::Event},
};
use serde_json::Value;
use tokio::{
    net::TcpSocket,
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    core::{Action, Container, Core, Input, Refusal, StreamId, Subscription},
    http::AgentService,
    launch::{self, Reins},
    view,
};
use crate::{
    clock::{now, until},
    http::{Body, EventStream, Server, event_stream},
    link::{ToAgent, ToMaster},
};

/// Longest body of an executor's call; Mesos itself has no bound.
const MAX_BODY: usize = 256 << 20;

/// What the HTTP side asks the actor.
#[derive(Debug)]
pub(super) enum Request {
    /// SUBSCRIBE; answered with the body of the stream.
    Subscribe(Subscription, Encoding, oneshot::Sender<Result<Subscribed, Refusal>>),
    /// UPDATE.
    Update(FrameworkId, ExecutorId, Box<TaskStatus>, oneshot::Sender<Result<(), Refusal>>),
    /// MESSAGE.
    Message(FrameworkId, ExecutorId, Bytes, oneshot::Sender<Result<(), Refusal>>),
    /// A document about the agent.
    View(View, oneshot::Sender<Value>),
}

/// The body of an accepted subscription.
pub(super) struct Subscribed(pub(super) Body);

impl std::fmt::Debug for Subscribed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscribed")
    }
}

/// Documents about the agent.
#[derive(Debug, Clone, Copy)]
pub(super) enum View {
    /// `/state`.
    State,
    /// `/metrics/snapshot`.
    Metrics,
    /// `/flags`.
    Flags,
}

/// What the owner of the cluster orders; each is answered when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// The agent's process ends, its executors do not.
    Stop(oneshot::Sender<()>),
    /// It starts again.
    Start(oneshot::Sender<()>),
    /// The streams of all executors break.
    CutStreams(oneshot::Sender<()>),
    /// Executors and agent end.
    ShutDown(oneshot::Sender<()>),
}

/// The loop's state.
pub(super) struct Actor {
    core: Core,
    addr: SocketAddr,
    server: Option<Server>,
    /// Held while nobody listens, for it must be the same port again.
    reserved: Option<TcpSocket>,
    service: Arc<AgentService>,
    booting: Arc<AtomicBool>,
    master: mpsc::UnboundedSender<ToMaster>,
    /// From the master; a new one after each registration.
    link: Option<mpsc::UnboundedReceiver<ToAgent>>,
    streams: BTreeMap<StreamId, EventStream<Event>>,
    next_stream: u64,
    containers: BTreeMap<Container, Reins>,
    /// Cancelled once nothing is to be kept any more.
    closing: CancellationToken,
    tasks: TaskTracker,
    /// Unbounded: a container tells at most three facts in its life.
    facts: mpsc::UnboundedSender<Input>,
}

/// Where the loop hears from everybody but the master.
pub(super) struct Ears {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) facts: mpsc::UnboundedReceiver<Input>,
}

/// What woke the loop.
enum Woken {
    Order(Option<Order>),
    Master(Option<Box<ToAgent>>),
    Fact(Input),
    Request(Request),
    Wake,
}

impl Actor {
    pub(super) fn new(
        core: Core,
        addr: SocketAddr,
        server: Server,
        service: Arc<AgentService>,
        booting: Arc<AtomicBool>,
        master: mpsc::UnboundedSender<ToMaster>,
        facts: mpsc::UnboundedSender<Input>,
    ) -> Self {
        Self {
            core,
            addr,
            server: Some(server),
            reserved: None,
            service,
            booting,
            master,
            link: None,
            streams: BTreeMap::new(),
            next_stream: 0,
            containers: BTreeMap::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            facts,
        }
    }

    /// Runs until it is told to shut down, or its handle is gone.
    pub(super) async fn run(mut self, mut ears: Ears) {
        self.core.handle(now(), Input::Started);
        loop {
            self.perform();
            let woken = tokio::select! {
                biased;
                order = ears.orders.recv() => Woken::Order(order),
                message = from_master(&mut self.link) => Woken::Master(message),
                Some(fact) = ears.facts.recv() => Woken::Fact(fact),
                Some(request) = ears.requests.recv() => Woken::Request(request),
                () = until(self.core.poll_wake()) => Woken::Wake,
            };
            match woken {
                Woken::Order(Some(Order::ShutDown(done))) => {
                    self.shut_down(&mut ears).await;
                    let _gone = done.send(());
                    return;
                }
                Woken::Order(Some(order)) => self.obey(order).await,
                // The owner is gone without a word: nobody will ever ask for an orderly end.
                Woken::Order(None) => {
                    self.destroy_all();
                    self.finish(&mut ears).await;
                    return;
                }
                Woken::Master(Some(message)) => self.core.handle(now(), Input::Master(message)),
                Woken::Master(None) => {
                    self.link = None;
                    self.core.handle(now(), Input::MasterGone);
                }
                Woken::Fact(fact) => self.note(fact),
                Woken::Request(request) => self.answer(request),
                Woken::Wake => self.core.handle(now(), Input::Wake),
            }
        }
    }

    fn note(&mut self, fact: Input) {
        match &fact {
            Input::LaunchFailed { container, .. } | Input::ContainerExited { container, .. } => {
                self.containers.remove(container);
            }
            Input::Started
            | Input::Master(_)
            | Input::MasterGone
            | Input::ContainerStarted { .. }
            | Input::ResizeFailed { .. }
            | Input::Stop
            | Input::Start
            | Input::ShutDown
            | Input::Wake => {}
        }
        self.core.handle(now(), fact);
    }

    fn perform(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Register(info) => {
                    let link = self.new_link();
                    self.tell_master(ToMaster::Register { info, addr: self.addr, link });
                }
                Action::Reregister(inventory) => {
                    let link = self.new_link();
                    self.tell_master(ToMaster::Reregister {
                        info: inventory.info,
                        addr: self.addr,
                        link,
                        frameworks: inventory.frameworks,
                        executors: inventory.executors,
                        tasks: inventory.tasks,
                    });
                }
                Action::ToMaster(message) => self.tell_master(message),
                Action::Send(stream, event) => {
                    if let Some(stream) = self.streams.get(&stream) {
                        stream.send(*event);
                    }
                }
                Action::Close(stream) => {
                    if let Some(stream) = self.streams.remove(&stream) {
                        stream.close();
                    }
                }
                Action::Launch(launch) => {
                    let reins = Reins { closing: self.closing.clone(), ..Reins::default() };
                    self.containers.insert(launch.container.clone(), reins.clone());
                    self.tasks.spawn(launch::run(*launch, reins, self.facts.clone()));
                }
                Action::Destroy(container) => {
                    if let Some(reins) = self.containers.get(&container) {
                        reins.destroy.cancel();
                    }
                }
                Action::Resize(container, amounts) => {
                    if let Some(reins) = self.containers.get(&container) {
                        // It is known before it is wanted.
                        reins.size.send_replace(*amounts);
                    }
                }
                Action::Abandon(container) => {
                    if let Some(reins) = self.containers.remove(&container) {
                        reins.abandon.cancel();
                    }
                }
            }
        }
        self.booting.store(self.core.is_booting(), Ordering::Release);
    }

    fn new_link(&mut self) -> mpsc::UnboundedSender<ToAgent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.link = Some(receiver);
        sender
    }

    fn tell_master(&self, message: ToMaster) {
        if self.master.send(message).is_err() {
            tracing::debug!("the master is gone");
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Subscribe(subscription, encoding, reply) => {
                let (stream, body) =
                    event_stream(move |event: &Event| codec::encode(event, encoding));
                self.next_stream += 1;
                let id = StreamId(self.next_stream);
                self.streams.insert(id, stream);
                let subscribed = self.core.subscribe(now(), id, subscription);
                if subscribed.is_err() {
                    self.streams.remove(&id);
                }
                let _gone = reply.send(subscribed.map(|()| Subscribed(body)));
            }
            Request::Update(framework, executor, status, reply) => {
                let updated = self.core.update(now(), &framework, &executor, *status);
                let _gone = reply.send(updated);
            }
            Request::Message(framework, executor, data, reply) => {
                let _gone = reply.send(self.core.message(&framework, &executor, data));
            }
            Request::View(View::State, reply) => {
                let _gone = reply.send(view::state(&self.core));
            }
            Request::View(View::Metrics, reply) => {
                let _gone = reply.send(view::metrics(&self.core));
            }
            Request::View(View::Flags, reply) => {
                let _gone = reply.send(view::flags_document(&self.core));
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Stop(done) => {
                self.stop().await;
                let _gone = done.send(());
            }
            Order::Start(done) => {
                if self.server.is_none() {
                    self.listen().await;
                    self.sweep().await;
                    self.core.handle(now(), Input::Start);
                }
                let _gone = done.send(());
            }
            Order::CutStreams(done) => {
                self.cut_streams();
                let _gone = done.send(());
            }
            Order::ShutDown(done) => {
                let _gone = done.send(());
            }
        }
    }

    fn cut_streams(&mut self) {
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.cut();
        }
    }

    async fn stop(&mut self) {
        self.core.handle(now(), Input::Stop);
        self.perform();
        self.link = None;
        self.cut_streams();
        if let Some(server) = self.server.take() {
            server.stop().await;
            match Server::reserve(self.addr) {
                Ok(port) => self.reserved = Some(port),
                Err(error) => tracing::warn!(%error, addr = %self.addr, "cannot keep the port"),
            }
        }
    }

    /// Listens on the old port again.
    async fn listen(&mut self) {
        let reserved = self.reserved.take();
        match Server::bind(self.addr).await {
            Ok((listener, addr)) => {
                self.booting.store(true, Ordering::Release);
                let service = Arc::clone(&self.service);
                self.server = Some(Server::serve(listener, addr, MAX_BODY, service));
            }
            Err(error) => tracing::error!(%error, addr = %self.addr, "cannot listen again"),
        }
        drop(reserved);
    }

    /// Removes the containers of executors that are not recovered.
    async fn sweep(&self) {
        let settings = self.core.settings();
        let recovered = self.core.recovered();
        let swept = launch::sweep(&settings.containerizers, &settings.docker, &recovered).await;
        if let Err(error) = swept {
            tracing::error!(%error, "cannot remove the containers of lost executors");
        }
    }

    async fn shut_down(&mut self, ears: &mut Ears) {
        self.core.handle(now(), Input::ShutDown);
        if self.server.is_none() {
            // A stopped agent cannot say SHUTDOWN to anybody.
            self.destroy_all();
        }
        self.finish(ears).await;
    }

    /// Waits for the last container, then leaves.
    async fn finish(&mut self, ears: &mut Ears) {
        self.wait_for_containers(ears).await;
        if let Some(agent_id) = self.core.info().id.clone() {
            self.tell_master(ToMaster::Disconnected { agent_id });
        }
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn destroy_all(&self) {
        self.containers.values().for_each(|reins| reins.destroy.cancel());
    }

    async fn wait_for_containers(&mut self, ears: &mut Ears) {
        loop {
            self.perform();
            if self.containers.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some(fact) = ears.facts.recv() => self.note(fact),
                Some(request) = ears.requests.recv() => self.answer(request),
                () = until(self.core.poll_wake()) => self.core.handle(now(), Input::Wake),
            }
        }
    }
}

pub(super) fn serve(
    listener: tokio::net::TcpListener,
    addr: SocketAddr,
    service: &Arc<AgentService>,
) -> Server {
    Server::serve(listener, addr, MAX_BODY, Arc::clone(service))
}

/// Waits for ever while there is no link.
async fn from_master(link: &mut Option<mpsc::UnboundedReceiver<ToAgent>>) -> Option<Box<ToAgent>> {
    match link {
        Some(link) => link.recv().await.map(Box::new),
        None => std::future::pending().await,
    }
}
