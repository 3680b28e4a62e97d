//! The check for required fields, over the bytes: prost's types cannot tell a
//! missing field from one with the default.
//!
//! The value of a map's pair may be absent: prost leaves one out that is all defaults.
//!
//! [`inspect`] is what every message pays: one walk, no allocation. Only when it
//! found something do the slower ones run.

use crate::{
    schema::{Enum, Field, Kind, Label, Message},
    wire::{self, MAX_DEPTH, Malformed, Payload, Pieces},
};

/// What a walk over a message found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// A required field was not seen, or a message came in two parts that have
    /// to be looked at together.
    pub(super) suspicious: bool,
    /// An enum has a number this version does not know.
    pub(super) unknown_enums: bool,
}

pub(super) fn inspect(bytes: &[u8], schema: &Message) -> Result<Findings, Malformed> {
    let mut findings = Findings::default();
    inspect_at(bytes, schema, MAX_DEPTH, &mut findings)?;
    Ok(findings)
}

fn inspect_at(
    bytes: &[u8],
    schema: &Message,
    depth: u32,
    findings: &mut Findings,
) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut seen = 0_u64;
    let mut pieces = Pieces::new(bytes);
    while let Some(piece) = pieces.next()? {
        let Some((index, field)) = schema.by_number(piece.number) else { continue };
        let bit = 1 << index;
        match (field.kind, piece.payload) {
            (Kind::Message(inner), Payload::Bytes(bytes)) => {
                findings.suspicious |= seen & bit != 0 && field.label != Label::Repeated;
                inspect_at(bytes, inner, depth, findings)?;
            }
            (Kind::Enum(known), payload) if has_unknown(known, payload)? => {
                findings.unknown_enums = true;
                continue;
            }
            _ => {}
        }
        seen |= bit;
    }
    findings.suspicious |= schema.required & !seen != 0;
    Ok(())
}

/// Full dotted paths of the missing fields, in the order protobuf's own library lists them.
pub(crate) fn missing(bytes: &[u8], schema: &Message) -> Result<Vec<String>, Malformed> {
    let mut out = Vec::new();
    missing_at(bytes, schema, MAX_DEPTH, "", &mut out)?;
    Ok(out)
}

fn missing_at(
    bytes: &[u8],
    schema: &Message,
    depth: u32,
    prefix: &str,
    out: &mut Vec<String>,
) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut seen = vec![false; schema.fields.len()];
    let mut parts = Vec::new();
    let mut pieces = Pieces::new(bytes);
    while let Some(piece) = pieces.next()? {
        let Some((index, field)) = schema.by_number(piece.number) else { continue };
        match (field.kind, piece.payload) {
            (Kind::Message(_), Payload::Bytes(bytes)) => parts.push((index, bytes)),
            (Kind::Enum(known), payload) if has_unknown(known, payload)? => continue,
            _ => {}
        }
        seen[index] = true;
    }
    for (index, field) in schema.fields.iter().enumerate() {
        if schema.required & 1 << index != 0 && !seen[index] {
            out.push(format!("{prefix}{}", field.name));
        }
    }
    // Stable: parts of one field stay in order.
    parts.sort_by_key(|(index, _)| *index);
    for group in parts.chunk_by(|(left, _), (right, _)| left == right) {
        let field = &schema.fields[group[0].0];
        let Kind::Message(inner) = field.kind else { continue };
        if field.label == Label::Repeated {
            for (position, (_, bytes)) in group.iter().enumerate() {
                let prefix = format!("{prefix}{}[{position}].", field.name);
                missing_at(bytes, inner, depth, &prefix, out)?;
            }
        } else {
            // Parts of a singular message merge, and so do their bytes.
            let whole = group.iter().flat_map(|(_, bytes)| *bytes).copied().collect::<Vec<_>>();
            missing_at(&whole, inner, depth, &format!("{prefix}{}.", field.name), out)?;
        }
    }
    Ok(())
}

/// Copies a message without the enum values that are not known.
pub(super) fn without_unknown_enums(bytes: &[u8], schema: &Message) -> Result<Vec<u8>, Malformed> {
    copy_known(bytes, schema, MAX_DEPTH)
}

fn copy_known(bytes: &[u8], schema: &Message, depth: u32) -> Result<Vec<u8>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut out = Vec::with_capacity(bytes.len());
    let mut pieces = Pieces::new(bytes);
    while let Some(piece) = pieces.next()? {
        let field = schema.by_number(piece.number).map(|(_, field)| field);
        match (field, piece.payload) {
            (Some(Field { kind: Kind::Message(inner), .. }), Payload::Bytes(bytes)) => {
                wire::put_bytes(&mut out, piece.number, &copy_known(bytes, inner, depth)?);
            }
            (Some(Field { kind: Kind::Enum(known), .. }), Payload::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    let number = wire::varint(&mut packed)?;
                    if is_known(known, number) {
                        wire::put_key(&mut out, piece.number, 0);
                        wire::put_varint(&mut out, number);
                    }
                }
            }
            (Some(Field { kind: Kind::Enum(known), .. }), payload)
                if has_unknown(known, payload)? => {}
            _ => out.extend_from_slice(piece.raw),
        }
    }
    Ok(out)
}

fn has_unknown(known: &Enum, payload: Payload<'_>) -> Result<bool, Malformed> {
    match payload {
        Payload::Varint(number) => Ok(!is_known(known, number)),
        Payload::Bytes(mut packed) => {
            let mut unknown = false;
            while !packed.is_empty() {
                unknown |= !is_known(known, wire::varint(&mut packed)?);
            }
            Ok(unknown)
        }
        Payload::Fixed64(_) | Payload::Foreign => Err(Malformed),
    }
}

/// Enum numbers travel sign-extended; only the low half counts.
fn is_known(known: &Enum, number: u64) -> bool {
    known.name_of(number as i32).is_some()
}
