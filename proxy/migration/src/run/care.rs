//! Looks after both shards while a route is copied: a target that fills up is spared, and where a shard suffers for long the
//! migration is cancelled, if the operator wants that.

use std::time::Duration;

use etcd_prism_control::call;
use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::{Event, Goal};
use etcd_prism_proto::etcdserverpb::{RangeRequest, StatusRequest, StatusResponse};
use etcd_prism_upstream::rpc;
use tokio::time::Instant;

use super::{PATIENCE, Run, now};
use crate::ship::Slow;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long a shard may be worse than critical.
const SUFFERS: Duration = Duration::from_secs(10);
/// Percent of the target's quota at which the copy stops. The log goes on: it is what clients write.
const FULL: i64 = 90;

/// What was seen of the shards.
#[derive(Debug, Default)]
pub(super) struct Care {
    looked: Option<Instant>,
    /// Since when a shard is worse than critical.
    suffers: Option<Instant>,
}

/// A shard, at one look.
struct Pulse {
    /// How long it took for a linearizable read of one key; all of the patience if it did not answer.
    took: Duration,
    /// Percent of its quota; `None`: it does not tell.
    full: Option<i64>,
}

impl Run {
    /// To be called from time to time while something is copied.
    pub(super) async fn care(&mut self) {
        if self.care.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return;
        }
        self.care.looked = Some(Instant::now());
        let (source, target) = (self.setup.source, self.setup.target);
        let (ours, theirs) = tokio::join!(self.pulse(source), self.pulse(target));
        let shard = self.setup.shards.name(target);
        let full = theirs.full.filter(|percent| *percent >= FULL);
        if let (Some(active), true) = (&self.ship, theirs.full.is_some()) {
            active.shipper().hold(full.map(|percent| Slow::Full { shard: shard.clone(), percent }));
        }
        let bound = Duration::from_millis(self.throttle().critical_latency);
        let worst = if ours.took >= theirs.took { (source, ours.took) } else { (target, theirs.took) };
        if bound.is_zero() || worst.1 <= bound {
            self.care.suffers = None;
            return;
        }
        let since = *self.care.suffers.get_or_insert_with(Instant::now);
        if since.elapsed() >= SUFFERS {
            let text = format!(
                "shard {} took more than {} ms for a read for {} s (--critical-latency)",
                self.setup.shards.name(worst.0),
                bound.as_millis(),
                SUFFERS.as_secs()
            );
            tracing::warn!(route = self.setup.route.name, text, "migration: cancelled");
            let waiting = std::mem::take(&mut self.pending);
            self.refuse(waiting, &text);
            self.driver.note(Event::GivenUp { at: now(), why: text });
            self.driver.want(Goal::Cancel { abandon: false });
        }
    }

    async fn pulse(&self, shard: ShardUid) -> Pulse {
        let Ok(pool) = self.pool(shard) else { return Pulse { took: PATIENCE, full: None } };
        let key = keys::fence(&self.setup.route.name);
        let range = RangeRequest { key: key.into(), count_only: true, ..RangeRequest::default() };
        let sent = Instant::now();
        let read = call::read(&pool, vec![range], PATIENCE).await;
        let took = if read.is_ok() { sent.elapsed() } else { PATIENCE };
        let status = rpc::read::<_, StatusResponse>(&pool, rpc::STATUS, &StatusRequest {});
        let full = match tokio::time::timeout(PATIENCE, status).await {
            Ok(Ok(status)) if status.db_size_quota > 0 => {
                Some(status.db_size_in_use.saturating_mul(100) / status.db_size_quota)
            }
            _ => None,
        };
        Pulse { took, full }
    }
}
