//! What the master refuses, in the order and words of Mesos 1.11.
//!
//! Pure functions over records; the texts go to schedulers as they are, in ERROR
//! events, in answers of 400 and in TASK_ERROR updates. (src/master/validation.cpp,
//! src/common/validation.cpp.)

mod check;
mod executor;
mod fields;
mod framework;
mod group;
mod task;

use marmoset_proto::resources::Resources;

pub(crate) use self::{
    framework::{subscription, update},
    group::validate as group,
    task::validate as task,
};
use super::core::{Agent, Framework};

/// What a launch is validated against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Who launches.
    pub(crate) framework: &'a Framework,
    /// Where.
    pub(crate) agent: &'a Agent,
    /// What is left of the offers, allocated to their role.
    pub(crate) left: &'a Resources,
}
