//! The resident executor.

pub mod floor;
pub mod launcher;
