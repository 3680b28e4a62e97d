//! RecordIO: `<length in decimal>\n<bytes>`, the framing of event streams.
//!
//! Owns splitting and joining; what is in a record is [`codec`](crate::codec)'s
//! business. Records are independent of HTTP chunks.

use bytes::{Buf as _, Bytes, BytesMut};

/// Longest length line: the digits of the largest 64-bit number.
const MAX_LINE: usize = 20;

/// Why a stream cannot be split into records; nothing behind it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordIoError {
    /// The line in front of a record is no decimal number.
    #[error("record length expected, found `{line}`")]
    NotALength {
        /// Its beginning, with other than printable ASCII escaped.
        line: String,
    },
    /// The record would not be acceptable.
    #[error("record of {length} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What the length line says, at most the largest 64-bit number.
        length: u64,
        /// What the decoder was made with.
        limit: usize,
    },
}

/// Puts the length in front of a record.
pub fn encode(record: &[u8]) -> Bytes {
    let length = record.len().to_string();
    let mut out = BytesMut::with_capacity(length.len() + 1 + record.len());
    out.extend_from_slice(length.as_bytes());
    out.extend_from_slice(b"\n");
    out.extend_from_slice(record);
    out.freeze()
}

/// Splits a byte stream that arrives in arbitrary pieces.
///
/// ```text
///          '\n' after digits            `length` bytes are there
/// Length ───────────────────▶ Record ───────────────────────────▶ Length
///    │ anything else, or past the limit
///    └──────────────────────▶ Broken
/// ```
///
/// - `Length`: waits for the end of a length line.
/// - `Record`: waits for the bytes of a record.
/// - `Broken`: answers the same error for ever.
#[derive(Debug)]
pub struct Decoder {
    max_frame: usize,
    buffer: BytesMut,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Length,
    Record { length: usize },
    Broken(RecordIoError),
}

impl Decoder {
    /// Makes a decoder that refuses records of more than `max_frame` bytes.
    pub fn new(max_frame: usize) -> Self {
        Self { max_frame, buffer: BytesMut::new(), phase: Phase::Length }
    }

    /// Adds bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.phase, Phase::Broken(_)) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Takes the next whole record out, if it is there.
    ///
    /// # Errors
    /// When a length line is no number or names more than the limit. The
    /// decoder stays broken then.
    #[expect(
        clippy::should_implement_trait,
        reason = "the end of the buffer is not the end of the stream"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>, RecordIoError> {
        loop {
            match &self.phase {
                Phase::Length => match self.read_length() {
                    Ok(Some(length)) => self.phase = Phase::Record { length },
                    Ok(None) => return Ok(None),
                    Err(error) => {
                        self.buffer = BytesMut::new();
                        self.phase = Phase::Broken(error);
                    }
                },
                Phase::Record { length } => {
                    if self.buffer.len() < *length {
                        return Ok(None);
                    }
                    let record = self.buffer.split_to(*length).freeze();
                    self.phase = Phase::Length;
                    return Ok(Some(record));
                }
                Phase::Broken(error) => return Err(error.clone()),
            }
        }
    }

    /// Whether the stream could end here: no part of a record is waiting.
    pub fn is_clean(&self) -> bool {
        matches!(self.phase, Phase::Length) && self.buffer.is_empty()
    }

    fn read_length(&mut self) -> Result<Option<usize>, RecordIoError> {
        let line = &self.buffer[..self.buffer.len().min(MAX_LINE + 1)];
        let Some(end) = line.iter().position(|byte| !byte.is_ascii_digit()) else {
            return if line.len() > MAX_LINE { Err(not_a_length(line)) } else { Ok(None) };
        };
        if line[end] != b'\n' || end == 0 {
            return Err(not_a_length(line));
        }
        let length = line[..end].iter().fold(0_u64, |value, digit| {
            value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        let acceptable = usize::try_from(length).ok().filter(|length| *length <= self.max_frame);
        let Some(acceptable) = acceptable else {
            return Err(RecordIoError::TooLarge { length, limit: self.max_frame });
        };
        self.buffer.advance(end + 1);
        Ok(Some(acceptable))
    }
}

fn not_a_length(line: &[u8]) -> RecordIoError {
    let shown = line.split(|byte| *byte == b'\n').next().unwrap_or(line);
    RecordIoError::NotALength { line: shown.escape_ascii().to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Bytes> {
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    #[test]
    fn splits() {
        let mut decoder = Decoder::new(100);
        assert!(decoder.is_clean());
        decoder.push(b"20\n{\"type\":\"HEARTBEAT\"}0\n3\nab");
        assert_eq!(all(&mut decoder), [&b"{\"type\":\"HEARTBEAT\"}"[..], b""]);
        assert!(!decoder.is_clean());
        decoder.push(b"c");
        assert_eq!(all(&mut decoder), [&b"abc"[..]]);
        assert!(decoder.is_clean());
        decoder.push(b"1");
        assert_eq!(decoder.next(), Ok(None));
        assert!(!decoder.is_clean());
    }

    #[test]
    fn refuses() {
        for (input, error) in [
            ("10737418240\n", "record of 10737418240 bytes is larger than the limit of 1000 bytes"),
            ("1001\n", "record of 1001 bytes is larger than the limit of 1000 bytes"),
            (
                "99999999999999999999\n",
                "record of 18446744073709551615 bytes is larger than the limit of 1000 bytes",
            ),
            ("\n", "record length expected, found ``"),
            ("5\r\nhello", "record length expected, found `5\\r`"),
            ("-1\n", "record length expected, found `-1`"),
            ("{\"a\"", "record length expected, found `{\\\"a\\\"`"),
            ("000000000000000000000\n", "record length expected, found `000000000000000000000`"),
        ] {
            let mut decoder = Decoder::new(1000);
            decoder.push(input.as_bytes());
            assert_eq!(decoder.next().unwrap_err().to_string(), error);
            decoder.push(b"1\na");
            assert_eq!(decoder.next().unwrap_err().to_string(), error);
            assert!(!decoder.is_clean());
        }
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut decoder = Decoder::new(3);
        decoder.push(b"3\nabc");
        assert_eq!(all(&mut decoder), [&b"abc"[..]]);
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..20),
        ) {
            let stream = records.iter().flat_map(|record| encode(record)).collect::<Vec<_>>();
            let mut decoder = Decoder::new(300);
            let mut found = Vec::new();
            let mut rest = &stream[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                decoder.push(piece);
                found.extend(all(&mut decoder));
                rest = tail;
            }
            prop_assert!(decoder.is_clean());
            prop_assert_eq!(found, records);
        }

        #[test]
        fn garbage_never_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5)) {
            let mut decoder = Decoder::new(20);
            for piece in pieces {
                decoder.push(&piece);
                while let Ok(Some(_)) = decoder.next() {}
            }
        }
    }
}
