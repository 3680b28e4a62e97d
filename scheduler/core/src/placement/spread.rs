//! The default placement: everything that fits, evenly spread.

use marmoset_proto::resources::Resources;

use super::{Candidate, Demand, Grant, Placement};

/// Serves jobs in order; what does not fill all agents is divided evenly among them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread;

impl Placement for Spread {
    fn place(&mut self, candidates: &[Candidate<'_>], demands: &[Demand<'_>]) -> Vec<Grant> {
        let mut grants = Vec::new();
        let mut left =
            candidates.iter().map(|candidate| candidate.resources.clone()).collect::<Vec<_>>();
        for (demand, wanted) in demands.iter().enumerate() {
            let shares = divide(wanted.wanted, left.iter().map(|free| free.count_of(wanted.need)));
            for (candidate, slots) in shares.into_iter().enumerate().filter(|share| share.1 > 0) {
                grants.push(Grant { candidate, demand, slots });
                if demand + 1 < demands.len() {
                    let _: Option<Resources> = left[candidate].take(&wanted.need.times(slots));
                }
            }
        }
        grants
    }
}

/// Divides a number evenly among rooms of different sizes.
fn divide(mut wanted: u64, rooms: impl Iterator<Item = u64>) -> Vec<u64> {
    let rooms = rooms.collect::<Vec<_>>();
    let mut order = (0..rooms.len()).collect::<Vec<_>>();
    // The smallest first: what it cannot take is left to the larger ones.
    order.sort_by_key(|position| rooms[*position]);
    let mut shares = vec![0; rooms.len()];
    for (served, position) in order.into_iter().enumerate() {
        let others = (rooms.len() - served) as u64;
        let share = wanted.div_ceil(others).min(rooms[position]);
        shares[position] = share;
        wanted -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_evenly() {
        assert_eq!(divide(10, [100, 2, 100].into_iter()), [4, 2, 4]);
        assert_eq!(divide(1000, [3, 2, 1].into_iter()), [3, 2, 1]);
        assert_eq!(divide(1, [3, 3].into_iter()), [1, 0]);
        assert_eq!(divide(0, [3, 3].into_iter()), [0, 0]);
        assert!(divide(7, std::iter::empty()).is_empty());
    }
}
