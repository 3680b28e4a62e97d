//! The `marmoset` binary.
fn main() {}
