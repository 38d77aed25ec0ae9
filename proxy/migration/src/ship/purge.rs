//! The end of a standby.

use bytes::Bytes;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::Throttle;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{RequestOp, TxnRequest};
use etcd_prism_upstream::ShardPool;
use etcd_prism_wire::keys::prefix_end;
use tokio::time::Instant;

use super::intervals::{Intervals, after, range};
use super::io::{Shard, delete, get, mod_revision, op, ranges_of, unmoved};
use super::pace::Pace;
use super::{Refused, ShipError};

/// Keys that are deleted at once.
const PAGE: i64 = 500;
/// The longest reply with their names, in bytes: etcd takes keys of up to its `--max-request-bytes`.
const MAX: usize = 64 << 20;

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    pub keys: u64,
    pub records: u64,
}

/// Deletes everything of a route on a shard, page by page: its progress, its keys, its provenance. Each page is deleted on the
/// condition that the fence has this epoch. Doing it again does no harm; `told` hears how far it is.
///
/// # Errors
/// The fence has another epoch, or the shard did not answer.
pub async fn purge(
    pool: &ShardPool,
    route: &str,
    intervals: &Intervals,
    epoch: i64,
    throttle: &Throttle,
    mut told: impl FnMut(Purged),
) -> Result<Purged, ShipError> {
    let mut purge = Purge {
        shard: Shard(pool),
        fence: keys::fence(route).into(),
        epoch,
        pace: Pace::new(throttle.clone()),
    };
    let mut purged = Purged::default();
    // First: nothing says any more that there is something to go on with.
    purge.delete(keys::progress(route).into(), Bytes::new()).await?;
    for (start, end) in intervals.iter() {
        purge
            .interval(start, end, |keys| {
                purged.keys += keys;
                told(purged);
            })
            .await?;
    }
    let records = keys::provenance(route, b"");
    let end = prefix_end(&records);
    purge
        .interval(&records, &end, |keys| {
            purged.records += keys;
            told(purged);
        })
        .await?;
    Ok(purged)
}

struct Purge<'a> {
    shard: Shard<'a>,
    fence: Bytes,
    epoch: i64,
    pace: Pace,
}

impl Purge<'_> {
    async fn interval(
        &mut self,
        start: &[u8],
        end: &[u8],
        mut told: impl FnMut(u64),
    ) -> Result<(), ShipError> {
        let mut start = start.to_vec();
        loop {
            let mut request = range(&start, end);
            (request.limit, request.keys_only) = (PAGE, true);
            let (_, page) = self.shard.page(&request, MAX).await?;
            let (Some(first), Some(last)) = (page.kvs.first(), page.kvs.last()) else { return Ok(()) };
            let next = after(&last.key);
            let deleted = self.delete(first.key.clone(), next.clone().into()).await?;
            told(deleted);
            if !page.more {
                return Ok(());
            }
            start = next;
            self.pace.spent(deleted, 0);
            tokio::time::sleep_until(self.pace.next()).await;
        }
    }

    async fn delete(&mut self, key: Bytes, range_end: Bytes) -> Result<u64, ShipError> {
        let see: RequestOp = op(Request::RequestRange(get(self.fence.clone())));
        let request = TxnRequest {
            compare: vec![unmoved(self.fence.clone(), self.epoch)],
            success: vec![delete(key, range_end)],
            failure: vec![see],
        };
        let sent = Instant::now();
        let reply = self.shard.txn(&request).await?;
        self.pace.took(&self.shard.name(), sent.elapsed());
        if !reply.succeeded {
            let fence = mod_revision(ranges_of(reply).first());
            return Err(Refused { shard: self.shard.name(), epoch: self.epoch, fence, progress: 0 }.into());
        }
        let deleted = reply.responses.first().and_then(|op| match &op.response {
            Some(Response::ResponseDeleteRange(reply)) => Some(reply.deleted),
            _ => None,
        });
        Ok(deleted.unwrap_or(0).max(0).unsigned_abs())
    }
}
