//! Mesos' own JSON of a message, which is not protobuf's canonical JSON.

use serde_json::Value;

use crate::Message;

/// The text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub(crate) String);

/// The JSON is not the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConvertError(pub(crate) String);

/// Gives a message as a JSON value.
pub fn to_value<M: Message>(_message: &M) -> Value {
    Value::Null
}

/// Writes a message as JSON text.
pub fn to_vec<M: Message>(message: &M) -> Vec<u8> {
    to_value(message).to_string().into_bytes()
}

/// Reads JSON text.
///
/// # Errors
/// With the line and what follows there.
pub fn parse(_text: &[u8]) -> Result<Value, SyntaxError> {
    Err(SyntaxError(String::new()))
}

/// Makes a message of a JSON value.
///
/// # Errors
/// When a value has another type than its field, or a required field is missing.
pub fn from_value<M: Message>(_value: Value) -> Result<M, ConvertError> {
    Err(ConvertError(String::new()))
}
