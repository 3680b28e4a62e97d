//! Mesos' own JSON of a message, which is not protobuf's canonical JSON.
//!
//! Owns both directions and the reading of JSON text. Called through
//! [`codec`](crate::codec); directly by who keeps messages as JSON values.
//!
//! - Names are those of the `.proto` files, enums go by name, bytes as base64.
//! - Integers of any width are numbers; a string that holds a number is read too.
//! - Unset fields are left out, except those with a declared default that is not deprecated.
//! - Unknown fields and unknown names of optional enums are passed over; `null` is unset.
//! - A bare value is read as a list of one where a list belongs, not the other way round.

mod print;
mod read;
mod syntax;

use serde_json::Value;

use crate::{Message, codec::missing_fields};

/// The text is not JSON; worded as Mesos does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Where the first unexpected character is.
    #[error("syntax error at line {line} near: {near}")]
    Unexpected {
        /// From 1.
        line: usize,
        /// The rest of that line.
        near: String,
    },
    /// Something stands behind the value.
    #[error("Parsed JSON included non-whitespace trailing characters: {0}")]
    Trailing(String),
    /// Deeper than 200 levels.
    #[error("JSON is nested deeper than 200 levels")]
    TooDeep,
}

/// The JSON is not the message; worded as Mesos does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A message is an object.
    #[error("Expecting a JSON object")]
    NotAnObject,
    /// The value has another type than the field.
    #[error("Not expecting a JSON {found} for field '{field}'")]
    WrongType {
        /// Name of the field.
        field: &'static str,
        /// Type of the value.
        found: &'static str,
    },
    /// Not a name of a required enum.
    #[error("Failed to find enum for '{0}'")]
    UnknownEnum(String),
    /// Not base64.
    #[error("Failed to base64 decode bytes field '{field}': {source}")]
    Base64 {
        /// Name of the field.
        field: &'static str,
        /// As the decoder tells it.
        source: base64::DecodeError,
    },
    /// A string that should hold a number, or a number that does not fit.
    #[error("Failed to parse '{text}' as a JSON number for field '{field}'")]
    Number {
        /// Name of the field.
        field: &'static str,
        /// What was there.
        text: String,
    },
    /// Full dotted paths.
    #[error("Missing required fields: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// More levels of messages than the decoder takes.
    #[error("message is nested too deep")]
    TooDeep,
}

/// Gives a message as a JSON value.
///
/// JSON has no infinite numbers: they become the strings the parser accepts for them.
pub fn to_value<M: Message>(message: &M) -> Value {
    print::object(&message.encode_to_vec(), M::SCHEMA)
}

/// Writes a message as JSON text.
pub fn to_vec<M: Message>(message: &M) -> Vec<u8> {
    to_value(message).to_string().into_bytes()
}

/// Reads JSON text.
///
/// # Errors
/// With the line and what follows there.
pub fn parse(text: &[u8]) -> Result<Value, SyntaxError> {
    syntax::parse(text)
}

/// Makes a message of a JSON value.
///
/// # Errors
/// When a value has another type than its field, or a required field is missing.
pub fn from_value<M: Message>(value: Value) -> Result<M, ConvertError> {
    let Value::Object(object) = value else { return Err(ConvertError::NotAnObject) };
    let bytes = read::message(&object, M::SCHEMA)?;
    let missing = missing_fields(&bytes, M::SCHEMA).map_err(|_| ConvertError::TooDeep)?;
    if !missing.is_empty() {
        return Err(ConvertError::Missing(missing));
    }
    // The bytes are ours and well-formed: depth is all prost can object to.
    M::decode(&bytes[..]).map_err(|_| ConvertError::TooDeep)
}

#[cfg(test)]
mod tests;
