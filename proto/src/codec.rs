//! Owns the two encodings of the v1 APIs: which one, there and back.
//!
//! Called by whoever reads or writes a request body or a record. Refuses what
//! Mesos refuses: prost alone would let missing required fields pass.

mod required;

pub(crate) use required::missing as missing_fields;

use std::fmt;

use bytes::Bytes;

use crate::{Message, json, wire::Malformed};

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// `application/x-protobuf`
    #[default]
    Protobuf,
    /// `application/json`, by Mesos' own rules
    Json,
}

impl Encoding {
    /// The media type, as it must stand in `Content-Type` and `Accept`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// Finds the encoding of a `Content-Type`, which Mesos compares byte for byte.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        [Self::Protobuf, Self::Json].into_iter().find(|known| known.media_type() == media_type)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        })
    }
}

/// Why bytes are not the message asked for; the text is the one Mesos answers.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf, or a required field is missing.
    #[error("Failed to parse body into {message} protobuf")]
    Protobuf {
        /// Short name of the message.
        message: &'static str,
        /// What exactly, for logs.
        source: ProtobufError,
    },
    /// Not JSON.
    #[error("Failed to parse body into JSON: {0}")]
    Syntax(#[source] json::SyntaxError),
    /// JSON, but not of that message.
    #[error("Failed to convert JSON into {message} protobuf: {source}")]
    Convert {
        /// Short name of the message.
        message: &'static str,
        /// What exactly.
        source: json::ConvertError,
    },
}

/// What is wrong with protobuf bytes.
#[derive(Debug, thiserror::Error)]
pub enum ProtobufError {
    /// The bytes do not follow the wire format or the types of the message.
    #[error("malformed message")]
    Malformed,
    /// As prost tells it.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    /// Full dotted paths of the fields.
    #[error("missing required fields: {}", .0.join(", "))]
    Missing(Vec<String>),
}

impl From<Malformed> for ProtobufError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Writes a message.
pub fn encode<M: Message>(message: &M, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Protobuf => message.encode_to_vec().into(),
        Encoding::Json => json::to_vec(message).into(),
    }
}

/// Reads a message and insists on its required fields.
///
/// Unknown fields are skipped. An enum number this version does not know reads
/// as an unset field.
///
/// # Errors
/// With Mesos' own wording for the answer to an HTTP request.
pub fn decode<M: Message>(bytes: &[u8], encoding: Encoding) -> Result<M, DecodeError> {
    let message = M::SCHEMA.short_name();
    match encoding {
        Encoding::Protobuf => {
            decode_protobuf(bytes).map_err(|source| DecodeError::Protobuf { message, source })
        }
        Encoding::Json => {
            let value = json::parse(bytes).map_err(DecodeError::Syntax)?;
            json::from_value(value).map_err(|source| DecodeError::Convert { message, source })
        }
    }
}

/// Reads a protobuf message and insists on its required fields.
///
/// # Errors
/// When the bytes are malformed or a required field is missing.
pub fn decode_protobuf<M: Message>(bytes: &[u8]) -> Result<M, ProtobufError> {
    let findings = required::inspect(bytes, M::SCHEMA)?;
    let stripped;
    let mut bytes = bytes;
    if findings.unknown_enums {
        stripped = required::without_unknown_enums(bytes, M::SCHEMA)?;
        bytes = &stripped;
    }
    if findings.suspicious {
        let missing = required::missing(bytes, M::SCHEMA)?;
        if !missing.is_empty() {
            return Err(ProtobufError::Missing(missing));
        }
    }
    Ok(M::decode(bytes)?)
}

#[cfg(test)]
mod tests;
