//! Where a migration is.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_prism_ownership::migration::{Counts, Event, Options, Phase, Record, Timings, Want};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::shipping::Shipped;

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_secs(20);

/// A migration, as far as the proxy that was asked knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub route: String,
    /// Shards by name.
    pub source: String,
    pub target: String,
    /// Who owns the route now; `None`: nobody at this moment, or it could not be read.
    pub owner: Option<String>,
    pub phase: Phase,
    pub want: Want,
    pub paused: bool,
    pub options: Options,
    /// The proxy that drives; `None`: nobody does.
    pub driver: Option<String>,
    /// What is being done, if the proxy that was asked drives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it does not get on, or not as fast as it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    pub counts: Counts,
    pub pace: Pace,
    pub timings: Timings,
    /// The state of the route's fence on source and target, as last read; `None`: it could not be read, or there is none.
    pub fences: [Option<String>; 2],
    /// The last switch that was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_abort: Option<String>,
    /// How long requests were held, newest last; milliseconds.
    pub pauses: Vec<u64>,
}

/// How fast it goes. What is not known is `None`, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pace {
    pub keys_per_second: Option<f64>,
    pub bytes_per_second: Option<f64>,
    /// Until everything is copied.
    pub eta_seconds: Option<u64>,
    /// By how many revisions the standby is behind the owner.
    pub lag: Option<i64>,
}

/// What happened to a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub route: String,
    /// The newest last.
    pub events: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// In milliseconds since the epoch.
    pub at: i64,
    pub text: String,
}

impl History {
    pub(crate) fn of(
        route: &str,
        record: &Record,
        name: &dyn Fn(etcd_prism_ownership::ShardUid) -> String,
    ) -> Self {
        let mut events = vec![Entry {
            at: record.timings.created,
            text: format!("created, from {} to {}", name(record.source), name(record.target)),
        }];
        let took = |pause: &Option<u64>| pause.map_or_else(String::new, |ms| format!(" after {ms} ms"));
        events.extend(record.history.iter().map(|event| match event {
            Event::Driver { at, name } => Entry { at: *at, text: format!("driven by {name}") },
            Event::Aborted { at, why, pause } => {
                Entry { at: *at, text: format!("switch given up{}: {why}", took(pause)) }
            }
            Event::Switched { at, to, g, pause } => {
                Entry { at: *at, text: format!("switched to {}{}, at revision {g}", name(*to), took(pause)) }
            }
            Event::GivenUp { at, why } => Entry { at: *at, text: format!("cancelled: {why}") },
            Event::Restarted { at } => Entry {
                at: *at,
                text: "begun anew: the owner had compacted what was not copied yet".to_owned(),
            },
        }));
        let steps = [
            (record.timings.copied, "everything copied"),
            (record.timings.verified, "compared"),
            (record.timings.ended, if record.phase == Phase::Cancelled { "cancelled" } else { "completed" }),
        ];
        events.extend(
            steps.into_iter().filter_map(|(at, text)| Some(Entry { at: at?, text: text.to_owned() })),
        );
        // Of an earlier migration of the route there may be events from before this one was created.
        events.sort_by_key(|entry| entry.at);
        Self { route: route.to_owned(), events }
    }
}

/// The last abort of a record, and its pauses.
pub(crate) fn outcomes(record: &Record) -> (Option<String>, Vec<u64>) {
    let since = record.timings.created;
    let mut last = None;
    let mut pauses = Vec::new();
    for event in &record.history {
        match event {
            Event::Aborted { at, why, pause } if *at >= since => {
                last = Some(why.to_string());
                pauses.extend(pause);
            }
            Event::Switched { at, pause, .. } if *at >= since => {
                last = None;
                pauses.extend(pause);
            }
            _ => {}
        }
    }
    (last, pauses)
}

/// Turns counts into rates.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    seen: VecDeque<(Instant, u64, u64)>,
}

impl Meter {
    /// Takes counts of keys and bytes. Counts that fall begin a new measurement.
    pub(crate) fn take(&mut self, now: Instant, keys: u64, bytes: u64) {
        if self.seen.back().is_some_and(|(_, k, b)| *k > keys || *b > bytes) {
            self.seen.clear();
        }
        self.seen.push_back((now, keys, bytes));
        while self.seen.len() > 2
            && self.seen.get(1).is_some_and(|(at, ..)| now.duration_since(*at) >= WINDOW)
        {
            self.seen.pop_front();
        }
    }

