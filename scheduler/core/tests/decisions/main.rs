//! Single decisions, written down as facts and the exact list of what follows.

#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(unreachable_pub, reason = "a test")]

mod env;
mod offers;
mod replay;
mod session;
mod traces;
mod updates;
