//! The time, on the clock for intervals and on the one for people.
//!
//! Cores get it as an argument; only the edges read a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For deadlines.
    pub(crate) instant: Instant,
    /// Seconds since 1970, for time stamps.
    pub(crate) epoch: f64,
}

/// Reads the clocks; the one for intervals is tokio's, which tests can pause.
pub(crate) fn now() -> Now {
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: tokio::time::Instant::now().into_std(), epoch: epoch.as_secs_f64() }
}

/// Waits for an instant; for ever if there is none.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
