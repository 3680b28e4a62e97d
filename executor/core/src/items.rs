//! The items of a batch that have not started, and selections of them.
//!
//! Ranges stay ranges: a million items of an array take a few words.

use std::collections::VecDeque;

use marmoset_proto::marmoset::v1::{IndexRange, Item};

/// Items in the order in which they start: ranges first, then single items.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pending {
    ranges: VecDeque<(u64, u64)>,
    items: VecDeque<Item>,
    len: u64,
}

/// Why a list of items cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemsError {
    /// No ranges and no items.
    #[error("`batch` has neither `ranges` nor `items`: there is nothing to run")]
    Empty,
    /// `begin` behind `end`.
    #[error("`batch.ranges` holds {begin} to {end}, which is backwards")]
    Backwards {
        /// First index.
        begin: u64,
        /// Last index.
        end: u64,
    },
    /// One index, two items.
    #[error("`batch` holds the index {0} twice")]
    Twice(u64),
    /// More than can be counted.
    #[error("`batch.ranges` holds more items than can be counted")]
    Uncountable,
}

impl Pending {
    /// Checks that every index stands for one item.
    pub(crate) fn new(ranges: &[IndexRange], items: Vec<Item>) -> Result<Self, ItemsError> {
        let mut all = Vec::with_capacity(ranges.len() + items.len());
        let mut len = u64::try_from(items.len()).map_err(|_| ItemsError::Uncountable)?;
        for &IndexRange { begin, end } in ranges {
            let more = end.checked_sub(begin).ok_or(ItemsError::Backwards { begin, end })?;
            len = more
                .checked_add(1)
                .and_then(|more| len.checked_add(more))
                .ok_or(ItemsError::Uncountable)?;
            all.push((begin, end));
        }
        let ranges = all.clone();
        all.extend(items.iter().map(|item| (item.index, item.index)));
        if all.is_empty() {
            return Err(ItemsError::Empty);
        }
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
            return Err(ItemsError::Twice(pair[1].0));
        }
        Ok(Self { ranges: ranges.into(), items: items.into(), len })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The largest index and the largest attempt, for the longest task id.
    pub(crate) fn largest(&self) -> (u64, u32) {
        let index = self
            .ranges
            .iter()
            .map(|(_, end)| *end)
            .chain(self.items.iter().map(|item| item.index))
            .max();
        let attempt = self.items.iter().map(Item::attempt).max();
        (index.unwrap_or(0), attempt.unwrap_or(0))
    }

    /// All items that have a text of their own.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u64, &str)> {
        self.items.iter().filter_map(|item| Some((item.index, item.line.as_deref()?)))
    }

    /// Takes the next item to start.
    pub(crate) fn next(&mut self) -> Option<Item> {
        let item = match self.ranges.front_mut() {
            Some((begin, end)) => {
                let item = Item { index: *begin, line: None, attempt: None };
                if begin == end {
                    self.ranges.pop_front();
                } else {
                    *begin += 1;
                }
                item
            }
            None => self.items.pop_front()?,
        };
        self.len -= 1;
        Some(item)
    }

    /// Puts an item back that was not started, before all others of its kind.
    pub(crate) fn put_back(&mut self, item: Item) {
        self.len += 1;
        match (&item, self.ranges.front_mut()) {
            (Item { index, line: None, attempt: None }, Some((begin, _)))
                if index.checked_add(1) == Some(*begin) =>
            {
                *begin = *index;
            }
            (Item { index, line: None, attempt: None }, _) => {
                self.ranges.push_front((*index, *index));
            }
            (Item { line: Some(_), .. } | Item { attempt: Some(_), .. }, _) => {
                self.items.push_front(item);
            }
        }
    }

    /// Takes the selected items out.
    pub(crate) fn take(&mut self, selection: &Selection) -> Taken {
        let mut taken = Taken::default();
        let mut kept = VecDeque::new();
        for range in self.ranges.drain(..) {
            selection.split(range, &mut taken.ranges, &mut kept);
        }
        self.ranges = kept;
        let (out, stay): (VecDeque<_>, VecDeque<_>) =
            self.items.drain(..).partition(|item| selection.contains(item.index));
        taken.items = out.into();
        self.items = stay;
        self.len -= taken.len();
        taken
    }
}

/// What was taken out of [`Pending`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Taken {
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) items: Vec<Item>,
}

impl Taken {
    pub(crate) fn len(&self) -> u64 {
        let ranges = self.ranges.iter().map(|(begin, end)| end - begin + 1).sum::<u64>();
        ranges + self.items.len() as u64
    }

    /// Every index with its attempt.
    pub(crate) fn indices(&self) -> impl Iterator<Item = (u64, u32)> {
        let ranges = self.ranges.iter().flat_map(|(begin, end)| *begin..=*end);
        ranges.map(|index| (index, 0)).chain(self.items.iter().map(|i| (i.index, i.attempt())))
    }

    /// The same as ranges, merged.
    pub(crate) fn to_ranges(&self) -> Vec<IndexRange> {
        let single = self.items.iter().map(|item| (item.index, item.index));
        merged(self.ranges.iter().copied().chain(single))
            .into_iter()
            .map(|(begin, end)| IndexRange { begin, end })
            .collect()
    }
}

