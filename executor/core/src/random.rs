//! Randomness from a seed, so that a seed replays a run.

use std::time::Duration;

use crate::ids::UpdateId;

/// An xoshiro256++ generator: quick, and long enough in its state that two
/// executors seeded by their operating systems never give the same uuid.
#[derive(Debug, Clone)]
pub(crate) struct Random([u64; 4]);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        // A state of nothing but zeros would stay so.
        state[0] |= 1;
        let mut random = Self(state);
        for _ in 0..16 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A version 4 uuid: an agent refuses any other.
    pub(crate) fn update_id(&mut self) -> UpdateId {
        let bytes = u128::from(self.next()) << 64 | u128::from(self.next());
        UpdateId(uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid())
    }

    /// A duration between nothing and `limit`.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % micros.saturating_add(1).max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn uuids_are_version_4_and_differ() {
        let mut random = Random::new([0; 32]);
        let ids = (0..1000).map(|_| random.update_id()).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.0.get_version_num() == 4));
    }

    #[test]
    fn a_seed_replays() {
        let (mut a, mut b, mut c) =
            (Random::new([7; 32]), Random::new([7; 32]), Random::new([8; 32]));
        let first = a.update_id();
        assert_eq!(first, b.update_id());
        assert_ne!(first, c.update_id());
        assert!(a.up_to(Duration::from_millis(5)) <= Duration::from_millis(5));
        assert_eq!(a.up_to(Duration::ZERO), Duration::ZERO);
    }
}
