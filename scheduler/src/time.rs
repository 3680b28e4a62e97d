//! The clocks, read at the edge only.

use std::{
    future::pending,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use marmoset_scheduler_core::{Now, WallTime};

/// The present moment on both clocks.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        // Of the runtime, so that a test can pause it.
        instant: tokio::time::Instant::now().into_std(),
        wall: WallTime(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)),
    }
}

/// Waits until a moment; for ever when there is none.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => pending().await,
    }
}
