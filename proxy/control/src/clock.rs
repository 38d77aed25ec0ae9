//! The clock of session deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME`: it goes on while the machine is suspended, which tokio's clock does not.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    ahead: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// A clock that is ahead of the real one by what the second value holds, in nanoseconds: what a suspended machine sees
    /// when it wakes up.
    pub fn shifted() -> (Self, Arc<AtomicU64>) {
        let ahead = Arc::new(AtomicU64::new(0));
        (Self { ahead: Some(ahead.clone()) }, ahead)
    }

    /// Nanoseconds since the machine booted.
    #[inline]
    pub fn now(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        let now = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        match &self.ahead {
            None => now,
            Some(ahead) => now.saturating_add(ahead.load(Ordering::SeqCst)),
        }
    }
}
