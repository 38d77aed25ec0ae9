//! Who has seen which event.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::client::request::PREFIX;

/// One place per writer: the event that it waits for.
#[derive(Debug)]
pub(crate) struct Board {
    start: Instant,
    readers: usize,
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// When the write was sent, in nanoseconds after `start`.
    sent: AtomicU64,
    /// How many readers have not seen it.
    missing: AtomicUsize,
    seen: Notify,
}

impl Board {
    pub(crate) fn new(writers: usize, readers: usize) -> Self {
        let places = (0..writers).map(|_| Place::default()).collect();
        Self { start: Instant::now(), readers, places }
    }

    /// The key that writer number `writer` writes.
    pub(crate) fn key(writer: usize) -> Bytes {
        Bytes::from(format!("{PREFIX}writer-{writer:04}"))
    }

    /// Writer number `writer` is about to write.
    pub(crate) fn sent(&self, writer: usize) {
        let place = &self.places[writer];
        place.missing.store(self.readers, Ordering::Relaxed);
        place.sent.store(self.now(), Ordering::Release);
    }

    /// Resolves when every reader has seen the last write of writer number `writer`.
    pub(crate) async fn seen(&self, writer: usize) {
        self.places[writer].seen.notified().await;
    }

    /// A reader has got an event for `key`: how long after it was sent. `None` for a key that no writer writes.
    pub(crate) fn arrived(&self, key: &[u8]) -> Option<Duration> {
        let digits = key.strip_prefix(PREFIX.as_bytes())?.strip_prefix(b"writer-")?;
        let place = self.places.get(std::str::from_utf8(digits).ok()?.parse::<usize>().ok()?)?;
        let latency = self.now().saturating_sub(place.sent.load(Ordering::Acquire));
        if place.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            place.seen.notify_one();
        }
        Some(Duration::from_nanos(latency))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_write_is_seen_when_every_reader_has_it() {
        let board = Board::new(2, 3);
        for round in 0..2 {
            board.sent(1);
            for reader in 0..3 {
                assert!(board.seen(1).now_or_never().is_none(), "round {round}, reader {reader}");
                assert!(board.arrived(&Board::key(1)).is_some());
            }
            assert!(board.seen(1).now_or_never().is_some(), "round {round}");
            assert!(board.seen(0).now_or_never().is_none());
        }
    }

    #[test]
    fn other_keys_are_nobodys() {
        let board = Board::new(2, 1);
        for key in ["", "/registry/pods/bench/other", "/registry/pods/bench/writer-0002"] {
            assert_eq!(board.arrived(key.as_bytes()), None, "{key}");
        }
    }
}
