//! Processes by families: their own sessions, and all that descends from one.
//!
//! Owns what agents and the built-in executor both need of the operating system.
//! Linux only, through `/proc`.

mod session;
mod tree;

pub(crate) use self::{
    session::{Identity, in_own_session},
    tree::{kill_container, signal_tree},
};
