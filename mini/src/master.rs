//! The master.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use crate::{
    cluster::StartError,
    config::{Leadership, MasterConfig},
    faults::Switches,
    http::{Request, Response, Server, Service, text},
    link::ToMaster,
};

#[derive(Debug)]
pub(crate) struct MasterHandle {
    server: Server,
}

struct Edge;

impl Service for Edge {
    async fn call(&self, _request: Request) -> Response {
        text(http::StatusCode::NOT_FOUND, "")
    }
}

pub(crate) async fn start(
    config: MasterConfig,
    _hostname: String,
    _switches: Arc<Switches>,
) -> Result<(MasterHandle, mpsc::UnboundedSender<ToMaster>), StartError> {
    let addr = SocketAddr::new(config.ip, config.port);
    let (listener, addr) =
        Server::bind(addr).await.map_err(|source| StartError::Master { addr, source })?;
    let server = Server::serve(listener, addr, config.max_body, Arc::new(Edge));
    let (to_master, _) = mpsc::unbounded_channel();
    Ok((MasterHandle { server }, to_master))
}

impl MasterHandle {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
    pub(crate) async fn shutdown(&self) {
        self.server.stop().await;
    }
    pub(crate) async fn cut_streams(&self) {}
    pub(crate) async fn fail_over(&self, _down: Duration) {}
    pub(crate) async fn mark_unreachable(&self, _agent: SocketAddr) {}
    pub(crate) fn set_leadership(&self, _leadership: Leadership) {}
}
