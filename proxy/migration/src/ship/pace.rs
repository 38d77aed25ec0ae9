//! How fast the copy may go.

use std::time::Duration;

use etcd_prism_ownership::migration::Throttle;
use tokio::time::Instant;

use super::status::Slow;

const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The longest time, in seconds, that one page can cost.
const MAX_DEBT: f64 = 3600.0;

/// When the next page may be copied.
#[derive(Debug)]
pub(crate) struct Pace {
    throttle: Throttle,
    next: Instant,
    is_rated: bool,
    /// Shards that are slow, with the pause between two pages.
    slow: Vec<(Slow, Duration)>,
    /// Why no page is copied at all.
    held: Option<Slow>,
}

impl Pace {
    pub(crate) fn new(throttle: Throttle) -> Self {
        Self { throttle, next: Instant::now(), is_rated: false, slow: Vec::new(), held: None }
    }

    pub(crate) fn change(&mut self, throttle: Throttle) {
        if throttle != self.throttle {
            *self = Self { held: self.held.take(), ..Self::new(throttle) };
        }
    }

    /// Nothing is copied until this is taken back.
    pub(crate) fn hold(&mut self, why: Option<Slow>) {
        self.held = why;
    }

    /// Something was done.
    pub(crate) fn spent(&mut self, keys: u64, bytes: u64) {
        let rates = [(keys, self.throttle.keys_per_second), (bytes, self.throttle.bytes_per_second)];
        let takes =
            rates.iter().filter(|(_, rate)| *rate > 0).map(|(amount, rate)| *amount as f64 / *rate as f64);
        let takes = takes.fold(0.0, f64::max).min(MAX_DEBT);
        self.is_rated = takes > 0.0;
        let now = Instant::now();
        let pause = self.slow.iter().map(|(_, pause)| *pause).max().unwrap_or_default();
        self.next = (self.next.max(now) + Duration::from_secs_f64(takes)).max(now + pause);
    }

    /// A shard took this long for a request.
    pub(crate) fn took(&mut self, shard: &str, time: Duration) {
        let bound = Duration::from_millis(self.throttle.latency);
        let place = self
            .slow
            .iter()
            .position(|(slow, _)| matches!(slow, Slow::Latency { shard: s, .. } if s == shard));
        if !bound.is_zero() && time > bound {
            let pause = place.map_or(Duration::ZERO, |at| self.slow.swap_remove(at).1);
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let slow = Slow::Latency { shard: shard.to_owned(), milliseconds };
            self.slow.push((slow, (pause * 2).clamp(MIN_PAUSE, MAX_PAUSE)));
        } else if let Some(at) = place {
            let (slow, pause) = self.slow.swap_remove(at);
            if pause > MIN_PAUSE {
                self.slow.push((slow, pause / 2));
            }
        }
    }

    /// Not before then.
    pub(crate) fn next(&self) -> Instant {
        match self.held {
            Some(_) => self.next.max(Instant::now() + MAX_PAUSE),
            None => self.next,
        }
    }

    pub(crate) fn slow(&self) -> Option<&Slow> {
        if self.held.is_some() {
            return self.held.as_ref();
        }
        let slowest = self.slow.iter().max_by_key(|(_, pause)| *pause).map(|(slow, _)| slow);
        slowest.or(self.is_rated.then_some(&Slow::Rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(pace: &Pace) -> Duration {
        pace.next().saturating_duration_since(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_kept() {
        let mut pace =
            Pace::new(Throttle { keys_per_second: 100, bytes_per_second: 1000, ..Throttle::default() });
        pace.spent(50, 100);
        assert_eq!(left(&pace), Duration::from_millis(500));
        pace.spent(10, 1000);
        assert_eq!(left(&pace), Duration::from_millis(1500));
        assert_eq!(pace.slow(), Some(&Slow::Rate));
        pace.change(Throttle::default());
        pace.spent(1_000_000, 1_000_000_000);
        assert_eq!((left(&pace), pace.slow()), (Duration::ZERO, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_waits_whatever_the_rates() {
        let mut pace = Pace::new(Throttle::default());
        let full = Slow::Full { shard: "b".to_owned(), percent: 92 };
        pace.hold(Some(full.clone()));
        tokio::time::advance(MAX_PAUSE * 9).await;
        assert_eq!((left(&pace), pace.slow()), (MAX_PAUSE, Some(&full)));
        pace.change(Throttle { keys_per_second: 100, ..Throttle::default() });
        assert_eq!(pace.slow(), Some(&full));
        pace.hold(None);
        assert_eq!((left(&pace), pace.slow()), (Duration::ZERO, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_shard_is_spared() {
        let mut pace = Pace::new(Throttle { latency: 100, ..Throttle::default() });
        for pause in [20, 40, 80] {
            pace.took("one", Duration::from_millis(150));
            pace.took("two", Duration::from_millis(5));
            pace.spent(1, 1);
            assert_eq!(left(&pace), Duration::from_millis(pause));
        }
        assert!(matches!(pace.slow(), Some(Slow::Latency { .. })));
        for _ in 0..4 {
            pace.took("one", Duration::from_millis(50));
        }
        assert_eq!(pace.slow(), None);
    }
}