    /// Keys and bytes per second.
    pub(crate) fn rate(&self) -> Option<(f64, f64)> {
        let (first, last) = (self.seen.front()?, self.seen.back()?);
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        (seconds >= 0.2).then(|| ((last.1 - first.1) as f64 / seconds, (last.2 - first.2) as f64 / seconds))
    }

    /// The pace of a shipment whose counts were taken.
    pub(crate) fn pace(&self, shipped: &Shipped) -> Pace {
        let rate = self.rate().filter(|_| !shipped.copied);
        let left = shipped.counts.expected_keys.saturating_sub(shipped.counts.keys);
        let eta = match rate {
            _ if shipped.copied => None,
            Some((keys, _)) if keys > 0.0 && shipped.counts.expected_keys > 0 => Some(left as f64 / keys),
            _ => None,
        };
        let lag = shipped.watermark.zip(shipped.owner_revision);
        Pace {
            keys_per_second: rate.map(|(keys, _)| keys),
            bytes_per_second: rate.map(|(_, bytes)| bytes),
            eta_seconds: eta.map(|seconds| seconds.ceil() as u64),
            lag: lag.map(|(watermark, owner)| owner.saturating_sub(watermark).max(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use etcd_prism_ownership::ShardUid;
    use etcd_prism_ownership::migration::Abort;

    use super::*;

    fn shipped(keys: u64, expected: u64) -> Shipped {
        let counts = Counts { keys, expected_keys: expected, ..Counts::default() };
        Shipped { counts, ..Shipped::default() }
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let meter = Meter::default();
        assert_eq!(meter.pace(&shipped(0, 100)), Pace::default());
        let one_side = Shipped { watermark: Some(5), ..Shipped::default() };
        assert_eq!(meter.pace(&one_side).lag, None);
        let both = Shipped { watermark: Some(5), owner_revision: Some(12), ..Shipped::default() };
        assert_eq!(meter.pace(&both).lag, Some(7));
        // The owner's revision may have been seen before the watermark moved past it.
        let ahead = Shipped { watermark: Some(15), owner_revision: Some(12), ..Shipped::default() };
        assert_eq!(meter.pace(&ahead).lag, Some(0));
    }

    #[test]
    fn the_eta_follows_the_rate_of_late() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        // 1000 keys a second for a minute, then 100.
        (0..60).for_each(|s| meter.take(start + Duration::from_secs(s), s * 1000, s * 4000));
        let pace = meter.pace(&shipped(59_000, 60_000));
        assert_eq!((pace.keys_per_second, pace.bytes_per_second), (Some(1000.0), Some(4000.0)));
        assert_eq!(pace.eta_seconds, Some(1));
        (1..=40).for_each(|s| meter.take(start + Duration::from_secs(59 + s), 59_000 + s * 100, 236_000));
        assert_eq!(meter.pace(&shipped(63_000, 64_000)).eta_seconds, Some(10));
    }

    #[test]
    fn no_eta_without_a_rate_or_an_end() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.take(start, 10, 10);
        meter.take(start + Duration::from_secs(1), 10, 10);
        assert_eq!(meter.pace(&shipped(10, 20)).eta_seconds, None, "it stands still");
        meter.take(start + Duration::from_secs(2), 20, 20);
        assert_eq!(meter.pace(&shipped(20, 0)).eta_seconds, None, "nobody has counted");
        let copied = Shipped { copied: true, ..shipped(20, 20) };
        assert_eq!(meter.pace(&copied), Pace::default());
    }

    #[test]
    fn counts_that_fall_begin_anew() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.take(start, 1000, 1000);
        meter.take(start + Duration::from_secs(1), 5, 5);
        assert_eq!(meter.rate(), None);
    }

    #[test]
    fn history_and_outcomes_are_of_this_migration() {
        let mut record = Record::new(9, ShardUid(1), ShardUid(2), 1, Options::default(), 100);
        record.note(Event::Aborted { at: 50, why: Abort::Asked, pause: Some(3) });
        record.note(Event::Aborted { at: 110, why: Abort::Killed, pause: Some(30) });
        assert_eq!(outcomes(&record), (Some(Abort::Killed.to_string()), vec![30]));
        record.note(Event::Switched { at: 120, to: ShardUid(2), g: 7, pause: Some(12) });
        assert_eq!(outcomes(&record), (None, vec![30, 12]));
        record.timings.copied = Some(105);
        let history = History::of("pods", &record, &|shard| format!("s{}", shard.0));
        let times: Vec<i64> = history.events.iter().map(|entry| entry.at).collect();
        assert_eq!(times, [50, 100, 105, 110, 120]);
        assert_eq!(history.events[4].text, "switched to s2 after 12 ms, at revision 7");
    }
}
