//! Simulated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the simulation has run, to a tick.
#[derive(Debug, Clone, Default)]
pub struct Time {
    nanos: Arc<AtomicU64>,
}

impl Time {
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub fn set(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).expect("a short simulation");
        self.nanos.store(nanos, Ordering::Relaxed);
    }
}
