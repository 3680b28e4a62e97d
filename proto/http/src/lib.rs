//! Client of the Mesos v1 scheduler and executor APIs.
//!
//! Owns how a call and a stream of events travel over HTTP/1.1: connections,
//! headers, redirects, authentication, TLS, time-outs, and what an answer means.
//! It knows nothing of offers or tasks, keeps no framework id, and never retries
//! on its own: the scheduler and the executor do, told by [`SubscribeError`],
//! [`StreamError`] and [`CallError`] what makes sense.
//!
//! ```text
//!  Client ── subscribe ──▶ Subscription ── calls ──▶ Calls ── send ──▶ Answer
//!                            │  one connection,        one connection,
//!                            │  events only            one call at a time, in order
//!                            └── next ──▶ Event
//! ```
//!
//! HTTP is spoken through hyper's connection type rather than a pooling client:
//! a server handles calls in order only within one connection, and a pool opens
//! a second one when the first is not back in time.

mod calls;
mod client;
mod config;
mod connection;
mod endpoint;
mod error;
mod refusal;
mod subscription;

pub use calls::{Answer, Calls};
pub use client::Client;
pub use config::{Auth, ClientConfig, ConfigError, Keepalive};
pub use connection::{ResolveError, resolve};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{CallError, ConnectError, GetError, StreamError, SubscribeError, TransportError};
pub use marmoset_proto::codec::Encoding;
pub use refusal::Refusal;
pub use subscription::Subscription;

/// Path of the scheduler API on a master.
pub const SCHEDULER_PATH: &str = "/api/v1/scheduler";

/// Path of the executor API on an agent, over TCP.
pub const EXECUTOR_PATH: &str = "/api/v1/executor";

/// Makes the path of the executor API that works over TCP and on the agent's
/// domain socket, from the part of `MESOS_SLAVE_PID` before `@`.
///
/// ```
/// assert_eq!(marmoset_http::executor_path("slave(1)"), "/slave(1)/api/v1/executor");
/// ```
pub fn executor_path(actor: &str) -> String {
    format!("/{actor}{EXECUTOR_PATH}")
}
