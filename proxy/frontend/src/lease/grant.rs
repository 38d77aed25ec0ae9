//! LeaseGrant.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::{Code, Status};
use futures_util::future::join_all;

use crate::context::Context;
use crate::error::{LEASE_EXISTS, RequestError};
use crate::gateway::Worker;

/// Longest wait for a shard before the next one is tried: a shard that hangs must not make grants slow.
const PATIENCE: Duration = Duration::from_millis(500);

/// The longest TTL that etcd grants, in seconds.
const MAX_TTL: i64 = 9_000_000_000;

/// Grants a lease on one shard: the one that this connection uses, if it is well.
pub async fn grant(cx: &Context, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, RequestError> {
    let exists = || Status::new(Code::FailedPrecondition, LEASE_EXISTS);
    let chosen_by_client = request.id != 0;
    let id = if chosen_by_client { request.id } else { rand::random_range(1..=i64::MAX) };
    // etcd looks at the TTL before the id: a shard refuses it in its own words.
    let exists_already =
        async || cx.ownership().is_reserved_lease(id) || exists_anywhere(&cx.worker, id).await;
    if chosen_by_client && request.ttl <= MAX_TTL && exists_already().await {
        return Err(exists().into());
    }
    let request = LeaseGrantRequest { id, ttl: request.ttl };
    let candidates = candidates(cx, chosen_by_client);
    let mut failure = None;
    for (i, shard) in candidates.iter().enumerate() {
        let pool = cx.worker.pool(*shard);
        let mut call = rpc::call(rpc::LEASE_GRANT, &request, Retry::Never);
        // The last one gets the whole of its bound.
        call.timeout = (i + 1 < candidates.len()).then_some(PATIENCE);
        match rpc::unary::<LeaseGrantResponse>(pool, call).await {
            Ok(reply) => {
                cx.gateway().leases.granted(id, *shard);
                return Ok(reply);
            }
            // A full shard, a shard without a leader or one that does not answer: another one can grant. A grant that did
            // happen there is one nobody knows of; it expires by itself.
            Err(error) if can_go_elsewhere(&error) => {
                tracing::debug!(shard = %pool.shard().name, %error, "lease grant goes to another shard");
                failure = Some(error);
            }
            // An attempt that timed out may have granted this very id elsewhere; a fresh one never collides by chance.
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure
        .map_or_else(|| Status::new(Code::Unavailable, "etcdserver: request timed out").into(), Into::into))
}

/// The shards to try, best first: one without a healthy member (no leader, say) would cost [`PATIENCE`].
/// An id that the client chose is granted at home first, whoever asks: of two clients that choose one id, one is refused.
fn candidates(cx: &Context, chosen_by_client: bool) -> Vec<ShardId> {
    let gateway = cx.gateway();
    let home = gateway.home_id();
    let mut order: Vec<ShardId> = gateway.shards.iter().map(|s| s.id).collect();
    order.sort_by_key(|&id| {
        let shard = &gateway.shards[usize::from(id.0)];
        let used = !chosen_by_client && Some(id) == cx.connection.last_shard();
        let well = shard.is_reachable() && shard.endpoints().iter().any(|e| e.is_healthy());
        (!well, !used, id != home)
    });
    order
}

fn can_go_elsewhere(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Status(status) => matches!(status.code, Code::Unavailable | Code::ResourceExhausted),
        _ => true,
    }
}

/// Asks all shards for a lease that a client wants to create under its own id. A shard that does not answer in time cannot
/// be asked; its lease, if it has one, is found when the id is first brought there.
async fn exists_anywhere(worker: &Worker, id: i64) -> bool {
    let asks =
        worker.pools().iter().map(|pool| async move { matches!(ask(pool, id, PATIENCE).await, Ok(Some(_))) });
    join_all(asks).await.into_iter().any(|found| found)
}

/// A shard's view of a lease: `None` if it has none.
pub(super) async fn ask(
    pool: &ShardPool,
    id: i64,
    patience: Duration,
) -> Result<Option<LeaseTimeToLiveResponse>, UpstreamError> {
    let request = LeaseTimeToLiveRequest { id, keys: false };
    let mut call = rpc::call(rpc::LEASE_TIME_TO_LIVE, &request, Retry::OnceElsewhere);
    call.timeout = Some(patience);
    let reply: LeaseTimeToLiveResponse = rpc::unary(pool, call).await?;
    // 0 is a lease in its last second, -1 one that is not there.
    Ok((reply.ttl >= 0).then_some(reply))
}
