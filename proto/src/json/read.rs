//! From a JSON value to wire bytes, which prost then decodes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Number, Value};

use super::ConvertError;
use crate::{
    schema::{Field, Kind, Label, Message},
    wire::{self, MAX_DEPTH},
};

pub(super) fn message(
    object: &Map<String, Value>,
    schema: &Message,
) -> Result<Vec<u8>, ConvertError> {
    let mut out = Vec::new();
    write_message(&mut out, object, schema, MAX_DEPTH)?;
    Ok(out)
}

fn write_message(
    out: &mut Vec<u8>,
    object: &Map<String, Value>,
    schema: &Message,
    depth: u32,
) -> Result<(), ConvertError> {
    for (name, value) in object {
        if let Some(field) = schema.by_name(name) {
            write_field(out, value, field, depth)?;
        }
    }
    Ok(())
}

fn write_field(
    out: &mut Vec<u8>,
    value: &Value,
    field: &Field,
    depth: u32,
) -> Result<(), ConvertError> {
    let depth = depth.checked_sub(1).ok_or(ConvertError::TooDeep)?;
    match value {
        Value::Null => Ok(()),
        Value::Array(values) if field.label == Label::Repeated => {
            values.iter().try_for_each(|value| write_field(out, value, field, depth))
        }
        Value::Object(object) => write_object(out, object, field, depth),
        Value::String(text) => write_string(out, text, field),
        Value::Number(number) => write_number(out, number, field),
        Value::Bool(value) if matches!(field.kind, Kind::Bool) => {
            put_varint(out, field, u64::from(*value));
            Ok(())
        }
        Value::Bool(_) => Err(wrong_type(field, "boolean")),
        Value::Array(_) => Err(wrong_type(field, "array")),
    }
}

fn write_object(
    out: &mut Vec<u8>,
    object: &Map<String, Value>,
    field: &Field,
    depth: u32,
) -> Result<(), ConvertError> {
    let Kind::Message(inner) = field.kind else { return Err(wrong_type(field, "object")) };
    let mut bytes = Vec::new();
    if let Some(entry) = field.map_entry() {
        for (key, value) in object {
            bytes.clear();
            for (name, value) in [("key", &Value::String(key.clone())), ("value", value)] {
                if let Some(part) = entry.by_name(name) {
                    write_field(&mut bytes, value, part, depth)?;
                }
            }
            wire::put_bytes(out, field.number, &bytes);
        }
    } else {
        write_message(&mut bytes, object, inner, depth)?;
        wire::put_bytes(out, field.number, &bytes);
    }
    Ok(())
}

fn write_string(out: &mut Vec<u8>, text: &str, field: &Field) -> Result<(), ConvertError> {
    match field.kind {
        Kind::String => wire::put_bytes(out, field.number, text.as_bytes()),
        Kind::Bytes => {
            let bytes = BASE64_STANDARD
                .decode(text)
                .map_err(|source| ConvertError::Base64 { field: field.name, source })?;
            wire::put_bytes(out, field.number, &bytes);
        }
        Kind::Enum(known) => match known.number_of(text) {
            Some(number) => put_varint(out, field, i64::from(number).cast_unsigned()),
            None if field.label == Label::Required => {
                return Err(ConvertError::UnknownEnum(text.to_string()));
            }
            None => {}
        },
        Kind::Double => {
            let value = match text {
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                "NaN" => f64::NAN,
                text => quoted(text, field)?.as_f64().ok_or_else(|| not_a_number(text, field))?,
            };
            put_double(out, field, value);
        }
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => {
            return write_number(out, &quoted(text, field)?, field);
        }
        Kind::Bool | Kind::Message(_) => return Err(wrong_type(field, "string")),
    }
    Ok(())
}

/// A string that holds a number.
fn quoted(text: &str, field: &Field) -> Result<Number, ConvertError> {
    match super::parse(text.as_bytes()) {
        Ok(Value::Number(number)) => Ok(number),
        _ => Err(not_a_number(text, field)),
    }
}

fn write_number(out: &mut Vec<u8>, number: &Number, field: &Field) -> Result<(), ConvertError> {
    let out_of_range = || not_a_number(&number.to_string(), field);
    let integer = match field.kind {
        Kind::Double => {
            put_double(out, field, number.as_f64().ok_or_else(out_of_range)?);
            return Ok(());
        }
        Kind::Int32 => whole(number)
            .and_then(|value| i32::try_from(value).ok())
            .map(|value| i64::from(value).cast_unsigned()),
        Kind::Int64 => {
            whole(number).and_then(|value| i64::try_from(value).ok()).map(i64::cast_unsigned)
        }
        Kind::Uint32 => whole(number).and_then(|value| u32::try_from(value).ok()).map(u64::from),
        Kind::Uint64 => whole(number).and_then(|value| u64::try_from(value).ok()),
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_) => {
            return Err(wrong_type(field, "number"));
        }
    };
    put_varint(out, field, integer.ok_or_else(out_of_range)?);
    Ok(())
}

/// The number without its fraction, which Mesos cuts off too.
fn whole(number: &Number) -> Option<i128> {
    number.as_i128().or_else(|| number.as_f64().map(|value| value as i128))
}

fn put_varint(out: &mut Vec<u8>, field: &Field, value: u64) {
    wire::put_key(out, field.number, 0);
    wire::put_varint(out, value);
}

fn put_double(out: &mut Vec<u8>, field: &Field, value: f64) {
    wire::put_key(out, field.number, 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn wrong_type(field: &Field, found: &'static str) -> ConvertError {
    ConvertError::WrongType { field: field.name, found }
}

fn not_a_number(text: &str, field: &Field) -> ConvertError {
    ConvertError::Number { field: field.name, text: text.to_string() }
}
