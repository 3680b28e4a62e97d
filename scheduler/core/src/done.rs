//! Which items have ended: one bit each, and none for stretches that ended whole.
//!
//! Owns the books' first rule: an item ends once.

/// Items in one chunk.
const CHUNK: u64 = 4096;

#[derive(Debug, Clone)]
enum Chunk {
    None,
    Some { bits: Box<[u64; (CHUNK / 64) as usize]>, count: u64 },
    All,
}

/// Items that have ended.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    chunks: Vec<Chunk>,
    count: u64,
    len: u64,
}

impl Done {
    /// Nothing of `count` items has ended.
    pub(crate) fn new(count: u64) -> Self {
        // Chunks appear as items end, so that a job costs little until it runs.
        Self { chunks: Vec::new(), count, len: 0 }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.len == self.count
    }

    /// Marks an item; says whether it was not marked before.
    pub(crate) fn insert(&mut self, index: u64) -> bool {
        debug_assert!(index < self.count, "an index of the job");
        let (position, bit) = ((index / CHUNK) as usize, index % CHUNK);
        if self.chunks.len() <= position {
            self.chunks.resize(position + 1, Chunk::None);
        }
        let chunk = &mut self.chunks[position];
        let (word, mask) = ((bit / 64) as usize, 1_u64 << (bit % 64));
        match chunk {
            Chunk::All => return false,
            Chunk::None => {
                let mut bits = Box::new([0; (CHUNK / 64) as usize]);
                bits[word] = mask;
                *chunk = Chunk::Some { bits, count: 1 };
            }
            Chunk::Some { bits, count } => {
                if bits[word] & mask != 0 {
                    return false;
                }
                bits[word] |= mask;
                *count += 1;
                if *count == CHUNK {
                    *chunk = Chunk::All;
                }
            }
        }
        self.len += 1;
        true
    }

    /// Marks a range, both ends included, of which nothing was marked before.
    pub(crate) fn insert_range(&mut self, begin: u64, end: u64) {
        let mut index = begin;
        while index <= end {
            let position = (index / CHUNK) as usize;
            let whole = index.is_multiple_of(CHUNK) && end - index >= CHUNK - 1;
            if whole && self.chunks.get(position).is_none_or(|chunk| matches!(chunk, Chunk::None)) {
                if self.chunks.len() <= position {
                    self.chunks.resize(position + 1, Chunk::None);
                }
                self.chunks[position] = Chunk::All;
                self.len += CHUNK;
                index += CHUNK;
            } else {
                self.insert(index);
                index += 1;
            }
        }
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
        assert!(matches!(done.chunks[0], Chunk::All), "a whole chunk costs nothing");
    }

    #[test]
    fn ranges() {
        let mut done = Done::new(1 << 40);
        done.insert_range(100, 3 * CHUNK + 5);
        assert_eq!(done.len, 3 * CHUNK + 6 - 100);
        assert!(!done.insert(100));
        assert!(!done.insert(2 * CHUNK));
        assert!(done.insert(99));
        assert!(done.insert(3 * CHUNK + 6));
    }
}
