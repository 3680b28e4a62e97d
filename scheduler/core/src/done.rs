//! Which items have ended: one bit each, and next to nothing for stretches that ended whole.
//!
//! Owns the books' first rule: an item ends once.

use std::collections::BTreeMap;

use crate::indices::Indices;

/// Items in one chunk.
const CHUNK: u64 = 4096;
const WORDS: usize = (CHUNK / 64) as usize;

/// Items that have ended.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// Chunks that ended whole.
    whole: Indices,
    parts: BTreeMap<u64, Part>,
    count: u64,
    len: u64,
}

#[derive(Debug, Clone)]
struct Part {
    bits: Box<[u64; WORDS]>,
    len: u64,
}

impl Done {
    /// Nothing of `count` items has ended.
    pub(crate) fn new(count: u64) -> Self {
        Self { whole: Indices::default(), parts: BTreeMap::new(), count, len: 0 }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.len == self.count
    }

    /// Marks an item; says whether it was not marked before.
    pub(crate) fn insert(&mut self, index: u64) -> bool {
        debug_assert!(index < self.count, "an index of the job");
        let (chunk, bit) = (index / CHUNK, index % CHUNK);
        if self.whole.contains(chunk) {
            return false;
        }
        let part = self.parts.entry(chunk).or_insert_with(Part::new);
        let (word, mask) = ((bit / 64) as usize, 1_u64 << (bit % 64));
        if part.bits[word] & mask != 0 {
            return false;
        }
        part.bits[word] |= mask;
        part.len += 1;
        if part.len == CHUNK {
            self.parts.remove(&chunk);
            self.whole.insert(chunk, chunk);
        }
        self.len += 1;
        true
    }

    /// Marks a range, both ends included, of which nothing was marked before.
    pub(crate) fn insert_range(&mut self, begin: u64, end: u64) {
        // Whole chunks are those from `first` to below `past`.
        let (first, past) = (begin.div_ceil(CHUNK), (end + 1) / CHUNK);
        if first < past {
            self.whole.insert(first, past - 1);
            self.len += (past - first) * CHUNK;
            (begin..first * CHUNK).chain(past * CHUNK..=end).for_each(|index| {
                self.insert(index);
            });
        } else {
            (begin..=end).for_each(|index| {
                self.insert(index);
            });
        }
    }
}

impl Part {
    fn new() -> Self {
        Self { bits: Box::new([0; WORDS]), len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_once() {
        let mut done = Done::new(10_000);
        for index in (0..10_000).rev() {
            assert!(done.insert(index));
            assert!(!done.insert(index));
        }
        assert!(done.is_complete());
        assert_eq!(done.parts.len(), 1, "a whole chunk costs nothing");
    }

    #[test]
    fn ranges() {
        let mut done = Done::new(1 << 60);
        done.insert_range(100, 3 * CHUNK + 5);
        assert_eq!(done.len, 3 * CHUNK + 6 - 100);
        assert!(!done.insert(100));
        assert!(!done.insert(2 * CHUNK));
        assert!(done.insert(99));
        assert!(done.insert(3 * CHUNK + 6));
        done.insert_range(4 * CHUNK, (1 << 60) - 1);
        assert!(!done.insert(1 << 59));
        done.insert_range(3 * CHUNK + 7, 4 * CHUNK - 1);
        done.insert_range(0, 98);
        assert!(done.is_complete());
    }
}
