//! LeaseRevoke.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{LeaseRevokeRequest, LeaseRevokeResponse};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{UpstreamError, rpc};
use etcd_prism_wire::{Code, Status};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::{LEASE_NOT_FOUND, RequestError};
use crate::gateway::Worker;

/// Time between attempts to tell a shard of a revoke.
const RETRY: Duration = Duration::from_secs(2);

/// Revokes the lease on every shard. If one cannot be told, the others are, the client gets that shard's error, and the
/// revoke is remembered.
pub async fn revoke(cx: &Context, request: LeaseRevokeRequest) -> Result<LeaseRevokeResponse, RequestError> {
    let registry = &cx.gateway().leases;
    let known = registry.get(request.id);
    // First of all: from here on no write brings it to another shard.
    registry.died(request.id);
    let answers = join_all(cx.gateway().shards.iter().map(|s| revoke_on(&cx.worker, s.id, request.id))).await;
    let was_known = known.is_some();
    let known = known.unwrap_or_default();
    let mut done: Option<LeaseRevokeResponse> = None;
    let mut failure = None;
    for (shard, answer) in cx.gateway().shards.iter().zip(answers) {
        match answer {
            Ok(Some(reply)) => {
                let from_home = shard.id == cx.gateway().keyspace.home();
                if from_home || done.is_none() {
                    done = Some(reply);
                }
            }
            Ok(None) => {}
            Err(error) => {
                // Whether it has the lease is not known unless this proxy brought it there.
                if known.shards.is_empty() || known.shards.contains(&shard.id) {
                    registry.owe_revoke(request.id, shard.id);
                    failure = Some(error);
                }
            }
        }
    }
    match (done, failure) {
        (_, Some(error)) => Err(error.into()),
        (Some(reply), None) => Ok(reply),
        (None, None) => {
            if !was_known {
                registry.forget(request.id);
            }
            Err(Status::new(Code::NotFound, LEASE_NOT_FOUND).into())
        }
    }
}

/// `None`: the shard does not have the lease.
async fn revoke_on(
    worker: &Worker,
    shard: ShardId,
    id: i64,
) -> Result<Option<LeaseRevokeResponse>, UpstreamError> {
    match rpc::write(worker.pool(shard), rpc::LEASE_REVOKE, &LeaseRevokeRequest { id }).await {
        Ok(reply) => Ok(Some(reply)),
        Err(UpstreamError::Status(status)) if status.message == LEASE_NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells shards of the revokes that they missed, until cancelled.
pub async fn retry_revokes(worker: Arc<Worker>, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
        let registry = &worker.gateway.leases;
        let owed = registry.owed();
        let shards = worker.pools().iter().filter(|p| p.shard().is_reachable()).map(|pool| {
            let shard = pool.shard().id;
            let ids: Vec<i64> = owed.iter().filter(|(_, s)| *s == shard).map(|(id, _)| *id).collect();
            let worker = &worker;
            async move {
                for id in ids {
                    match revoke_on(worker, shard, id).await {
                        Ok(_) => registry.revoke_told(id, shard),
                        Err(error) => {
                            tracing::debug!(%error, lease = id, "revoke is still owed");
                            return;
                        }
                    }
                }
            }
        });
        join_all(shards).await;
    }
}
