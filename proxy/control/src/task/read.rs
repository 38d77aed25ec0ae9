//! Reads a shard and tells the engines.

use std::time::Duration;

use etcd_prism_ownership::keys;
use etcd_prism_ownership::route::{Observation, Suspect};
use etcd_prism_ownership::value::{SeenAt, Stored};
use etcd_prism_proto::etcdserverpb::PutRequest;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;

use crate::call;
use crate::ownership::Ownership;
use crate::reading::Reading;
use crate::state::State;

/// Longest wait for the very first answer of a shard.
const FIRST_LOOK: Duration = Duration::from_secs(1);

impl Ownership {
    /// Reads the shard's own keys linearizably, the read begun now, and tells the engines. Returns the revision.
    pub(crate) async fn read(&self, shard: ShardId) -> Result<i64, UpstreamError> {
        let pool = &self.pools[usize::from(shard.0)];
        // What was known before the question: an answer that is older than that is an answer from another time.
        let (known, suspects, first, with_table) = {
            let state = self.state.lock();
            let facts = state.shard(shard);
            let first = facts.live.is_none() && facts.error.is_none();
            (state.known.clone(), suspects(&state, shard), first, state.table().is_some())
        };
        let patience = self.options.patience();
        // The others wait for the first look, so that it must not be long.
        let patience = if first { patience.min(FIRST_LOOK) } else { patience };
        let reading = Reading::of(pool, patience).await;
        self.update(|state| match &reading {
            Ok(reading) => {
                state.met(shard, reading.live, &known);
                state.shard_mut(shard).asked_with_table = with_table;
                note(state, shard, reading);
                self.look_for_session(state, shard, reading);
                // First who it is: what was seen under an older identity is forgotten.
                state.identify(&self.upstream);
                observe(state, shard, reading, &suspects);
            }
            Err(error) => {
                state.shard_mut(shard).read_failed(error);
                // The endpoints may have been found to lead elsewhere.
                state.identify(&self.upstream);
            }
        });
        self.record_fall(shard).await;
        reading.map(|reading| reading.live.revision)
    }

    /// If the shard went back in time, leaves word of it on the others: what one proxy has found must not be forgotten with
    /// it. What fails is tried again with the next read. A shard that is not trusted itself is not written to: it would grow
    /// to where it was, or is not one of ours.
    async fn record_fall(&self, shard: ShardId) {
        let (fall, trusted) = {
            let state = self.state.lock();
            let Some(fall) = state.shard(shard).went_back.filter(|fall| !fall.recorded) else { return };
            let trusted: Vec<bool> =
                state.shards.iter().map(|s| s.identified && s.problem.is_none()).collect();
            (fall, trusted)
        };
        let Ok(value) = (SeenAt { revision: fall.known }).encode() else { return };
        let key = keys::seen(fall.of);
        let others: Vec<_> = self.pools.iter().filter(|pool| pool.shard().id != shard).collect();
        let trusted: Vec<_> = others.iter().filter(|pool| trusted[usize::from(pool.shard().id.0)]).collect();
        let puts = trusted.iter().map(|pool| {
            let put =
                PutRequest { key: key.clone().into(), value: value.clone().into(), ..PutRequest::default() };
            let compares = [(key.clone(), 0)];
            async move { call::put_if(pool, &compares, vec![put], None, self.options.patience()).await }
        });
        let outcomes = futures_util::future::join_all(puts).await;
        let failed = outcomes.into_iter().find_map(Result::err);
        if let Some(error) = &failed {
            tracing::info!(%error, "not every shard knows yet that another one was restored");
        }
        if failed.is_none()
            && trusted.len() == others.len()
            && let Some(noted) = &mut self.state.lock().shard_mut(shard).went_back
            // By now it may have been accepted, and have fallen again.
            && *noted == fall
        {
            noted.recorded = true;
        }
    }
}

impl Ownership {
    /// A session key that was written and is not there any more was removed while nobody watched.
    fn look_for_session(&self, state: &mut State, shard: ShardId, reading: &Reading) {
        let facts = state.shard_mut(shard);
        let is_later = facts.session_written > 0 && reading.live.revision >= facts.session_written;
        if is_later && !facts.sessions.contains_key(&self.id) {
            facts.session.refused(0);
        }
    }
}

/// By route, what is to be confirmed on this shard.
fn suspects(state: &State, shard: ShardId) -> Vec<(usize, Suspect)> {
    let of = |(i, route): (usize, &crate::state::Route)| {
        route.engine.suspects().into_iter().find(|s| s.shard == shard).map(|suspect| (i, suspect))
    };
    state.routes.iter().enumerate().filter_map(of).collect()
}

fn note(state: &mut State, shard: ShardId, reading: &Reading) {
    for (id, revision) in reading.remembered() {
        state.remember(id, revision);
    }
    let facts = state.shard_mut(shard);
    facts.reigns.read(reading.live.revision, &reading.snapshot.reigns);
    facts.was_read();
    facts.identity.clone_from(&reading.identity);
    facts.table.clone_from(&reading.snapshot.table);
    facts.drivers.clone_from(&reading.drivers);
    facts.sessions = reading
        .sessions
        .sessions
        .iter()
        .map(|(proxy, session)| {
            let lease = reading.leases.get(proxy).copied().unwrap_or(0);
            (*proxy, (lease, session.as_ref().map(|s| s.name.clone()).unwrap_or_default()))
        })
        .collect();
}

fn observe(state: &mut State, shard: ShardId, reading: &Reading, suspects: &[(usize, Suspect)]) {
    for i in 0..state.routes.len() {
        let fence = reading.snapshot.fences.get(&state.routes[i].name).cloned();
        let observation = Observation { revision: reading.live.revision, fence };
        match suspects.iter().find(|(route, _)| *route == i) {
            Some((_, suspect)) => state.routes[i].engine.confirm(*suspect, observation),
            None => state.observe(i, shard, observation),
        }
    }
    for (name, fence) in &reading.snapshot.fences {
        if state.routes.iter().all(|route| route.name != *name) {
            let observation = Observation { revision: reading.live.revision, fence: Some(fence.clone()) };
            state.observe_stranger(name, shard, observation);
        }
    }
    metrics::counter!("etcd_prism_fence_observations_total", "source" => "read").increment(1);
}
