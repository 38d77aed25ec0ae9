//! A test write on a standby that nothing is shipped to.

use bytes::Bytes;
use etcd_prism_ownership::{Stored, keys};
use etcd_prism_proto::etcdserverpb::TxnRequest;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_upstream::ShardPool;

use super::io::{Shard, get, mod_revision, op, put, ranges_of, unmoved};
use super::progress::Progress;
use super::{Refused, ShipError};

/// Writes the progress of the route, as it is, under this epoch of its fence. Where a [`super::Shipper`] runs, it has to be
/// asked instead. Gives the revision of the write.
///
/// # Errors
/// The fence has another epoch, somebody else wrote the progress just now, or the shard did not answer.
pub async fn probe(pool: &ShardPool, route: &str, epoch: i64) -> Result<i64, ShipError> {
    let shard = Shard(pool);
    let (fence, stored) = (Bytes::from(keys::fence(route)), Bytes::from(keys::progress(route)));
    let (_, found) = shard.read(vec![get(stored.clone())]).await?;
    let found = found.first().and_then(|range| range.kvs.first());
    let value = match found {
        Some(kv) => kv.value.clone(),
        None => Progress::default().encode()?.into(),
    };
    let request = TxnRequest {
        compare: vec![
            unmoved(fence.clone(), epoch),
            unmoved(stored.clone(), found.map_or(0, |kv| kv.mod_revision)),
        ],
        success: vec![put(stored.clone(), value, 0)],
        failure: [fence, stored].map(|key| op(Request::RequestRange(get(key)))).into(),
    };
    let reply = shard.txn(&request).await?;
    if reply.succeeded {
        return Ok(shard.revision(&reply)?);
    }
    let found = ranges_of(reply);
    let (fence, progress) = (mod_revision(found.first()), mod_revision(found.get(1)));
    Err(Refused { shard: shard.name(), epoch, fence, progress }.into())
}
