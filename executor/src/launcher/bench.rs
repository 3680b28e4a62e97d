//! Entrances for benchmarks to the protocol. No part of the interface.

use super::{
    Spawn,
    wire::{Inbox, Outbox, Request},
};

/// A frame with these requests.
///
/// # Panics
/// When one is larger than a frame.
pub fn encode_spawn(spawns: Vec<Spawn>) -> Vec<u8> {
    let mut outbox = Outbox::default();
    for spawn in spawns {
        outbox.push(&Request::Spawn(spawn)).expect("it fits a frame");
    }
    outbox.unsent().to_vec()
}

/// Reads it again: how many there are.
///
/// # Panics
/// When that is no frame.
pub fn decode_spawn(frames: &[u8]) -> usize {
    let (mut inbox, mut requests) = (Inbox::default(), Vec::<Request>::new());
    inbox.push(frames);
    while inbox.next(&mut requests).expect("frames") {}
    requests.len()
}
