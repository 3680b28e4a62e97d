//! From wire bytes to a JSON value.
//!
//! The bytes come from prost's encoder; should they be malformed all the same,
//! what can be read is printed.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Number, Value};

use crate::{
    schema::{Default, Field, Kind, Label, Message},
    wire::{self, Payload, Pieces},
};

pub(super) fn object(bytes: &[u8], schema: &Message) -> Value {
    let mut out = Map::new();
    let mut pieces = Pieces::new(bytes);
    while let Ok(Some(piece)) = pieces.next() {
        let Some((_, field)) = schema.by_number(piece.number) else { continue };
        if let Some(entry) = field.map_entry() {
            if let Some((key, value)) = pair(piece.payload, entry) {
                let object = out.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(object) = object {
                    object.insert(key, value);
                }
            }
        } else if field.label == Label::Repeated {
            let list = out.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                append(list, piece.payload, field);
            }
        } else if let Some(value) = value(piece.payload, &field.kind) {
            out.insert(field.name.to_string(), value);
        }
    }
    for field in schema.fields {
        if let (Some(default), false) = (field.default, field.deprecated)
            && !out.contains_key(field.name)
        {
            out.insert(field.name.to_string(), default_value(default));
        }
    }
    Value::Object(out)
}

fn append(list: &mut Vec<Value>, payload: Payload<'_>, field: &Field) {
    match (payload, &field.kind) {
        (Payload::Bytes(mut packed), kind) if !kind.is_length_delimited() => {
            while let Ok(number) = wire::varint(&mut packed) {
                list.extend(value(Payload::Varint(number), kind));
            }
        }
        (payload, kind) => list.extend(value(payload, kind)),
    }
}

fn pair(payload: Payload<'_>, entry: &Message) -> Option<(String, Value)> {
    let Payload::Bytes(bytes) = payload else { return None };
    let Value::Object(mut pair) = object(bytes, entry) else { return None };
    let key = match pair.remove("key") {
        Some(Value::String(key)) => key,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let value = pair.remove("value").unwrap_or_else(|| {
        let kind = entry.by_name("value").map(|field| field.kind);
        kind.map_or(Value::Null, |kind| empty(&kind))
    });
    Some((key, value))
}

/// What an absent value of a map's pair stands for.
fn empty(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => 0.into(),
        Kind::Double => 0.0.into(),
        Kind::String | Kind::Bytes => "".into(),
        Kind::Enum(known) => known.values.first().map_or(Value::Null, |(name, _)| (*name).into()),
        Kind::Message(inner) => object(&[], inner),
    }
}

fn value(payload: Payload<'_>, kind: &Kind) -> Option<Value> {
    Some(match (kind, payload) {
        (Kind::Bool, Payload::Varint(number)) => Value::Bool(number != 0),
        (Kind::Int32, Payload::Varint(number)) => (number as i32).into(),
        (Kind::Int64, Payload::Varint(number)) => number.cast_signed().into(),
        (Kind::Uint32, Payload::Varint(number)) => (number as u32).into(),
        (Kind::Uint64, Payload::Varint(number)) => number.into(),
        (Kind::Double, Payload::Fixed64(bits)) => double(f64::from_bits(bits)),
        (Kind::String, Payload::Bytes(text)) => String::from_utf8_lossy(text).into(),
        (Kind::Bytes, Payload::Bytes(bytes)) => BASE64_STANDARD.encode(bytes).into(),
        (Kind::Enum(known), Payload::Varint(number)) => known.name_of(number as i32)?.into(),
        (Kind::Message(inner), Payload::Bytes(bytes)) => object(bytes, inner),
        _ => return None,
    })
}

fn double(value: f64) -> Value {
    Number::from_f64(value).map_or_else(
        || {
            let name = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            name.into()
        },
        Value::Number,
    )
}

fn default_value(default: Default) -> Value {
    match default {
        Default::Bool(value) => value.into(),
        Default::Integer(value) => value.into(),
        Default::Double(value) => double(value),
        Default::String(value) | Default::Enum(value) => value.into(),
    }
}