/// Some indices, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    All,
    /// Sorted, apart.
    Some(Vec<(u64, u64)>),
}

impl Selection {
    /// No ranges at all select everything; a backward one selects nothing.
    pub(crate) fn new(ranges: &[IndexRange]) -> Self {
        if ranges.is_empty() {
            return Self::All;
        }
        let forward = ranges.iter().filter(|range| range.begin <= range.end);
        Self::Some(merged(forward.map(|range| (range.begin, range.end))))
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        match self {
            Self::All => true,
            Self::Some(ranges) => {
                let after = ranges.partition_point(|(begin, _)| *begin <= index);
                after > 0 && index <= ranges[after - 1].1
            }
        }
    }

    /// Cuts one range into what is selected and what is not.
    fn split(
        &self,
        (begin, end): (u64, u64),
        inside: &mut Vec<(u64, u64)>,
        outside: &mut VecDeque<(u64, u64)>,
    ) {
        let Self::Some(ranges) = self else { return inside.push((begin, end)) };
        let mut next = begin;
        let first = ranges.partition_point(|(_, last)| *last < begin);
        for &(from, to) in &ranges[first..] {
            if from > end {
                break;
            }
            let (from, to) = (from.max(begin), to.min(end));
            if next < from {
                outside.push_back((next, from - 1));
            }
            inside.push((from, to));
            match to.checked_add(1) {
                Some(after) if after <= end => next = after,
                _ => return,
            }
        }
        outside.push_back((next, end));
    }
}

fn merged(ranges: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut sorted = ranges.collect::<Vec<_>>();
    sorted.sort_unstable();
    let mut merged = Vec::<(u64, u64)>::with_capacity(sorted.len());
    for (begin, end) in sorted {
        match merged.last_mut() {
            Some((_, last)) if begin <= last.saturating_add(1) => *last = end.max(*last),
            _ => merged.push((begin, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(begin: u64, end: u64) -> IndexRange {
        IndexRange { begin, end }
    }

    fn item(index: u64) -> Item {
        Item { index, line: Some(format!("line {index}")), attempt: Some(1) }
    }

    #[test]
    fn refuses() {
        let new = |ranges: &[IndexRange], items: &[u64]| {
            Pending::new(ranges, items.iter().copied().map(item).collect()).unwrap_err()
        };
        assert_eq!(new(&[], &[]), ItemsError::Empty);
        assert_eq!(new(&[range(4, 3)], &[]), ItemsError::Backwards { begin: 4, end: 3 });
        assert_eq!(new(&[range(0, 3), range(3, 4)], &[]), ItemsError::Twice(3));
        assert_eq!(new(&[range(0, 9)], &[5]), ItemsError::Twice(5));
        assert_eq!(new(&[], &[5, 5]), ItemsError::Twice(5));
        assert_eq!(new(&[range(0, u64::MAX)], &[]), ItemsError::Uncountable);
    }

    #[test]
    fn starts_ranges_then_items() {
        let mut pending =
            Pending::new(&[range(3, 4), range(0, 0)], vec![item(9), item(8)]).unwrap();
        assert_eq!(pending.len(), 5);
        let order = std::iter::from_fn(|| pending.next()).map(|i| i.index).collect::<Vec<_>>();
        assert_eq!(order, [3, 4, 0, 9, 8]);
        assert!(pending.is_empty());
    }

    proptest! {
        #[test]
        fn takes_exactly_what_is_selected(
            starts in proptest::collection::btree_set(0_u64..60, 1..20),
            selected in proptest::collection::vec((0_u64..60, 0_u64..10), 0..6),
        ) {
            let (even, odd) = starts.iter().partition::<BTreeSet<u64>, _>(|index| *index % 2 == 0);
            let ranges = merged(even.iter().map(|index| (*index, *index)))
                .into_iter().map(|(begin, end)| range(begin, end)).collect::<Vec<_>>();
            let mut pending = Pending::new(&ranges, odd.iter().copied().map(item).collect()).unwrap();
            let ranges = selected.iter().map(|(at, len)| range(*at, at + len)).collect::<Vec<_>>();
            let selection = Selection::new(&ranges);
            let taken = pending.take(&selection);
            let out = taken.indices().map(|(index, _)| index).collect::<BTreeSet<_>>();
            prop_assert_eq!(taken.len(), out.len() as u64);
            let as_ranges = taken.to_ranges().iter().flat_map(|r| r.begin..=r.end).collect::<BTreeSet<_>>();
            prop_assert_eq!(&as_ranges, &out);
            prop_assert_eq!(pending.len(), (starts.len() - out.len()) as u64);
            let stay = std::iter::from_fn(|| pending.next()).map(|i| i.index).collect::<BTreeSet<_>>();
            for index in &starts {
                let wanted = ranges.is_empty() || ranges.iter().any(|r| (r.begin..=r.end).contains(index));
                prop_assert_eq!(wanted, out.contains(index));
                prop_assert_eq!(!wanted, stay.contains(index));
            }
        }
    }
}
