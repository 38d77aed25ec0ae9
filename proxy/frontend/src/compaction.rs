//! Compaction of every shard along with home.
//!
//! A client compacts at a revision of the home shard's line. Every other shard has a line of its own, so each is compacted
//! at its newest revision that was sampled before home reached the revision asked for: nothing younger is lost than on
//! one etcd. Samples are kept in memory, and a few of them on home.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{CompactionRequest, CompactionResponse, RangeRequest, RangeResponse};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{UpstreamError, rpc};
use etcd_prism_wire::keys::CLIENT_END;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::COMPACTED;
use crate::gateway::Worker;

mod stored;

pub use stored::COMPACT_REV_KEY;

/// Time between samples: at most this much more than on one etcd is kept.
const INTERVAL: Duration = Duration::from_secs(10);
/// Samples kept: two hours' worth, many times the interval at which API servers compact.
const KEPT: usize = 720;
/// Time between attempts to compact a shard that could not be.
const RETRY: Duration = Duration::from_secs(5);

/// The revisions of all shards at one time; home's was read last. So whatever home reached later than `revision` it
/// reached after the others had reached theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    /// The shard that was home then.
    home: ShardId,
    revision: i64,
    /// By shard; `None` for home itself and for a shard that did not answer.
    others: Vec<Option<i64>>,
}

/// A compaction that a shard still owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    revision: i64,
    physical: bool,
}

#[derive(Debug, Default)]
struct State {
    samples: VecDeque<Sample>,
    due: Vec<Option<Due>>,
    /// When each shard was last compacted through this proxy.
    last: Vec<Option<Instant>>,
    /// Compactions for which no sample was old enough, by shard.
    skipped: Vec<u64>,
    /// The shard whose stored samples were read.
    loaded: Option<ShardId>,
}

/// Samples of all shards' revisions, and the compactions that are due.
#[derive(Debug)]
pub struct Samples {
    state: Mutex<State>,
    wake: Notify,
    announced: Notify,
}

impl Samples {
    pub fn new(shards: usize) -> Self {
        let state = State {
            due: vec![None; shards],
            last: vec![None; shards],
            skipped: vec![0; shards],
            ..State::default()
        };
        Self { state: Mutex::new(state), wake: Notify::new(), announced: Notify::new() }
    }

    /// A client has written `compact_rev_key`: it will compact at about the present revision, perhaps through another
    /// proxy.
    pub fn announce(&self) {
        self.announced.notify_one();
    }

    fn newest(&self) -> Option<Sample> {
        self.state.lock().samples.back().cloned()
    }

    /// Takes what was stored on `home` before this proxy's own first sample.
    fn load(&self, home: ShardId, stored: Vec<Sample>) {
        let mut state = self.state.lock();
        state.loaded = Some(home);
        state.samples.retain(|s| s.home == home);
        let first = state.samples.front().map_or(i64::MAX, |s| s.revision);
        for sample in stored.into_iter().rev().filter(|s| s.revision < first) {
            state.samples.push_front(sample);
        }
    }

