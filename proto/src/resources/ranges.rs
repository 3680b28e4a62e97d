//! Sets of whole numbers kept as ranges: ports.

use std::fmt;

/// Disjoint ranges in ascending order, adjacent ones merged; both ends belong to a range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ranges {
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    /// Begin and end of each range.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }

    /// How many numbers there are, up to the largest number.
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum: u64, range| sum.saturating_add(length(range)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Every number, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flat_map(|(begin, end)| begin..=end)
    }

    /// Whether all of `other` is here.
    pub fn contains(&self, other: &Self) -> bool {
        other.iter().all(|(begin, end)| {
            // The last range that begins at or before: the only one that can hold it.
            let after = self.ranges.partition_point(|(known, _)| *known <= begin);
            after > 0 && self.ranges[after - 1].1 >= end
        })
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        if !other.is_empty() {
            self.ranges.extend_from_slice(&other.ranges);
            self.merge();
        }
    }

    /// Leaves what `other` does not have; splits ranges where needed.
    pub fn subtract(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        let mut rest = Vec::with_capacity(self.ranges.len() + other.ranges.len());
        let mut removed = other.ranges.as_slice();
        for (mut begin, end) in self.iter() {
            while let Some((_, last)) = removed.first()
                && *last < begin
            {
                removed = &removed[1..];
            }
            let mut is_used_up = false;
            for (first, last) in removed.iter().take_while(|(first, _)| *first <= end) {
                if begin < *first {
                    rest.push((begin, first - 1));
                }
                if *last >= end {
                    is_used_up = true;
                    break;
                }
                begin = last + 1;
            }
            if !is_used_up {
                rest.push((begin, end));
            }
        }
        self.ranges = rest;
    }

    /// What both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        let mut common = self.clone();
        common.subtract(&rest);
        common
    }

    /// Takes the `count` smallest numbers out; `None` and no change when there are fewer.
    pub fn take(&mut self, count: u64) -> Option<Self> {
        if self.count() < count {
            return None;
        }
        let mut taken = Vec::new();
        let mut missing = count;
        let mut used = 0;
        for range in &mut self.ranges {
            if missing == 0 {
                break;
            }
            let here = length(*range);
            if here <= missing {
                taken.push(*range);
                missing -= here;
                used += 1;
            } else {
                taken.push((range.0, range.0 + missing - 1));
                range.0 += missing;
                missing = 0;
            }
        }
        self.ranges.drain(..used);
        Some(Self { ranges: taken })
    }

    fn merge(&mut self) {
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, last| {
            let touches = next.0 <= last.1.saturating_add(1);
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
    }
}

fn length((begin, end): (u64, u64)) -> u64 {
    (end - begin).saturating_add(1)
}

/// Of begin and end; pairs in the wrong order are left out.
impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut all =
            Self { ranges: ranges.into_iter().filter(|(begin, end)| begin <= end).collect() };
        all.merge();
        all
    }
}

/// As Mesos writes it: `[8000-8002, 8005-8005]`.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, (begin, end)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{begin}-{end}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(text: &[(u64, u64)]) -> Ranges {
        text.iter().copied().collect()
    }

    #[test]
    fn ports() {
        let mut free = ranges(&[(8000, 8100)]);
        free.subtract(&ranges(&[(8003, 8003)]));
        assert_eq!(free.to_string(), "[8000-8002, 8004-8100]");
        free.subtract(&ranges(&[(8000, 8002), (8004, 8005)]));
        assert_eq!(free.to_string(), "[8006-8100]");
        free.add(&ranges(&[(8003, 8003)]));
        assert_eq!(free.to_string(), "[8003-8003, 8006-8100]");
        assert_eq!(free.iter().collect::<Vec<_>>(), [(8003, 8003), (8006, 8100)]);
        free.add(&ranges(&[(8004, 8005)]));
        assert_eq!(free.to_string(), "[8003-8100]");
        assert_eq!(free.take(2).unwrap().to_string(), "[8003-8004]");
        assert_eq!(free.take(97), None);
        assert_eq!(free.to_string(), "[8005-8100]");
        assert_eq!(free.take(96).unwrap().count(), 96);
        assert!(free.is_empty());
        assert_eq!(free.to_string(), "[]");
    }

    #[test]
    fn the_ends_of_the_numbers() {
        let mut all = ranges(&[(0, u64::MAX)]);
        assert_eq!(all.count(), u64::MAX);
        all.add(&ranges(&[(u64::MAX, u64::MAX)]));
        all.subtract(&ranges(&[(0, 0), (u64::MAX, u64::MAX)]));
        assert_eq!(all, ranges(&[(1, u64::MAX - 1)]));
        all.subtract(&ranges(&[(0, u64::MAX)]));
        assert!(all.is_empty());
    }

    fn some() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec(
            (0_u64..60, 0_u64..8).prop_map(|(begin, more)| (begin, begin + more)),
            0..8,
        )
    }

    proptest! {
        #[test]
        fn like_a_set(left in some(), right in some(), count in 0_u64..30) {
            let model = |list: &[(u64, u64)]| list.iter().flat_map(|(b, e)| *b..=*e).collect::<BTreeSet<_>>();
            let set = |ranges: &Ranges| ranges.numbers().collect::<BTreeSet<_>>();
            let (a, b) = (ranges(&left), ranges(&right));
            let (x, y) = (model(&left), model(&right));
            prop_assert_eq!(a.count(), x.len() as u64);
            prop_assert_eq!(a.contains(&b), x.is_superset(&y));
            let mut sum = a.clone();
            sum.add(&b);
            prop_assert_eq!(set(&sum), &x | &y);
            let mut rest = a.clone();
            rest.subtract(&b);
            prop_assert_eq!(set(&rest), &x - &y);
            prop_assert_eq!(set(&a.common(&b)), &x & &y);
            let mut left = a.clone();
            match left.take(count) {
                Some(taken) => {
                    prop_assert_eq!(set(&taken), x.iter().copied().take(count as usize).collect());
                    prop_assert_eq!(set(&left), x.iter().copied().skip(count as usize).collect());
                }
                None => prop_assert!(count > a.count() && left == a),
            }
            for ranges in [sum, rest, left] {
                prop_assert!(ranges.ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            }
        }
    }
}
