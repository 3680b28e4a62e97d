//! What an agent answers over HTTP.
//!
//! Owns the routes, under their short names and under the actor's,
//! `/slave(1)`. Calls of executors are checked here, in Mesos' order, and handed
//! to the actor; documents are asked of it; sandboxes are read without it.

mod call;
mod files;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::actor::{self, View};
use crate::http::{Request, Response, Service, empty, json, not_allowed, text};
use crate::master::version;

/// Answers the requests of one agent.
#[derive(Debug)]
pub(crate) struct AgentService {
    actor: mpsc::Sender<actor::Request>,
    booting: Arc<AtomicBool>,
    work_dir: PathBuf,
}

impl AgentService {
    pub(crate) fn new(
        actor: mpsc::Sender<actor::Request>,
        booting: Arc<AtomicBool>,
        work_dir: PathBuf,
    ) -> Self {
        Self { actor, booting, work_dir }
    }

    async fn view(&self, method: &Method, view: View) -> Response {
        if let Some(refused) = only_get(method) {
            return refused;
        }
        match self.ask(|reply| actor::Request::View(view, reply)).await {
            Some(document) => json(&document),
            None => gone(),
        }
    }

    /// Asks the actor; nothing if it has ended.
    async fn ask<A>(
        &self,
        request: impl FnOnce(oneshot::Sender<A>) -> actor::Request,
    ) -> Option<A> {
        let (reply, answer) = oneshot::channel();
        self.actor.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Service for AgentService {
    async fn call(&self, request: Request) -> Response {
        let path = request.path.clone();
        let path = path.strip_prefix("/slave(1)").unwrap_or(&path);
        match path {
            "/api/v1/executor" if self.booting.load(Ordering::Acquire) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "Agent has not finished recovery")
            }
            "/api/v1/executor" => self.executor(request).await,
            "/health" => empty(StatusCode::OK),
            "/state" | "/state.json" => self.view(&request.method, View::State).await,
            "/metrics/snapshot" => self.view(&request.method, View::Metrics).await,
            "/flags" => self.view(&request.method, View::Flags).await,
            "/version" => json(&version::document()),
            "/files/read" => self.read_file(&request).await,
            "/files/browse" => self.browse(&request).await,
            "/files/download" => self.download(&request).await,
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }
}

fn only_get(method: &Method) -> Option<Response> {
    (*method != Method::GET && *method != Method::HEAD).then(|| not_allowed(&Method::GET, method))
}

fn gone() -> Response {
    text(StatusCode::SERVICE_UNAVAILABLE, "the agent is shutting down")
}
