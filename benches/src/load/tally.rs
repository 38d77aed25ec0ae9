//! What was counted while the window was open.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

/// In nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// One thread's counts, or several threads' together.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Requests that were answered, bytes or events that arrived: whatever the work's unit is made of.
    pub(crate) things: u64,
    /// Updates that were refused because the object had changed. Each client has objects of its own: there are none.
    pub(crate) conflicts: u64,
    /// In nanoseconds.
    latencies: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, CreationError> {
        Ok(Self { things: 0, conflicts: 0, latencies: Histogram::new_with_bounds(1, LONGEST, DIGITS)? })
    }

    pub(crate) fn latency(&mut self, latency: Duration) {
        self.latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LONGEST));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.things += other.things;
        self.conflicts += other.conflicts;
        self.latencies += &other.latencies;
    }

    /// The latency that this share of all did not exceed, in milliseconds; `None` if there are none.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        (!self.latencies.is_empty()).then(|| self.latencies.value_at_quantile(share) as f64 / 1e6)
    }
}
