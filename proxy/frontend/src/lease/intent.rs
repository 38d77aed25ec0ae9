//! The records that say that a lease is about to be granted on a shard.

use std::time::Duration;

use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;

use super::record::{self, Created, Record};
use crate::context::Context;

/// Before another attempt to withdraw a record; by then a request that nobody waits for any more has been dropped.
const LATER: Duration = Duration::from_secs(3);

/// One writer's records of one shard.
pub(super) struct Intent {
    cx: Context,
    id: i64,
    /// Where the lease is to be granted.
    of: ShardUid,
    ours: Record,
    /// Where it was written, or may have been.
    written: Vec<ShardId>,
    /// The last of these did not say whether it was.
    unsure: bool,
    /// Another writer's record was replaced: who may have granted the lease before it went silent.
    inherited: bool,
}

impl Intent {
    pub(super) fn new(cx: &Context, id: i64, of: ShardUid) -> Self {
        let (cx, ours) = (cx.clone(), Record::intended());
        Self { cx, id, of, ours, written: Vec::new(), unsure: false, inherited: false }
    }

    /// Creates the record on one more shard, or puts it in the place of one that was `seen` there.
    pub(super) async fn write(
        &mut self,
        shard: ShardId,
        seen: Option<&Record>,
    ) -> Result<Created, UpstreamError> {
        self.written.push(shard);
        self.inherited |= seen.is_some_and(|seen| !seen.is_copy());
        let pool = self.cx.worker.pool(shard);
        let created = match seen {
            Some(seen) => record::replace(pool, self.id, self.of, seen, &self.ours).await,
            None => record::create(pool, self.id, self.of, &self.ours).await,
        };
        self.unsure = created.is_err();
        created
    }

    /// Takes all back: the lease certainly was not granted. What cannot be done at once is done when the shard answers again.
    /// What stands for another writer's record stays, for nobody knows what became of that one's grant.
    pub(super) async fn withdraw(mut self) {
        if self.inherited {
            return;
        }
        let unsure = if self.unsure { self.written.last().copied() } else { None };
        self.attempt().await;
        if let Some(shard) = unsure.filter(|shard| !self.written.contains(shard)) {
            // The record may still be on its way, and come after this.
            self.written.push(shard);
        }
        if self.written.is_empty() {
            return;
        }
        tokio::spawn(async move {
            let draining = self.cx.gateway().draining.clone();
            while !self.written.is_empty() {
                tokio::select! {
                    () = draining.cancelled() => return,
                    () = tokio::time::sleep(LATER) => self.attempt().await,
                }
            }
        });
    }

    /// Leaves those that could not be told.
    async fn attempt(&mut self) {
        let mut left = Vec::new();
        for &shard in &self.written {
            let pool = self.cx.worker.pool(shard);
            if let Err(error) = record::withdraw(pool, self.id, self.of, &self.ours).await {
                let (shard_name, lease) = (&pool.shard().name, self.id);
                tracing::debug!(shard = %shard_name, lease, %error, "the record of a lease that was not granted stays");
                left.push(shard);
            }
        }
        self.written = left;
    }
}
