//! The master: an actor that owns the cluster's state, and its HTTP edge.
//!
//! ```text
//!  schedulers ──HTTP──▶ edge (a task per connection: checks, decoding, encoding)
//!                        │ requests              ▲ events (a queue per stream)
//!                        ▼                       │
//!                      actor ── owns ──▶ core (decides; no I/O, no clock)
//!                        ▲                       │
//!  agents ──link────────┘──◀── messages ────────┘
//! ```
//!
//! The life of a master:
//!
//! ```text
//!  start ─▶ Leading ◀──set_leadership──▶ Recovering, Following, NoLeader   (told by the edge alone)
//!              │ fail_over(down)
//!              ▼
//!           down: nothing listens, links are closed, the state is gone but for the agents' ids
//!              │ after `down`
//!              └──▶ a new master with a new id on the same port
//! ```
//!
//! Refuses: encodings and sockets in the core, decisions at the edge. Called by
//! `cluster`; agents reach it through the channel that [`start`] returns.

mod actor;
mod allocator;
mod auth;
mod call;
mod core;
mod edge;
mod metrics;
mod upgrade;
mod validate;
pub(crate) mod version;
mod view;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    actor::{Actor, Command},
    edge::Edge,
};
use crate::{
    cluster::StartError,
    config::{Leadership, MasterConfig},
    faults::Switches,
    http::Server,
    link::ToMaster,
};

/// Requests that may wait for the actor; connections wait with theirs past that.
const WAITING_COMMANDS: usize = 1024;

/// A running master.
#[derive(Debug)]
pub(crate) struct MasterHandle {
    addr: SocketAddr,
    edge: Arc<Edge>,
    max_body: usize,
    server: Mutex<Server>,
    commands: mpsc::Sender<Command>,
    leadership: watch::Sender<Leadership>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts a master; the channel is for its agents.
///
/// The channel is unbounded: an agent sends one update per task and waits for its
/// acknowledgement, one message per message of an executor, and little else.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn start(
    config: MasterConfig,
    hostname: String,
    switches: Arc<Switches>,
) -> Result<(MasterHandle, mpsc::UnboundedSender<ToMaster>), StartError> {
    let wanted = SocketAddr::new(config.ip, config.port);
    let (listener, addr) =
        Server::bind(wanted).await.map_err(|source| StartError::Master { addr: wanted, source })?;
    let (commands, requests) = mpsc::channel(WAITING_COMMANDS);
    let (to_master, from_agents) = mpsc::unbounded_channel();
    let (leadership, leading) = watch::channel(config.leadership.clone());
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());

    let actor = Actor::new(&config, addr, hostname.clone(), switches, commands.downgrade());
    tasks.spawn(stop.clone().run_until_cancelled_owned(actor.run(requests, from_agents)));
    let edge = Arc::new(Edge::new(commands.clone(), leading, config.credentials, hostname, addr));
    let server = Server::serve(listener, addr, config.max_body, Arc::clone(&edge));
    let handle = MasterHandle {
        addr,
        edge,
        max_body: config.max_body,
        server: Mutex::new(server),
        commands,
        leadership,
        stop,
        tasks,
    };
    Ok((handle, to_master))
}

impl MasterHandle {
    /// Where it listens; the same over failovers.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it and waits for it.
    pub(crate) async fn shutdown(&self) {
        self.server.lock().await.stop().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Breaks all event streams.
    pub(crate) async fn cut_streams(&self) {
        self.ask(|done| Command::CutStreams { done }).await;
    }

    /// Replaces it by a new master on the same port; for `down` nothing listens.
    ///
    /// When the port was taken meanwhile, it is tried again until it is free.
    pub(crate) async fn fail_over(&self, down: Duration) {
        let mut server = self.server.lock().await;
        server.stop().await;
        self.ask(|done| Command::FailOver { down, done }).await;
        loop {
            match Server::bind(self.addr).await {
                Ok((listener, addr)) => {
                    let edge = Arc::clone(&self.edge);
                    *server = Server::serve(listener, addr, self.max_body, edge);
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, addr = %self.addr, "the master's port is taken");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Makes it do nothing for a while: connections stay open, nothing is answered or sent.
    pub(crate) async fn freeze(&self, time: Duration) {
        // A master that has ended is silent already.
        let _ended = self.commands.send(Command::Freeze { time }).await;
    }

    /// Gives the agent at an address up.
    pub(crate) async fn mark_unreachable(&self, agent: SocketAddr) {
        self.ask(|done| Command::MarkUnreachable { agent, done }).await;
    }

    /// Changes how calls are answered from now on.
    pub(crate) fn set_leadership(&self, leadership: Leadership) {
        self.leadership.send_replace(leadership);
    }

    /// Sends a command and waits until it was carried out; a master that has ended does nothing.
    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, carried_out) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            let _ended = carried_out.await;
        }
    }
}
