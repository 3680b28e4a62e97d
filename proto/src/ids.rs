//! Conversions of the ids that travel as messages with one string.

use std::fmt;

use crate::mesos::v1::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};

macro_rules! id {
    ($($name:ident),*) => {$(
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.value
            }
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                Self { value: value.to_string() }
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                Self { value }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.value)
            }
        }
    )*};
}

id!(FrameworkId, AgentId, ExecutorId, TaskId, OfferId, OperationId);
