//! Packs: the small outputs of many tasks in one file.
//!
//! Owns the format, which docs/executor-protocol.md describes for other readers.
//! No I/O: the executor appends what [`Record::put`] makes, and whoever reads
//! hands the bytes of a file, in any pieces, to a [`Reader`].
//!
//! ```text
//! pack    = "MARMPACK" version:u32 record*                version = 1
//! record  = length:u32 kind:u8 id_length:u16 id content   length: of all that follows it
//! kind    = 1 stdout | 2 stderr                           content: what the task wrote
//!         | 3 stdout | 4 stderr                           content: size:u64, the task kept its file
//! ```
//!
//! Numbers are little-endian; the id is the task's, in UTF-8. A file whose writer
//! was killed, or that is still written, may end within a record.

use std::fmt;

/// What each pack begins with.
pub const HEAD: [u8; 12] = *b"MARMPACK\x01\0\0\0";

/// The most that one stream of a task may hold to be packed.
pub const SMALL_MAX: u64 = 1 << 20;

/// No record is longer; what claims to be is damaged.
const RECORD_MAX: usize = SMALL_MAX as usize + (1 << 17);

/// Bytes of `kind` and `id_length`.
const FIXED: usize = 3;

/// One of the two streams of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// What is known of one stream of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The task, which is the name of its folder.
    pub task_id: &'a str,
    /// Which stream.
    pub stream: Stream,
    /// What it held.
    pub content: Content<'a>,
}

/// What a stream held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// This.
    Bytes(&'a [u8]),
    /// Too much for a pack: so many bytes, in a file of its own in the task's folder.
    OwnFile {
        /// Size of that file.
        size: u64,
    },
}

impl Content<'_> {
    /// How many bytes the stream held.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::OwnFile { size } => *size,
        }
    }
}

/// Why a file is not a pack, or no longer one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Other bytes at the beginning.
    #[error("not a pack: it does not begin with `MARMPACK`")]
    Head,
    /// A newer writer.
    #[error("a pack of version {0}, and version 1 is known here")]
    Version(u32),
    /// Bytes that no writer of ours leaves.
    #[error("damaged at byte {at}: {what}")]
    Damaged {
        /// Where the record begins.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl Record<'_> {
    /// Appends the record.
    ///
    /// # Panics
    /// When the id is longer than 64 KiB or the content is no small one.
    pub fn put(&self, out: &mut Vec<u8>) {
        let id_length = u16::try_from(self.task_id.len()).expect("an id is a file name");
        let (kind, size) = match (self.stream, self.content) {
            (Stream::Stdout, Content::Bytes(bytes)) => (1, bytes.len()),
            (Stream::Stderr, Content::Bytes(bytes)) => (2, bytes.len()),
            (Stream::Stdout, Content::OwnFile { .. }) => (3, 8),
            (Stream::Stderr, Content::OwnFile { .. }) => (4, 8),
        };
        let length = FIXED + self.task_id.len() + size;
        assert!(length <= RECORD_MAX, "larger outputs keep their files");
        let length = u32::try_from(length).expect("less than a record's maximum");
        out.extend_from_slice(&length.to_le_bytes());
        out.push(kind);
        out.extend_from_slice(&id_length.to_le_bytes());
        out.extend_from_slice(self.task_id.as_bytes());
        match self.content {
            Content::Bytes(bytes) => out.extend_from_slice(bytes),
            Content::OwnFile { size } => out.extend_from_slice(&size.to_le_bytes()),
        }
    }
}

/// Reads a pack from pieces of it.
#[derive(Debug, Default)]
pub struct Reader {
    /// What was pushed and not passed.
    buffer: Vec<u8>,
    /// How much of `buffer` was read.
    read: usize,
    /// Where `buffer` begins in the file.
    at: u64,
    past_head: bool,
}

