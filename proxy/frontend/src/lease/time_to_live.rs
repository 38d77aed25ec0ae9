//! LeaseTimeToLive and LeaseLeases.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use etcd_prism_upstream::{Retry, rpc};
use etcd_prism_wire::keys::RESERVED;
use futures_util::future::join_all;

use crate::context::Context;
use crate::error::RequestError;

/// Longest wait for a shard: one that hangs must not make the answer of the others slow.
const PATIENCE: Duration = Duration::from_millis(500);

/// The lowest TTL of all shards that have the lease, and the keys of all. A shard that cannot be asked is left out unless
/// it is the only one that could have answered.
pub async fn time_to_live(
    cx: &Context,
    request: LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, RequestError> {
    let mut call = rpc::call(rpc::LEASE_TIME_TO_LIVE, &request, Retry::OnceElsewhere);
    call.timeout = Some(PATIENCE);
    let asks = cx.worker.pools().iter().map(|pool| rpc::unary(pool, call.clone()));
    let answers: Vec<Result<LeaseTimeToLiveResponse, _>> = join_all(asks).await;
    let holders = cx.gateway().leases.get(request.id).unwrap_or_default().shards;
    let mut found: Option<LeaseTimeToLiveResponse> = None;
    let mut absent = None;
    let mut failure = None;
    for (pool, answer) in cx.worker.pools().iter().zip(answers) {
        match answer {
            // Without it the TTL and the keys would be wrong.
            Err(error) if holders.contains(&pool.shard().id) => return Err(error.into()),
            Err(error) => failure = Some(error),
            // etcd answers -1 for a lease that it does not have.
            Ok(reply) if reply.ttl < 0 => absent = Some(reply),
            Ok(mut reply) => {
                if let Some(other) = found.take() {
                    reply.ttl = reply.ttl.min(other.ttl);
                    reply.granted_ttl = reply.granted_ttl.max(other.granted_ttl);
                    reply.keys.extend(other.keys);
                }
                found = Some(reply);
            }
        }
    }
    let mut reply = match (found, failure, absent) {
        (Some(found), ..) => found,
        // It may be on the shard that did not answer.
        (None, Some(error), _) => return Err(error.into()),
        (None, None, absent) => absent.unwrap_or_default(),
    };
    reply.keys.retain(|key| key.first() != Some(&RESERVED));
    reply.keys.sort_unstable();
    Ok(reply)
}

/// All leases of all shards. A part of them would look like the whole, so every shard has to answer.
pub async fn leases(cx: &Context) -> Result<LeaseLeasesResponse, RequestError> {
    let request = LeaseLeasesRequest::default();
    let asks = cx.worker.pools().iter().map(|pool| rpc::read(pool, rpc::LEASE_LEASES, &request));
    let mut ids = BTreeSet::new();
    let mut header = None;
    for (pool, answer) in cx.worker.pools().iter().zip(join_all(asks).await) {
        let reply: LeaseLeasesResponse = answer?;
        ids.extend(reply.leases.iter().map(|l| l.id));
        if pool.shard().id == cx.gateway().keyspace.home() {
            header = reply.header;
        }
    }
    Ok(LeaseLeasesResponse { header, leases: ids.into_iter().map(|id| LeaseStatus { id }).collect() })
}
