//! The `marmoset-executor` binary.
fn main() {}
