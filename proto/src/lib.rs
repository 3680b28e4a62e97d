//! Wire types of the Mesos v1 APIs and of Marmoset's own payloads.
//!
//! Owns messages and their encodings. No I/O, no clock.

use std::fmt;

pub mod codec;
pub mod duration;
mod ids;
pub mod item;
pub mod json;
pub mod output;
pub mod pack;
pub mod placeholder;
pub mod recordio;
pub mod resources;
pub mod schema;
pub mod size;
mod state;
pub mod status;
pub mod text;
mod wire;

#[expect(missing_docs, clippy::all, reason = "generated from proto/")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use generated::{marmoset, mesos};

/// A message of this crate: what [`codec`], [`json`] and [`text`] work on.
pub trait Message: prost::Message + Default + Clone + PartialEq + fmt::Debug + 'static {
    /// Names, numbers and labels of its fields.
    const SCHEMA: &'static schema::Message;
}
