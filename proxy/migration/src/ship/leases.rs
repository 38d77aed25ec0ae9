//! The leases of what is shipped: there before the keys that need them, and alive as long as on the owner.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{ShardPool, UpstreamError};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::io::Shard;

/// Brings leases to shards.
pub trait Leases: Send + Sync {
    /// Makes leases that are alive elsewhere exist on a shard, with the ids and the TTL that they were granted with. Whether
    /// all of them are there now: the others have ended.
    fn bring<'a>(&'a self, shard: ShardId, leases: &'a [i64]) -> BoxFuture<'a, Result<bool, UpstreamError>>;
}

/// Seconds of a lease of the standby's own, for keys whose lease has ended on the owner: the delete that goes with that may
/// lie above what is shipped last.
const SHORT: i64 = 5;

/// The leases of one standby.
pub(crate) struct Bringer {
    leases: Arc<dyn Leases>,
    /// By the owner's lease that has ended: the short one in its place.
    short: HashMap<i64, i64>,
    /// How often in a row all were said to be there and were not.
    vain: u32,
}

impl std::fmt::Debug for Bringer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bringer").field("short", &self.short).finish_non_exhaustive()
    }
}

impl Bringer {
    pub(crate) fn new(leases: Arc<dyn Leases>) -> Self {
        Self { leases, short: HashMap::new(), vain: 0 }
    }

    /// The lease that a key is put under on the standby.
    pub(crate) fn on_standby(&self, lease: i64) -> i64 {
        self.short.get(&lease).copied().unwrap_or(lease)
    }

    pub(crate) fn written(&mut self) {
        self.vain = 0;
    }

    /// The standby said that it lacks one of these leases of the owner's. Gives an error where that is to be tried again
    /// later.
    pub(crate) async fn mend(
        &mut self,
        owner: &ShardPool,
        standby: &ShardPool,
        wanted: &HashSet<i64>,
    ) -> Result<(), UpstreamError> {
        let mut asked: Vec<i64> =
            wanted.iter().copied().filter(|lease| !self.short.contains_key(lease)).collect();
        asked.sort_unstable();
        let all = asked.is_empty() || self.leases.bring(standby.shard().id, &asked).await?;
        self.vain += 1;
        if all && !asked.is_empty() && self.vain < 3 {
            return Ok(());
        }
        for lease in wanted {
            if Shard(standby).time_to_live(self.on_standby(*lease)).await?.is_some() {
                continue;
            }
            // Only the owner knows that it has ended. A lease that it still has must be brought.
            if Shard(owner).time_to_live(*lease).await?.is_some() {
                let reason = format!("lease {lease:x} could not be brought there yet");
                return Err(Shard(standby).bad(&reason));
            }
            let short = Shard(standby).grant(SHORT).await?;
            tracing::debug!(
                lease = format_args!("{lease:x}"),
                short = format_args!("{short:x}"),
                "lease has ended"
            );
            self.short.insert(*lease, short);
        }
        Ok(())
    }
}

/// How often the lists of leases are read.
const LOOK: Duration = Duration::from_millis(1000);
/// Renewals under way at once.
const AT_ONCE: usize = 16;

/// Renews, on the standby, the leases that the owner has too, for as long as this future is polled: what is alive on the
/// owner does not end on the standby first. While the owner does not answer, what it had counts as alive.
pub async fn keep_standby_leases(owner: Arc<ShardPool>, standby: Arc<ShardPool>) {
    let mut alive: HashSet<i64> = HashSet::new();
    let mut due: HashMap<i64, Instant> = HashMap::new();
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match Shard(&owner).leases().await {
            Ok(found) => alive = found.into_iter().collect(),
            Err(error) => tracing::debug!(%error, "the owner's leases cannot be listed"),
        }
        let there = match Shard(&standby).leases().await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the standby's leases cannot be listed");
                continue;
            }
        };
        let both: HashSet<i64> = there.into_iter().filter(|lease| alive.contains(lease)).collect();
        due.retain(|lease, _| both.contains(lease));
        let now = Instant::now();
        let now_due = both.into_iter().filter(|lease| due.get(lease).is_none_or(|at| *at <= now));
        let now_due: Vec<i64> = now_due.collect();
        let standby = &standby;
        let renew = |lease| async move { (lease, Shard(standby).keep_alive(lease).await) };
        let mut renewed = stream::iter(now_due).map(renew).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some((lease, reply)) = renewed.next().await {
            match reply {
                // Thrice in its time.
                Ok(ttl) => {
                    due.insert(
                        lease,
                        now + Duration::from_millis(333) * u32::try_from(ttl).unwrap_or(u32::MAX),
                    );
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::debug!(%error, "leases of the standby could not be renewed");
        }
    }
}