impl Reader {
    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.at += self.read as u64;
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives the next record that is whole.
    ///
    /// # Errors
    /// The file is no pack, or damaged. What follows a damaged place cannot be found.
    #[expect(clippy::should_implement_trait, reason = "an iterator does not lend")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, PackError> {
        if !self.past_head {
            let Some(head) = self.buffer.first_chunk::<{ HEAD.len() }>() else {
                let seen = self.buffer.len();
                let good = self.buffer.iter().zip(&HEAD[..8]).all(|(one, other)| one == other);
                return if good || seen == 0 { Ok(None) } else { Err(PackError::Head) };
            };
            if head[..8] != HEAD[..8] {
                return Err(PackError::Head);
            }
            let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
            if version != 1 {
                return Err(PackError::Version(version));
            }
            self.past_head = true;
            self.read = HEAD.len();
        }
        let at = self.at + self.read as u64;
        let damaged = |what| PackError::Damaged { at, what };
        let rest = &self.buffer[self.read..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if !(FIXED..=RECORD_MAX).contains(&length) {
            return Err(damaged("the length of a record is out of range"));
        }
        let Some((record, _)) = rest.split_at_checked(length) else { return Ok(None) };
        let ([kind, low, high], rest) = record.split_first_chunk::<FIXED>().expect("checked above");
        let id_length = usize::from(u16::from_le_bytes([*low, *high]));
        let (id, content) = rest
            .split_at_checked(id_length)
            .ok_or_else(|| damaged("the id is longer than its record"))?;
        let task_id = std::str::from_utf8(id).map_err(|_| damaged("the id is not UTF-8"))?;
        let own_file = || {
            let size = content.try_into().map_err(|_| damaged("the size is not 8 bytes"))?;
            Ok(Content::OwnFile { size: u64::from_le_bytes(size) })
        };
        let (stream, content) = match kind {
            1 => (Stream::Stdout, Content::Bytes(content)),
            2 => (Stream::Stderr, Content::Bytes(content)),
            3 => (Stream::Stdout, own_file()?),
            4 => (Stream::Stderr, own_file()?),
            _ => return Err(damaged("a record of an unknown kind")),
        };
        self.read += 4 + length;
        Ok(Some(Record { task_id, stream, content }))
    }

    /// Bytes at the end that are no whole record; 0 if the file ended where it may.
    pub fn torn(&self) -> u64 {
        (self.buffer.len() - self.read) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    type Owned = (String, Stream, Result<Vec<u8>, u64>);

    fn record() -> impl Strategy<Value = Owned> {
        let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
        let content = prop_oneof![
            4 => vec(any::<u8>(), 0..60).prop_map(Ok),
            1 => any::<u64>().prop_map(Err),
        ];
        ("[a-z.\u{e9}]{1,20}", stream, content)
    }

    fn written(records: &[Owned]) -> Vec<u8> {
        let mut out = HEAD.to_vec();
        for (task_id, stream, content) in records {
            let content = match content {
                Ok(bytes) => Content::Bytes(bytes),
                Err(size) => Content::OwnFile { size: *size },
            };
            Record { task_id, stream: *stream, content }.put(&mut out);
        }
        out
    }

    /// All whole records, and how many bytes are left.
    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<Owned>, u64), PackError> {
        let (mut reader, mut records) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            while let Some(Record { task_id, stream, content }) = reader.next()? {
                let content = match content {
                    Content::Bytes(bytes) => Ok(bytes.to_vec()),
                    Content::OwnFile { size } => Err(size),
                };
                records.push((task_id.to_owned(), stream, content));
            }
        }
        Ok((records, reader.torn()))
    }

    proptest! {
        #[test]
        fn records_survive_in_any_pieces(records in vec(record(), 0..20), piece in 1_usize..99) {
            prop_assert_eq!(read(&written(&records), piece), Ok((records, 0)));
        }

        #[test]
        fn a_torn_end_costs_the_last_record_alone(
            records in vec(record(), 1..10), cut in 1_usize..8,
        ) {
            let mut bytes = written(&records);
            bytes.truncate(bytes.len() - cut);
            let (all, torn) = read(&bytes, 7).unwrap();
            prop_assert_eq!(&all[..], &records[..records.len() - 1]);
            prop_assert!(torn > 0);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = read(&[&HEAD[..], &bytes].concat(), 11);
            let _ = read(&bytes, 11);
        }
    }

    #[test]
    fn strangers_are_refused() {
        assert_eq!(read(b"hello", 99), Err(PackError::Head));
        assert_eq!(read(b"hello, this is text", 99), Err(PackError::Head));
        assert_eq!(read(b"MARM", 99), Ok((Vec::new(), 4)));
        assert_eq!(read(b"MARMPACK\x02\0\0\0", 99), Err(PackError::Version(2)));
        let zeros = [&HEAD[..], &[0; 16]].concat();
        let error = read(&zeros, 99).unwrap_err().to_string();
        assert_eq!(error, "damaged at byte 12: the length of a record is out of range");
    }
}
