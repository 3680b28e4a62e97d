//! Owns what is known of the messages at run time: names, numbers, labels, defaults.
//!
//! A table in read-only memory, written by the build script: looking things up
//! costs no start-up time and no heap. Read by [`json`](crate::json),
//! [`text`](crate::text) and the check for required fields.

use std::fmt;

/// One message type.
pub struct Message {
    /// Such as `mesos.v1.Offer.Operation`.
    pub full_name: &'static str,
    /// In ascending order of numbers.
    pub fields: &'static [Field],
    /// Bit `i` is set when `fields[i]` is required.
    pub(crate) required: u64,
    /// Whether this is the pair behind a map field.
    pub(crate) is_map_entry: bool,
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    /// As in the `.proto` file, which is also its name in JSON.
    pub name: &'static str,
    /// Its tag on the wire.
    pub number: u32,
    /// How often it may and must occur.
    pub label: Label,
    /// Type of its values.
    pub kind: Kind,
    /// Declared default, which Mesos prints in JSON when the field is unset.
    pub default: Option<Default>,
    /// Deprecated fields are not printed with their default.
    pub deprecated: bool,
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// At most once.
    Optional,
    /// Exactly once.
    Required,
    /// Any number of times; maps are repeated pairs.
    Repeated,
}

/// Type of a field's values.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Varint, 0 or 1.
    Bool,
    /// Varint, sign-extended.
    Int32,
    /// Varint.
    Int64,
    /// Varint.
    Uint32,
    /// Varint.
    Uint64,
    /// Eight bytes, little-endian.
    Double,
    /// UTF-8.
    String,
    /// Anything.
    Bytes,
    /// Varint.
    Enum(&'static Enum),
    /// Nested fields.
    Message(&'static Message),
}

/// Declared default of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// Of a `bool`.
    Bool(bool),
    /// Of any integer.
    Integer(i64),
    /// Of a `double`.
    Double(f64),
    /// Of a `string`.
    String(&'static str),
    /// Name of an enum value.
    Enum(&'static str),
}

/// Names and numbers of an enum, in the order of their declaration.
#[derive(Debug)]
pub struct Enum {
    /// The first one is what an unset field reads as.
    pub values: &'static [(&'static str, i32)],
}

// By hand: messages may contain themselves.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("full_name", &self.full_name).finish_non_exhaustive()
    }
}

impl Message {
    /// The last part of the full name, as error texts give it: `Call`.
    pub fn short_name(&self) -> &'static str {
        self.full_name.rsplit('.').next().unwrap_or(self.full_name)
    }

    /// Finds a field and its index by number.
    pub(crate) fn by_number(&self, number: u32) -> Option<(usize, &'static Field)> {
        // Most messages number their fields without holes, from 1.
        let guess = number.wrapping_sub(1) as usize;
        if let Some(field) = self.fields.get(guess).filter(|field| field.number == number) {
            return Some((guess, field));
        }
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some((index, &self.fields[index]))
    }

    /// Finds a field by its exact name.
    pub(crate) fn by_name(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    /// The pair message when this is a map field.
    pub(crate) fn map_entry(&self) -> Option<&'static Message> {
        match self.kind {
            Kind::Message(entry) if entry.is_map_entry => Some(entry),
            Kind::Message(_)
            | Kind::Bool
            | Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Double
            | Kind::String
            | Kind::Bytes
            | Kind::Enum(_) => None,
        }
    }
}

impl Kind {
    /// Whether a value starts with its length, so that it is never packed.
    pub(crate) fn is_length_delimited(self) -> bool {
        match self {
            Self::String | Self::Bytes | Self::Message(_) => true,
            Self::Bool
            | Self::Int32
            | Self::Int64
            | Self::Uint32
            | Self::Uint64
            | Self::Double
            | Self::Enum(_) => false,
        }
    }
}

impl Enum {
    /// Name of a number.
    pub(crate) fn name_of(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
    }

    /// Number of a name.
    pub(crate) fn number_of(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }
}

mod table {
    use super::{Default, Enum, Field, Kind, Label, Message};

    include!(concat!(env!("OUT_DIR"), "/schema.rs"));
}
