//! Ctrl-C and SIGTERM: the first asks to stop, the second leaves at once.
//!
//! ```text
//! listening ──signal──▶ stopping (token cancelled) ──signal──▶ process exits
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering},
};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::{self, Ending};

/// Listens for the two signals until it is dropped.
#[derive(Debug)]
pub(crate) struct Interrupts {
    stop: CancellationToken,
    first: Arc<AtomicI32>,
    listener: JoinHandle<()>,
    handle: signal_hook_tokio::Handle,
}

impl Interrupts {
    /// Starts to listen. `told` is called with the first signal, `leaving` right before the exit.
    ///
    /// # Errors
    /// The system does not let this process handle signals.
    pub(crate) fn listen(
        told: impl Fn() + Send + 'static,
        leaving: impl Fn() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
        let handle = signals.handle();
        let stop = CancellationToken::new();
        let first = Arc::new(AtomicI32::new(0));
        let listener = tokio::spawn({
            let (stop, first) = (stop.clone(), Arc::clone(&first));
            async move {
                while let Some(signal) = signals.next().await {
                    if stop.is_cancelled() {
                        leaving();
                        std::process::exit(exit::of(Ending::Interrupted { signal }).into());
                    }
                    first.store(signal, Ordering::Relaxed);
                    told();
                    stop.cancel();
                }
            }
        });
        Ok(Self { stop, first, listener, handle })
    }

    /// Cancelled by the first signal.
    pub(crate) fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The first signal, if there was one.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.first.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.close();
        self.listener.abort();
    }
}
