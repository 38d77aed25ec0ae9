//! LeaseRevoke.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_control::Revoking;
use etcd_prism_proto::etcdserverpb::{LeaseRevokeRequest, LeaseRevokeResponse};
use etcd_prism_routing::{RouteId, ShardId};
use etcd_prism_upstream::{Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::{Code, Status};
use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::HOLDER_PATIENCE;
use super::holders::{Holders, has_records, may_count, shard_of, unread};
use super::keys::{owner, routes_on};
use crate::context::Context;
use crate::error::{LEASE_NOT_FOUND, RequestError, TIMED_OUT};
use crate::gateway::Worker;

/// Time between attempts to tell a shard of a revoke.
const RETRY: Duration = Duration::from_secs(2);

/// Revokes the lease on every shard. If one that may have it cannot be told, the others are, the client gets that shard's
/// error, and the revoke is remembered.
///
/// It is held while a route that has keys under it is on the move: nobody would see these deletions.
pub async fn revoke(cx: &Context, request: LeaseRevokeRequest) -> Result<LeaseRevokeResponse, RequestError> {
    let (cx, id) = (cx.clone(), request.id);
    // A client that goes away does not call back what was sent: a seal waits for it all the same.
    let task = tokio::spawn(async move { everywhere_and_again(&cx, id).await });
    let ended = |_| RequestError::from(Status::new(Code::Unavailable, TIMED_OUT));
    task.await.map_err(ended)?
}

async fn everywhere_and_again(cx: &Context, id: i64) -> Result<LeaseRevokeResponse, RequestError> {
    if cx.ownership().is_reserved_lease(id) {
        return Err(not_found());
    }
    let registry = &cx.gateway().leases;
    let all: Vec<ShardId> = cx.gateway().shards.iter().map(|s| s.id).collect();
    let bounds = cx.gateway().shards.iter().map(|s| s.bounds().request_timeout);
    let whole = bounds.max().unwrap_or_default();
    let (start, last) = (Instant::now(), HOLDER_PATIENCE.min(whole / 4));
    let holders = Holders::ask(cx, id).await;
    let under_way = until_served(cx, id, &holders, start + whole / 2).await?;
    let had = tokio::time::timeout_at(start + whole / 2, had(cx, id, &holders)).await.ok().flatten();
    let mut told = everywhere(cx, &all, id, start + whole - last, Some(&under_way)).await;
    if told.values().any(|answer| matches!(answer, Ok(Some(_)))) {
        // It may have been on its way to another shard. From now on it cannot be: whoever brings it looks, after the grant,
        // whether it is still where it comes from.
        let lacking: Vec<ShardId> =
            all.iter().filter(|shard| matches!(told.get(shard), Some(Ok(None)))).copied().collect();
        for (shard, answer) in everywhere(cx, &lacking, id, start + whole, None).await {
            if !matches!(answer, Ok(None)) {
                told.insert(shard, answer);
            }
        }
    }
    let (mut done, mut failed): (Option<LeaseRevokeResponse>, Vec<(ShardId, UpstreamError)>) =
        (None, Vec::new());
    for (shard, answer) in told {
        match answer {
            Ok(Some(reply)) if done.is_none() || shard == cx.gateway().home_id() => done = Some(reply),
            Ok(_) => {}
            Err(error) => failed.push((shard, error)),
        }
    }
    // With one that had it, the list is known.
    failed.retain(|(shard, _)| done.is_none() || had.as_ref().is_none_or(|had| had.contains_key(shard)));
    for (shard, _) in &failed {
        registry.owe_revoke(id, *shard);
    }
    // The copy of a standby that is away is nothing to clients.
    failed.retain(|(shard, _)| {
        done.is_none() || had.as_ref().is_none_or(|had| had.get(shard) != Some(&Had::Copy))
    });
    registry.forget(id);
    match (done, failed.pop()) {
        (_, Some((_, error))) => Err(error.into()),
        (Some(reply), None) => Ok(reply),
        (None, None) => Err(not_found()),
    }
}

fn not_found() -> RequestError {
    Status::new(Code::NotFound, LEASE_NOT_FOUND).into()
}

/// Waits until every route that has keys under the lease is served, and sees to it that none is let go while the revoke is
/// under way.
///
/// # Errors
/// One is not, at the deadline.
async fn until_served<'c>(
    cx: &'c Context,
    id: i64,
    holders: &Holders,
    deadline: Instant,
) -> Result<Revoking<'c>, RequestError> {
    let patience = HOLDER_PATIENCE.min(deadline.saturating_duration_since(Instant::now()));
    let asks = holders.alive.keys().map(|shard| routes_on(cx, cx.worker.pool(*shard), id, patience));
    // One that does not answer will not be told of the revoke either.
    let routes: BTreeMap<_, _> = join_all(asks).await.into_iter().flatten().flatten().collect();
    let timed_out = |_| RequestError::from(Status::new(Code::Unavailable, TIMED_OUT));
    tokio::time::timeout_at(deadline, hold(cx, &routes)).await.map_err(timed_out)?
}

