//! Probes over the network: pages and connections.
//!
//! Owns every such probe that is under way. Refuses to know when to probe and
//! what an answer means: the core does. Called by runtimes, which say what the
//! loopback address of a run is from here. Commands that probe a run are the
//! business of its runtime.

mod http;
mod tls;

use std::{collections::HashMap, future, net::SocketAddr};

use marmoset_executor_core::{Answer, Page, ProbeId};
use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
};

/// Probes under way: at most two for each task, which the core sees to.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    tasks: JoinSet<(ProbeId, Answer)>,
    handles: HashMap<ProbeId, AbortHandle>,
}

impl Probes {
    /// Gets a page, as `curl -L -k` does.
    pub(crate) fn get(&mut self, id: ProbeId, asked: Page) {
        let handle = self.tasks.spawn(async move { (id, page(&asked).await) });
        self.handles.insert(id, handle);
    }

    /// Connects, and closes the connection at once.
    pub(crate) fn connect(&mut self, id: ProbeId, address: SocketAddr) {
        let handle = self.tasks.spawn(async move { (id, connection(address).await) });
        self.handles.insert(id, handle);
    }

    /// Gives a probe up. False if it is none of these.
    pub(crate) fn abandon(&mut self, id: ProbeId) -> bool {
        let handle = self.handles.remove(&id);
        handle.inspect(AbortHandle::abort).is_some()
    }

    /// Waits for the next answer. May be cancelled.
    pub(crate) async fn next(&mut self) -> (ProbeId, Answer) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((id, answer))) => {
                    // An answer may have been on its way when its probe was given up.
                    if self.handles.remove(&id).is_some() {
                        return (id, answer);
                    }
                }
                Some(Err(error)) => {
                    if error.is_panic() {
                        tracing::error!(%error, "a probe broke");
                    }
                }
                None => future::pending().await,
            }
        }
    }
}

/// Gets one page, as `curl -L -k` does.
pub(crate) async fn page(page: &Page) -> Answer {
    match http::get(page).await {
        Ok(code) => Answer::Responded { code },
        Err(error) => Answer::Nothing { reason: error.to_string() },
    }
}

/// Connects once, and closes the connection.
pub(crate) async fn connection(address: SocketAddr) -> Answer {
    match TcpStream::connect(address).await {
        Ok(_) => Answer::Connected,
        Err(error) => {
            Answer::NotConnected { reason: format!("cannot connect to {address}: {error}") }
        }
    }
}

#[cfg(test)]
mod tests;
