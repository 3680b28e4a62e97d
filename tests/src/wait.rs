//! Waiting for a fact instead of sleeping for it.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longest that a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `fact` until it yields a value.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub fn until<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
