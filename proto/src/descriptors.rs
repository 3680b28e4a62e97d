//! Owns the schema at run time: what JSON and the check for required fields read.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// Descriptors of every message of this crate, without comments.
pub static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_ref())
        .expect("the build script wrote a valid descriptor set")
});
