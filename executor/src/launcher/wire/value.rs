//! Values: numbers, strings, lists, times.

use std::{
    ffi::CString,
    num::NonZeroU64,
    time::{Duration, SystemTime},
};

use super::WireError;

/// Something with an encoding.
pub(crate) trait Wire: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it.
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// Bytes that are being read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads a message that has all the bytes for itself.
    pub(crate) fn whole<T: Wire>(bytes: &'a [u8]) -> Result<T, WireError> {
        let mut reader = Self::new(bytes);
        let value = T::take(&mut reader)?;
        match reader.rest.len() {
            0 => Ok(value),
            more => Err(WireError::Trailing(more)),
        }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*array)
    }

    fn length(&mut self) -> Result<usize, WireError> {
        Ok(u32::take(self)? as usize)
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
                from.array().map(Self::from_le_bytes)
            }
        }
    )*};
}

number!(u8, u16, u32, u64, i32);

impl Wire for NonZeroU64 {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::new(u64::take(from)?).ok_or(WireError::Zero)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::Tag { what: "bool", tag }),
        }
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    // Longer than a frame may be, so that the frame is refused as a whole.
    u32::try_from(length).unwrap_or(u32::MAX).put(out);
}

impl Wire for CString {
    fn put(&self, out: &mut Vec<u8>) {
        let bytes = self.as_bytes();
        put_length(bytes.len(), out);
        out.extend_from_slice(bytes);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = from.length()?;
        Self::new(from.bytes(length)?).map_err(|_| WireError::Nul)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for element in self {
            element.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = from.length()?;
        // No element takes less than a byte: a count that is a lie reserves nothing.
        if count > from.rest.len() {
            return Err(WireError::Short);
        }
        (0..count).map(|_| T::take(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        if bool::take(from)? { T::take(from).map(Some) } else { Ok(None) }
    }
}

impl Wire for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(self.as_micros()).unwrap_or(u64::MAX).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        u64::take(from).map(Self::from_micros)
    }
}

impl Wire for SystemTime {
    fn put(&self, out: &mut Vec<u8>) {
        self.duration_since(Self::UNIX_EPOCH).unwrap_or_default().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::UNIX_EPOCH.checked_add(Duration::take(from)?).ok_or(WireError::Time)
    }
}
