//! The clocks, read for the core, which has none.

use std::time::{Instant, SystemTime};

use marmoset_executor_core::{Now, WallTime};

/// Reads both clocks.
pub(crate) fn now() -> Now {
    Now { instant: Instant::now(), wall: WallTime::from(SystemTime::now()) }
}
