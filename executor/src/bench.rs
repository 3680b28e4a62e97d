//! Entrances for benchmarks to what is private. No part of the interface.

pub use crate::{
    launcher::bench::{decode_spawn, encode_spawn},
    runtime::{
        bench::RequestBench,
        docker::bench::{ContainerBench, ContainerRate, WarmRate},
    },
};
