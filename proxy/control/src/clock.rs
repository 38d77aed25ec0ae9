//! The clock of session deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME`, unless told otherwise: it goes on while the machine is suspended, which tokio's clock does not.
#[derive(Clone, Default)]
pub struct Clock {
    source: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

impl Clock {
    /// A clock that is ahead of the real one by what the second value holds, in nanoseconds: what a suspended machine sees
    /// when it wakes up.
    pub fn shifted() -> (Self, Arc<AtomicU64>) {
        let ahead = Arc::new(AtomicU64::new(0));
        let read = ahead.clone();
        (Self::from_source(move || boottime().saturating_add(read.load(Ordering::SeqCst))), ahead)
    }

    /// A clock that shows what the source says, in nanoseconds. It must not go back.
    pub fn from_source(source: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)) }
    }

    /// Nanoseconds since the machine booted.
    #[inline]
    pub fn now(&self) -> u64 {
        match &self.source {
            None => boottime(),
            Some(source) => source(),
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

#[inline]
fn boottime() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
