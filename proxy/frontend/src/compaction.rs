//! Compaction of every shard along with home.
//!
//! A client compacts at a revision of the home shard's line. Every other shard has a line of its own, so each is compacted
//! at its newest revision that was sampled before home reached the revision asked for: nothing younger is lost than on
//! one etcd. Samples are kept in memory.

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

/// Time between samples: at most this much more than on one etcd is kept.
const INTERVAL: Duration = Duration::from_secs(10);
/// Samples kept: two hours' worth, many times the interval at which API servers compact.
const KEPT: usize = 720;
/// Time between attempts to compact a shard that could not be.
const RETRY: Duration = Duration::from_secs(5);

/// The revisions of all shards at one time; home's was read last. So whatever home reached later than `home` it reached
/// after the others had reached theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    home: i64,
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
}

/// Samples of all shards' revisions, and the compactions that are due.
#[derive(Debug)]
pub struct Samples {
    home: ShardId,
    state: Mutex<State>,
    wake: Notify,
}

impl Samples {
    pub fn new(shards: usize, home: ShardId) -> Self {
        let state = State {
            due: vec![None; shards],
            last: vec![None; shards],
            skipped: vec![0; shards],
            ..State::default()
        };
        Self { home, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Home was compacted at `revision`: every other shard is to follow.
    pub fn schedule(&self, revision: i64, physical: bool) {
        let mut state = self.state.lock();
        state.last[usize::from(self.home.0)] = Some(Instant::now());
        for shard in 0..state.due.len() {
            if shard == usize::from(self.home.0) {
                continue;
            }
            let sampled =
                state.samples.iter().rev().filter(|s| s.home < revision).find_map(|s| s.others[shard]);
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
        // A restored home may go back; samples above it mean nothing any more.
        while state.samples.back().is_some_and(|last| last.home > sample.home) {
            state.samples.pop_back();
        }
        // While home stands still the newest sample is the closest one before home's next revision.
        if state.samples.back().is_some_and(|last| last.home == sample.home) {
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
                _ = ticks.tick() => take_sample(&worker).await,
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
    let home = worker.gateway.keyspace.home();
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
    match revision(worker.home()).await {
        Ok(home) => worker.gateway.samples.add(Sample { home, others }),
        Err(error) => tracing::debug!(%error, "sample of home"),
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

    fn due(samples: &Samples) -> Vec<Option<i64>> {
        samples.state.lock().due.iter().map(|d| d.map(|d| d.revision)).collect()
    }

    #[test]
    fn newest_sample_that_is_not_later() {
        let samples = Samples::new(3, ShardId(2));
        let add = |home, a, b| samples.add(Sample { home, others: vec![a, b, None] });
        add(100, Some(10), Some(1000));
        add(200, Some(20), None);
        add(300, Some(30), Some(3000));
        samples.schedule(50, false);
        assert_eq!(due(&samples), [None, None, None]);
        assert_eq!(samples.report()[0].1, 1);
        samples.schedule(250, false);
        // The second shard did not answer at 200: its older sample serves.
        assert_eq!(due(&samples), [Some(20), Some(1000), None]);
        samples.schedule(150, false);
        assert_eq!(due(&samples), [Some(20), Some(1000), None]);
    }

    #[test]
    fn home_that_stands_still_or_goes_back() {
        let samples = Samples::new(2, ShardId(1));
        let add = |home, a| samples.add(Sample { home, others: vec![Some(a), None] });
        add(100, 10);
        add(100, 11);
        // When home reached 100 is not known: it may have been long before the shard reached 10.
        samples.schedule(100, false);
        assert_eq!(due(&samples), [None, None]);
        samples.schedule(101, false);
        assert_eq!(due(&samples), [Some(11), None]);
        add(50, 12);
        samples.schedule(60, false);
        assert_eq!(due(&samples), [Some(12), None]);
    }
}
