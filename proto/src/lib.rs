//! Wire types of the Mesos v1 APIs and of Marmoset's own payloads.
//!
//! Owns messages and their encodings. No I/O, no clock.

pub mod descriptors;

#[expect(missing_docs, clippy::all, reason = "generated from proto/")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use generated::{marmoset, mesos};
