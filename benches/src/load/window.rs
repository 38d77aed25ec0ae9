//! When to count.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Goes from warm-up to open to closed. Only what completes while it is open counts.
#[derive(Debug, Default)]
pub(crate) struct Window {
    open: AtomicBool,
    closed: CancellationToken,
}

impl Window {
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.closed.cancel();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Is it over?
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Resolves when it is over.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}
