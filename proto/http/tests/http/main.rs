//! The client against servers that answer exact bytes over real sockets.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod calls;
mod get;
mod redirect;
mod replay;
mod server;
mod stream;
mod subscribe;
mod transport;
