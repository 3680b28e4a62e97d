//! Reads and writes protobuf's wire format field by field.
//!
//! Knows nothing of messages; prost does the typed decoding. Used where the
//! message table decides: JSON, text, the check for required fields.

/// How deep messages may nest; the same as prost's own limit.
pub(crate) const MAX_DEPTH: u32 = 100;

/// The bytes are not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub(crate) struct Malformed;

/// Value of one field as it lies on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// A fixed32 or a group: no message here has one.
    Foreign,
}

/// One field: its number, its value, and all its bytes with the key.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) number: u32,
    pub(crate) payload: Payload<'a>,
    pub(crate) raw: &'a [u8],
}

/// Walks over the fields of one message.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Piece<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.rest;
        let (number, kind) = key(&mut self.rest)?;
        let payload = match kind {
            0 => Payload::Varint(varint(&mut self.rest)?),
            1 => {
                let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(Malformed)?;
                self.rest = rest;
                Payload::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => Payload::Bytes(bytes(&mut self.rest)?),
            3 => {
                skip_group(&mut self.rest, number, MAX_DEPTH)?;
                Payload::Foreign
            }
            5 => {
                self.rest = self.rest.get(4..).ok_or(Malformed)?;
                Payload::Foreign
            }
            _ => return Err(Malformed),
        };
        let raw = &start[..start.len() - self.rest.len()];
        Ok(Some(Piece { number, payload, raw }))
    }
}

/// Reads a varint of at most ten bytes.
pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for (index, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if index == 9 && *byte > 1 {
                return Err(Malformed);
            }
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(Malformed)
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_key(out: &mut Vec<u8>, number: u32, kind: u32) {
    put_varint(out, u64::from(number << 3 | kind));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn key(rest: &mut &[u8]) -> Result<(u32, u32), Malformed> {
    let key = u32::try_from(varint(rest)?).map_err(|_| Malformed)?;
    let number = key >> 3;
    if number == 0 {
        return Err(Malformed);
    }
    Ok((number, key & 7))
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(bytes)
}

fn skip_group(rest: &mut &[u8], number: u32, depth: u32) -> Result<(), Malformed> {
    if depth == 0 {
        return Err(Malformed);
    }
    loop {
        let (inner, kind) = key(rest)?;
        match kind {
            0 => drop(varint(rest)?),
            1 => *rest = rest.get(8..).ok_or(Malformed)?,
            2 => drop(bytes(rest)?),
            3 => skip_group(rest, inner, depth - 1)?,
            4 if inner == number => return Ok(()),
            5 => *rest = rest.get(4..).ok_or(Malformed)?,
            _ => return Err(Malformed),
        }
    }
}
