//! The HTTP layer that master and agents share.
//!
//! Owns: listening, connections, the checks every Mesos endpoint makes before it
//! looks at a call, plain-text answers, and endless event streams. Knows no call
//! and no state. Called by `master` and `agent`, which each implement
//! [`Service`] and match on paths themselves.

mod events;
mod negotiate;
mod reply;
mod request;
mod server;

pub(crate) use self::{
    events::{EventStream, event_stream},
    negotiate::accepted_encoding,
    reply::{Body, Response, accepted, empty, events, json, not_allowed, redirect, text},
    request::{Request, check_call_headers, decode_call},
    server::{Server, Service},
};
