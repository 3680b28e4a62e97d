//! Frames: many messages with one length before them.

use super::{Reader, Wire, WireError};

/// The most bytes that the messages of a frame have.
pub(crate) const FRAME_MAX: usize = 4 << 20;

/// A frame of this size gets no further message.
const FRAME_FULL: usize = 64 << 10;

const PREFIX: usize = size_of::<u32>();

/// Capacity that is kept when nothing waits.
const KEPT: usize = 256 << 10;

/// Messages that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` was sent.
    sent: usize,
    /// Where the frame begins that still takes messages.
    open: Option<usize>,
}

impl Outbox {
    /// Adds a message, or leaves everything as it was when it is larger than a frame.
    pub(crate) fn push(&mut self, message: &impl Wire) -> Result<(), WireError> {
        let start = self.bytes.len();
        let frame = match self.open {
            Some(frame) => frame,
            None => {
                self.bytes.extend_from_slice(&[0; PREFIX]);
                start
            }
        };
        let body = self.bytes.len();
        message.put(&mut self.bytes);
        if self.bytes.len() - body > FRAME_MAX {
            let length = self.bytes.len() - body;
            self.bytes.truncate(start);
            return Err(WireError::FrameLength(length));
        }
        if self.bytes.len() - frame - PREFIX > FRAME_MAX {
            // Too much together with what was there: it gets a frame of its own.
            let message = self.bytes.split_off(body);
            self.bytes.extend_from_slice(&[0; PREFIX]);
            self.bytes.extend_from_slice(&message);
            self.seal(body);
        } else {
            self.seal(frame);
        }
        Ok(())
    }

    fn seal(&mut self, frame: usize) {
        let length = self.bytes.len() - frame - PREFIX;
        // Bounded by FRAME_MAX.
        self.bytes[frame..frame + PREFIX].copy_from_slice(&(length as u32).to_le_bytes());
        self.open = (length < FRAME_FULL).then_some(frame);
    }

    /// What is to be sent next. No message is added to a frame after this.
    pub(crate) fn unsent(&mut self) -> &[u8] {
        self.open = None;
        &self.bytes[self.sent..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Forgets bytes that were sent.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent = self.bytes.len().min(self.sent + count);
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            self.sent = 0;
        } else if self.sent >= KEPT {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Bytes that arrived and wait to be read.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    read: usize,
}

impl Inbox {
    /// Adds what arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Reads all messages of the next frame, if it is complete.
    pub(crate) fn next<T: Wire>(&mut self, into: &mut Vec<T>) -> Result<bool, WireError> {
        let rest = &self.bytes[self.read..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX>() else { return Ok(false) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length == 0 || length > FRAME_MAX {
            return Err(WireError::FrameLength(length));
        }
        let Some(frame) = rest.get(..length) else {
            if self.read > 0 {
                self.bytes.drain(..self.read);
                self.read = 0;
            }
            return Ok(false);
        };
        let mut reader = Reader::new(frame);
        while !reader.is_empty() {
            into.push(T::take(&mut reader)?);
        }
        self.read += PREFIX + length;
        Ok(true)
    }

    /// Whether the stream may end here.
    pub(crate) fn is_clean(&self) -> Result<(), WireError> {
        if self.read == self.bytes.len() { Ok(()) } else { Err(WireError::Truncated) }
    }
}
