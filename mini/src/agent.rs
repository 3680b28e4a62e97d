//! One agent: its own listener, its executors, its status updates.
//!
//! Owns what happens to a task between the master and an executor: the
//! executor's process and sandbox, delivery of tasks, the update streams, the
//! executor API and the endpoints an operator reads. It speaks with the master
//! over [`crate::link`] only, and with executors over HTTP only; which executor
//! it is, it does not know. It refuses to run anything in its own process.
//!
//! ```text
//!        ToAgent                        ┌────────┐  Launch / Destroy   ┌────────┐
//!  link ─────────▶ ┌───────┐   Input    │  core  │ ─────────────────▶  │ launch │─▶ processes
//!       ◀───────── │ actor │ ─────────▶ │ (pure) │                     └────────┘
//!        ToMaster  └───────┘ ◀───────── └────────┘  Started / Exited ──────┘
//!                    ▲   │     Action
//!            requests│   │events
//!                  ┌───────┐
//!                  │ http  │ ◀── executors, dashboards
//!                  └───────┘
//! ```
//!
//! Left out on purpose: executor authentication tokens, cgroups but those of
//! executors in Docker containers, images for the Mesos
//! containerizer, nested containers (so no default executor), garbage
//! collection of sandboxes, and a `meta` directory: what an emulated restart of
//! the agent recovers stays in memory, so nothing survives the real end of the
//! program. If the program is killed, executors notice it as they notice the
//! loss of any agent, through their event stream: without checkpointing they
//! end at once, with it they wait for `MESOS_RECOVERY_TIMEOUT`.

mod actor;
mod command;
mod core;
mod environment;
mod flags;
mod http;
mod launch;
mod sandbox;
mod timers;
mod updates;
mod view;

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use marmoset_proto::{mesos::v1::AgentInfo, resources::ResourceError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use self::{
    actor::{Actor, Ears, Order},
    core::{Core, Settings},
    http::AgentService,
    updates::Retry,
};
use crate::{config::AgentConfig, http::Server, link::ToMaster};

/// Calls of executors that wait for the actor; more of them wait on their sockets.
const REQUESTS: usize = 1024;

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address cannot be used.
    #[error("the agent cannot listen on `{addr}`")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// `AgentConfig::resources` cannot be read.
    #[error(
        "`resources` of the agent is malformed (write it like `cpus:8;mem:8192;ports:[8000-8100]`)"
    )]
    Resources(#[from] ResourceError),
    /// `AgentConfig::attributes` cannot be read.
    #[error("`attributes` of the agent is malformed at `{0}` (write it like `rack:r1;zone:a`)")]
    Attributes(String),
    /// `AgentConfig::work_dir` cannot be made.
    #[error("`work_dir` of the agent, `{path}`, cannot be used")]
    WorkDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `AgentConfig::containerizers` has the Docker one, and there is no engine.
    #[error(
        "the Docker containerizer cannot be used: {0} (start the engine, name its socket and the \
         `docker` command, or leave `docker` out of `containerizers`)"
    )]
    Docker(String),
}

/// A running agent. Dropping it kills its executors.
#[derive(Debug)]
pub struct AgentHandle {
    addr: SocketAddr,
    orders: mpsc::Sender<Order>,
    tasks: TaskTracker,
}

/// Starts an agent that registers with the master behind the channel.
///
/// # Errors
/// Its address cannot be bound, its work directory cannot be made, or its
/// resources or attributes cannot be parsed.
pub async fn start(
    config: AgentConfig,
    master: mpsc::UnboundedSender<ToMaster>,
) -> Result<AgentHandle, StartError> {
    let work_dir = make_work_dir(&config.work_dir)?;
    let resources = flags::resources(&config.resources, &work_dir)?;
    let attributes = flags::attributes(&config.attributes)?;
    let asked = SocketAddr::new(config.ip, config.port);
    let (listener, addr) =
        Server::bind(asked).await.map_err(|source| StartError::Listen { addr: asked, source })?;
    let info = AgentInfo {
        hostname: config.hostname.unwrap_or_else(|| addr.ip().to_string()),
        port: Some(i32::from(addr.port())),
        resources,
        attributes,
        ..AgentInfo::default()
    };
    let settings = Settings {
        addr,
        work_dir: work_dir.clone(),
        registration_timeout: config.timers.executor_registration_timeout,
        reregistration_timeout: config.timers.executor_reregistration_timeout,
        shutdown_grace: config.timers.executor_shutdown_grace_period,
        recovery_timeout: config.timers.recovery_timeout,
        heartbeat: config.timers.executor_heartbeat_interval,
        boot_pause: config.timers.recovery_pause,
        retry: Retry {
            first: config.timers.update_retry_min,
            longest: config.timers.update_retry_max,
        },
        command_executor: config.command_executor,
        containerizers: config.containerizers,
        docker: config.docker,
    };
    // No agent of this program recovers anything: whatever is there is an orphan.
    launch::sweep(&settings.containerizers, &settings.docker, &BTreeSet::new())
        .await
        .map_err(|error| StartError::Docker(error.to_string()))?;
    let (orders, orders_in) = mpsc::channel(8);
    let (requests, requests_in) = mpsc::channel(REQUESTS);
    let (facts, facts_in) = mpsc::unbounded_channel();
    let booting = Arc::new(AtomicBool::new(false));
    let service = Arc::new(AgentService::new(requests, Arc::clone(&booting), work_dir));
    let server = actor::serve(listener, addr, &service);
    let core = Core::new(settings, info, rand::random());
    let actor = Actor::new(core, addr, server, service, booting, master, facts);
    let tasks = TaskTracker::new();
    tasks.spawn(actor.run(Ears { orders: orders_in, requests: requests_in, facts: facts_in }));
    tasks.close();
    Ok(AgentHandle { addr, orders, tasks })
}

/// Sandboxes are told to executors as absolute paths without links.
fn make_work_dir(path: &std::path::Path) -> Result<PathBuf, StartError> {
    std::fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .map_err(|source| StartError::WorkDir { path: path.to_owned(), source })
}

impl AgentHandle {
    /// Where it listens; the same over restarts.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the agent's process; executors live on.
    pub async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    /// Starts the agent's process again, ending it before if it still runs.
    pub async fn restart(&self) {
        self.order(Order::Stop).await;
        self.order(Order::Start).await;
    }

    /// Breaks the event streams of all executors.
    pub async fn cut_executor_streams(&self) {
        self.order(Order::CutStreams).await;
    }

    /// Ends executors and agent.
    pub async fn shutdown(&self) {
        self.order(Order::ShutDown).await;
        self.tasks.wait().await;
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, waiting) = oneshot::channel();
        if self.orders.send(order(done)).await.is_ok() {
            // An actor that ended in between has nothing left to do either.
            let _ended = waiting.await;
        }
    }
}
