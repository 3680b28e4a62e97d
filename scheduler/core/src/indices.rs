//! A set of indices kept as ranges: what waits, what a batch carries.
//!
//! Owns set arithmetic. A million indices in one piece cost as much as one.

use std::collections::BTreeMap;

/// Disjoint ranges by their begin; adjacent ones are merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Indices {
    ranges: BTreeMap<u64, u64>,
    len: u64,
}

impl Indices {
    /// One range, both ends included.
    #[cfg(test)]
    pub(crate) fn range(begin: u64, end: u64) -> Self {
        let mut indices = Self::default();
        indices.insert(begin, end);
        indices
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Begin and end of each range, ascending.
    pub(crate) fn ranges(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(begin, end)| (*begin, *end))
    }

    /// Every index, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.ranges().flat_map(|(begin, end)| begin..=end)
    }

    /// The range that an index lies in.
    fn around(&self, index: u64) -> Option<(u64, u64)> {
        let (begin, end) = self.ranges.range(..=index).next_back()?;
        (*end >= index).then_some((*begin, *end))
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.around(index).is_some()
    }

    /// Adds a range, both ends included; what is there already stays.
    pub(crate) fn insert(&mut self, begin: u64, end: u64) {
        if end < begin {
            return;
        }
        let (mut first, mut last) = (begin, end);
        if let Some((before, until)) = self.ranges.range(..begin).next_back().map(copied)
            && until.saturating_add(1) >= begin
        {
            first = before;
            last = last.max(until);
        }
        while let Some((next, until)) =
            self.ranges.range(first..=last.saturating_add(1)).next().map(copied)
        {
            self.ranges.remove(&next);
            self.len -= until - next + 1;
            last = last.max(until);
        }
        self.ranges.insert(first, last);
        self.len += last - first + 1;
    }

    /// Takes an index out; says whether it was there.
    pub(crate) fn remove(&mut self, index: u64) -> bool {
        let Some((begin, end)) = self.around(index) else { return false };
        self.ranges.remove(&begin);
        if begin < index {
            self.ranges.insert(begin, index - 1);
        }
        if index < end {
            self.ranges.insert(index + 1, end);
        }
        self.len -= 1;
        true
    }

    /// Takes out what lies in a range, both ends included.
    pub(crate) fn extract(&mut self, begin: u64, end: u64) -> Self {
        let mut taken = Self::default();
        if let Some((first, last)) = self.around(begin)
            && first < begin
        {
            self.ranges.insert(first, begin - 1);
            self.ranges.insert(begin, last);
        }
        while let Some((first, last)) =
            (begin <= end).then(|| self.ranges.range(begin..=end).next().map(copied)).flatten()
        {
            self.ranges.remove(&first);
            if last > end {
                self.ranges.insert(end + 1, last);
            }
            taken.insert(first, last.min(end));
        }
        self.len -= taken.len;
        taken
    }

    /// Takes out the smallest range, or its first part.
    pub(crate) fn pop_front(&mut self, at_most: u64) -> Option<(u64, u64)> {
        let (begin, end) = self.ranges.first_key_value().map(copied)?;
        let last = at_most.checked_sub(1).map(|more| end.min(begin.saturating_add(more)))?;
        self.ranges.remove(&begin);
        if last < end {
            self.ranges.insert(last + 1, end);
        }
        self.len -= last - begin + 1;
        Some((begin, last))
    }
}

fn copied((begin, end): (&u64, &u64)) -> (u64, u64) {
    (*begin, *end)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, u64),
        Remove(u64),
        Extract(u64, u64),
        PopFront(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..60_u64, 0..12_u64).prop_map(|(begin, more)| Step::Insert(begin, begin + more)),
            (0..70_u64).prop_map(Step::Remove),
            (0..60_u64, 0..20_u64).prop_map(|(begin, more)| Step::Extract(begin, begin + more)),
            (0..9_u64).prop_map(Step::PopFront),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in prop::collection::vec(step(), 0..60)) {
            let mut indices = Indices::default();
            let mut model = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(begin, end) => {
                        indices.insert(begin, end);
                        model.extend(begin..=end);
                    }
                    Step::Remove(index) => {
                        prop_assert_eq!(indices.remove(index), model.remove(&index));
                    }
                    Step::Extract(begin, end) => {
                        let taken = indices.extract(begin, end);
                        let expected = model.range(begin..=end).copied().collect::<Vec<_>>();
                        model.retain(|index| !(begin..=end).contains(index));
                        prop_assert_eq!(taken.iter().collect::<Vec<_>>(), expected);
                    }
                    Step::PopFront(at_most) => match indices.pop_front(at_most) {
                        None => prop_assert!(at_most == 0 || model.is_empty()),
                        Some((begin, end)) => {
                            prop_assert!(end - begin < at_most);
                            prop_assert_eq!(model.first(), Some(&begin));
                            for index in begin..=end {
                                prop_assert!(model.remove(&index));
                            }
                        }
                    },
                }
                prop_assert_eq!(indices.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(indices.len(), model.len() as u64);
                let ranges = indices.ranges().collect::<Vec<_>>();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
                prop_assert!((0..80).all(|index| indices.contains(index) == model.contains(&index)));
            }
        }
    }

    #[test]
    fn ends_of_the_number_line() {
        let mut indices = Indices::range(u64::MAX - 2, u64::MAX);
        assert!(indices.remove(u64::MAX));
        assert_eq!(indices.pop_front(10), Some((u64::MAX - 2, u64::MAX - 1)));
        assert!(indices.is_empty());
    }
}