/// Waits until the routes are served, and holds them: the one look without the other would let a route go in between.
async fn hold<'c>(cx: &'c Context, routes: &BTreeMap<RouteId, Bytes>) -> Result<Revoking<'c>, RequestError> {
    loop {
        try_join_all(routes.iter().map(|(route, key)| owner(cx, *route, key))).await?;
        let revoking = cx.ownership().revoking();
        if routes.keys().all(|route| cx.ownership().route(*route).permit().is_some()) {
            return Ok(revoking);
        }
    }
}

/// What a shard may have of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Had {
    Lease,
    /// A copy that does not count.
    Copy,
}

/// The shards that may have the lease; `None` if that cannot be told. The list ends with the lease, so it is read first.
async fn had(cx: &Context, id: i64, holders: &Holders) -> Option<BTreeMap<ShardId, Had>> {
    let known = cx.gateway().leases.get(id);
    let remembered = known.shards.iter().chain(holders.alive.keys());
    let mut shards: BTreeMap<ShardId, Had> = remembered.map(|shard| (*shard, Had::Lease)).collect();
    let lists = holders.lists(cx, id).await.ok()?;
    let unread = unread(cx);
    for (of, record) in &lists.merged() {
        let had = if lists.is_copy(*of) { Had::Copy } else { Had::Lease };
        match shard_of(cx, *of) {
            Some(shard) => drop(shards.insert(shard, had)),
            // It may be any of those that were not identified yet. One that is not configured holds no key that matters.
            None => {
                shards.extend(unread.iter().filter(|s| may_count(cx, **s, record)).map(|s| (*s, Had::Lease)))
            }
        }
    }
    // Without records there is only what was seen from here.
    (has_records(cx) || known.is_own).then_some(shards)
}

async fn everywhere(
    cx: &Context,
    shards: &[ShardId],
    id: i64,
    deadline: Instant,
    under_way: Option<&Revoking<'_>>,
) -> BTreeMap<ShardId, Result<Option<LeaseRevokeResponse>, UpstreamError>> {
    let tell = shards.iter().map(|shard| async move {
        let pool = cx.worker.pool(*shard);
        let left = deadline.saturating_duration_since(Instant::now());
        let told = revoke_on(pool, id, left.min(pool.shard().bounds().request_timeout)).await;
        if let (Some(under_way), Ok(Some(_))) = (under_way, &told) {
            under_way.told(*shard);
        }
        (*shard, told)
    });
    join_all(tell).await.into_iter().collect()
}

/// `None`: the shard does not have the lease.
pub(super) async fn revoke_on(
    pool: &ShardPool,
    id: i64,
    patience: Duration,
) -> Result<Option<LeaseRevokeResponse>, UpstreamError> {
    let mut call = rpc::call(rpc::LEASE_REVOKE, &LeaseRevokeRequest { id }, Retry::Never);
    call.timeout = Some(patience);
    match rpc::unary(pool, call).await {
        Ok(reply) => Ok(Some(reply)),
        Err(UpstreamError::Status(status)) if status.message == LEASE_NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells shards of the revokes that they missed, until cancelled.
pub async fn retry_revokes(worker: Arc<Worker>, cancel: CancellationToken) {
    let cx = Context { worker, connection: Arc::default(), headers: Arc::default() };
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
        let owed = cx.gateway().leases.owed();
        let shards = cx.worker.pools().iter().filter(|p| p.shard().is_reachable()).map(|pool| {
            let ids: Vec<i64> =
                owed.iter().filter(|(_, s)| *s == pool.shard().id).map(|(id, _)| *id).collect();
            let cx = &cx;
            async move {
                for id in ids {
                    if let Err(error) = retry(cx, pool, id).await {
                        tracing::debug!(%error, lease = id, "revoke is still owed");
                        return;
                    }
                }
            }
        });
        join_all(shards).await;
    }
}

/// Tells a shard, unless a route that has keys there under the lease is on the move: then later.
async fn retry(cx: &Context, pool: &ShardPool, id: i64) -> Result<(), UpstreamError> {
    let routes = routes_on(cx, pool, id, HOLDER_PATIENCE).await?;
    if let Ok(Ok(_under_way)) = tokio::time::timeout(HOLDER_PATIENCE, hold(cx, &routes)).await {
        revoke_on(pool, id, pool.shard().bounds().request_timeout).await?;
        cx.gateway().leases.revoke_told(id, pool.shard().id);
    }
    Ok(())
}
