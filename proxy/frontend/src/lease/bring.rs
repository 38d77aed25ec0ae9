//! Brings a lease to a shard that lacks it.

use etcd_prism_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse,
};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{UpstreamError, rpc};
use etcd_prism_wire::{Code, Status};
use futures_util::future::join_all;

use super::grant::ask;
use crate::context::Context;
use crate::error::{LEASE_EXISTS, RequestError};

/// A write was refused because `shard` lacks one of `leases`. Grants those that live on another shard, under the same id
/// and with the TTL they were granted with; true if any was. A lease that this shard has had before is gone from it by
/// expiry or revoke, and stays gone.
pub async fn bring(cx: &Context, shard: ShardId, leases: &[i64]) -> Result<bool, RequestError> {
    let mut brought = false;
    for &id in leases {
        brought |= bring_one(cx, shard, id).await?;
    }
    Ok(brought)
}

async fn bring_one(cx: &Context, shard: ShardId, id: i64) -> Result<bool, RequestError> {
    let registry = &cx.gateway().leases;
    let known = registry.get(id).unwrap_or_default();
    if known.dead || known.shards.contains(&shard) {
        return Ok(false);
    }
    // It must be alive somewhere now; memory alone does not say that.
    let elsewhere = cx.worker.pools().iter().filter(|p| p.shard().id != shard);
    let answers = join_all(elsewhere.map(|pool| async move { (pool.shard().id, ask(pool, id).await) })).await;
    let (mut granted_ttl, mut failure) = (0, None);
    for (other, answer) in answers {
        match answer {
            Ok(Some(reply)) => {
                registry.on_shard(id, other, reply.granted_ttl);
                granted_ttl = reply.granted_ttl;
            }
            Ok(None) => {}
            Err(error) => failure = Some(error),
        }
    }
    if granted_ttl == 0 {
        // It may be alive on the shard that did not answer: "not found" would be final to clients.
        return failure.map_or(Ok(false), |error| Err(error.into()));
    }
    let request = LeaseGrantRequest { id, ttl: granted_ttl };
    let answer: Result<LeaseGrantResponse, _> =
        rpc::write(cx.worker.pool(shard), rpc::LEASE_GRANT, &request).await;
    match answer {
        Ok(_) => {}
        // Another request brought it at the same time.
        Err(UpstreamError::Status(Status { code: Code::FailedPrecondition, message }))
            if message == LEASE_EXISTS => {}
        Err(error) => return Err(error.into()),
    }
    registry.on_shard(id, shard, granted_ttl);
    if registry.get(id).is_some_and(|known| known.dead) {
        // Revoked while it was brought: the revoke may have looked at this shard before the lease was there.
        registry.owe_revoke(id, shard);
        let revoke = LeaseRevokeRequest { id };
        let answer: Result<LeaseRevokeResponse, _> =
            rpc::write(cx.worker.pool(shard), rpc::LEASE_REVOKE, &revoke).await;
        if answer.is_ok() {
            registry.revoke_told(id, shard);
        }
        return Ok(false);
    }
    cx.gateway().metrics.leases_brought.increment(1);
    Ok(true)
}