    /// `home` was compacted at `revision`: every other shard is to follow.
    pub fn schedule(&self, home: ShardId, revision: i64, physical: bool) {
        let mut state = self.state.lock();
        state.last[usize::from(home.0)] = Some(Instant::now());
        for shard in 0..state.due.len() {
            if shard == usize::from(home.0) {
                continue;
            }
            let earlier = state.samples.iter().rev().filter(|s| s.home == home && s.revision < revision);
            let sampled = earlier.filter_map(|s| s.others[shard]).next();
            match sampled {
                Some(revision) if state.due[shard].is_none_or(|due| due.revision < revision) => {
                    state.due[shard] = Some(Due { revision, physical });
                }
                Some(_) => {}
                None => state.skipped[shard] += 1,
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// For status and metrics, by shard: time since the last compaction through this proxy, and how often one was skipped
    /// because no sample was old enough.
    pub fn report(&self) -> Vec<(Option<Duration>, u64)> {
        let state = self.state.lock();
        state.last.iter().map(|at| at.map(|at| at.elapsed())).zip(state.skipped.iter().copied()).collect()
    }

    fn add(&self, sample: Sample) {
        let mut state = self.state.lock();
        // Another shard's revisions say nothing of this one's.
        if state.samples.back().is_some_and(|last| last.home != sample.home) {
            state.samples.clear();
        }
        // A restored home may go back; samples above it mean nothing any more. And while home stands still the newest
        // sample is the closest one before its next revision.
        while state.samples.back().is_some_and(|last| last.revision >= sample.revision) {
            state.samples.pop_back();
        }
        state.samples.push_back(sample);
        if state.samples.len() > KEPT {
            state.samples.pop_front();
        }
    }
}

/// Samples and compacts until cancelled.
pub async fn run(worker: Arc<Worker>, cancel: CancellationToken) {
    let samples = &worker.gateway.samples;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let owed = samples.state.lock().due.iter().any(Option::is_some);
        let retry = if owed { RETRY } else { Duration::MAX };
        let work = async {
            tokio::select! {
                _ = ticks.tick() => {
                    take_sample(&worker).await;
                    load(&worker).await;
                }
                () = samples.announced.notified() => store(&worker).await,
                () = samples.wake.notified() => compact_due(&worker).await,
                () = tokio::time::sleep(retry) => compact_due(&worker).await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = work => {}
        }
    }
}

async fn take_sample(worker: &Worker) {
    // Where home should be by the configuration is no ground for compacting anything.
    let Some(home) = ruling(worker) else { return };
    let reads = worker.pools().iter().map(|pool| async move {
        if pool.shard().id == home {
            return None;
        }
        revision(pool)
            .await
            .map_err(|error| tracing::debug!(shard = %pool.shard().name, %error, "sample"))
            .ok()
    });
    let others = futures_util::future::join_all(reads).await;
    match revision(worker.pool(home)).await {
        Ok(revision) => worker.gateway.samples.add(Sample { home, revision, others }),
        Err(error) => tracing::debug!(%error, "sample of home"),
    }
}

/// The shard that serves the default route, once that is known.
fn ruling(worker: &Worker) -> Option<ShardId> {
    let gateway = &worker.gateway;
    Some(gateway.ownership.route(gateway.keyspace.default_route()).permit()?.shard)
}

/// Reads what was stored on home, once.
async fn load(worker: &Worker) {
    let samples = &worker.gateway.samples;
    let Some(home) = ruling(worker) else { return };
    // Whose revisions they are is known when every shard was identified.
    let identified =
        |s: &Arc<etcd_prism_upstream::ShardState>| worker.gateway.ownership.shard_uid(s.id).is_some();
    if samples.state.lock().loaded == Some(home) || !worker.gateway.shards.iter().all(identified) {
        return;
    }
    match stored::load(worker, home).await {
        Ok(stored) => samples.load(home, stored),
        Err(error) => tracing::debug!(%error, "stored samples"),
    }
}

async fn store(worker: &Worker) {
    let Some(sample) = worker.gateway.samples.newest() else { return };
    if let Err(error) = stored::store(worker, &sample).await {
        tracing::debug!(%error, "a sample was not stored");
    }
}

/// The shard's revision, read linearizably.
async fn revision(pool: &etcd_prism_upstream::ShardPool) -> Result<i64, UpstreamError> {
    let request = RangeRequest { key: CLIENT_END.into(), count_only: true, ..RangeRequest::default() };
    let reply: RangeResponse = rpc::read(pool, rpc::RANGE, &request).await?;
    Ok(reply.header.map_or(0, |h| h.revision))
}

async fn compact_due(worker: &Worker) {
    let samples = &worker.gateway.samples;
    let due = samples.state.lock().due.clone();
    let work = due.into_iter().enumerate().filter_map(|(shard, due)| due.map(|due| (shard, due)));
    let runs = work.map(|(shard, due)| async move {
        let pool = worker.pool(ShardId(shard as u16));
        let request = CompactionRequest { revision: due.revision, physical: due.physical };
        let reply: Result<CompactionResponse, _> = rpc::write(pool, rpc::COMPACT, &request).await;
        let error = match reply {
            Ok(_) => None,
            // Somebody compacted further already.
            Err(UpstreamError::Status(status)) if status.message == COMPACTED => None,
            Err(error) => Some(error),
        };
        match error {
            None => {
                let mut state = samples.state.lock();
                state.last[shard] = Some(Instant::now());
                if state.due[shard] == Some(due) {
                    state.due[shard] = None;
                }
                tracing::debug!(shard = %pool.shard().name, revision = due.revision, "compacted");
            }
            Some(error) => {
                tracing::info!(shard = %pool.shard().name, %error, "compaction is still due");
            }
        }
    });
    futures_util::future::join_all(runs).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: ShardId = ShardId(2);

    fn sample(revision: i64, others: [Option<i64>; 2]) -> Sample {
        Sample { home: HOME, revision, others: vec![others[0], others[1], None] }
    }

    fn due(samples: &Samples) -> Vec<Option<i64>> {
        samples.state.lock().due.iter().map(|d| d.map(|d| d.revision)).collect()
    }

    #[test]
    fn newest_sample_that_is_not_later() {
        let samples = Samples::new(3);
        samples.add(sample(100, [Some(10), Some(1000)]));
        samples.add(sample(200, [Some(20), None]));
        samples.add(sample(300, [Some(30), Some(3000)]));
        samples.schedule(HOME, 50, false);
        assert_eq!(due(&samples), [None, None, None]);
        assert_eq!(samples.report()[0].1, 1);
        samples.schedule(HOME, 250, false);
        // The second shard did not answer at 200: its older sample serves.
        assert_eq!(due(&samples), [Some(20), Some(1000), None]);
        samples.schedule(HOME, 150, false);
        assert_eq!(due(&samples), [Some(20), Some(1000), None]);
    }

    #[test]
    fn stored_samples_lie_before_our_own() {
        let samples = Samples::new(3);
        samples.add(sample(100, [Some(50), None]));
        let stored = [(80, 40), (90, 45), (100, 49), (120, 60)];
        samples.load(HOME, stored.map(|(revision, other)| sample(revision, [Some(other), None])).into());
        samples.schedule(HOME, 91, false);
        assert_eq!(due(&samples), [Some(45), None, None]);
        samples.schedule(HOME, 130, false);
        assert_eq!(due(&samples), [Some(50), None, None]);
    }

    #[test]
    fn home_that_stands_still_or_goes_back() {
        let samples = Samples::new(3);
        let add = |revision, a| samples.add(sample(revision, [Some(a), None]));
        add(100, 10);
        add(100, 11);
        // When home reached 100 is not known: it may have been long before the shard reached 10.
        samples.schedule(HOME, 100, false);
        assert_eq!(due(&samples), [None, None, None]);
        samples.schedule(HOME, 101, false);
        assert_eq!(due(&samples), [Some(11), None, None]);
        add(50, 12);
        samples.schedule(HOME, 60, false);
        assert_eq!(due(&samples), [Some(12), None, None]);
    }

    #[test]
    fn a_sample_is_of_its_home_only() {
        let samples = Samples::new(3);
        samples.add(sample(50, [Some(10), Some(9_000)]));
        // Home is the second shard now, whose revisions are far higher: nothing sampled before says what was then.
        let moved = ShardId(1);
        samples.schedule(moved, 9_990, false);
        assert_eq!(due(&samples), [None, None, None]);
        samples.add(Sample { home: moved, revision: 9_995, others: vec![Some(11), None, Some(60)] });
        samples.schedule(HOME, 60, false);
        assert_eq!(due(&samples), [None, None, None]);
        samples.schedule(moved, 10_000, false);
        assert_eq!(due(&samples), [Some(11), None, Some(60)]);
    }
}
