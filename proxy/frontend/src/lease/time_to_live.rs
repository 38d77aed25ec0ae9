//! LeaseTimeToLive and LeaseLeases.

use std::collections::BTreeSet;

use etcd_prism_proto::etcdserverpb::{
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use etcd_prism_upstream::{Call, Retry, rpc};
use futures_util::future::join_all;

use super::everyone::ask_everyone;
use super::{keys, shown};
use crate::context::Context;
use crate::error::RequestError;

/// The lowest TTL of all shards that have the lease, and the keys of all, each from the shard that owns it. A shard that cannot
/// be asked is left out unless it is the only one that could have answered.
pub async fn time_to_live(
    cx: &Context,
    request: LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, RequestError> {
    let asked = LeaseTimeToLiveRequest { id: shown(cx, request.id), ..request };
    let call = rpc::call(rpc::LEASE_TIME_TO_LIVE, &asked, Retry::OnceElsewhere);
    let ask = |pool, patience| {
        let call = Call { timeout: Some(patience), ..call.clone() };
        rpc::unary::<LeaseTimeToLiveResponse>(pool, call)
    };
    // 0 is a lease in its last second.
    let answers = ask_everyone(cx, asked.id, ask, |reply| reply.ttl >= 0).await;
    let holders = cx.gateway().leases.get(request.id).shards;
    let mut found: Option<LeaseTimeToLiveResponse> = None;
    let mut named = Vec::new();
    let mut absent = None;
    let mut failure = None;
    for (shard, answer) in answers {
        match answer {
            // Without it the TTL and the keys would be wrong.
            Err(error) if holders.contains(&shard) => return Err(error.into()),
            Err(error) => failure = Some(error),
            // etcd answers -1 for a lease that it does not have.
            Ok(reply) if reply.ttl < 0 => absent = Some(reply),
            Ok(mut reply) => {
                named.push((shard, std::mem::take(&mut reply.keys)));
                if let Some(other) = found.take() {
                    reply.ttl = reply.ttl.min(other.ttl);
                    reply.granted_ttl = reply.granted_ttl.max(other.granted_ttl);
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
    reply.id = request.id;
    reply.keys = keys::of_owners(cx, named).await?;
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
        ids.extend(reply.leases.iter().map(|l| l.id).filter(|id| !cx.ownership().is_reserved_lease(*id)));
        if pool.shard().id == cx.gateway().home_id() {
            header = reply.header;
        }
    }
    Ok(LeaseLeasesResponse { header, leases: ids.into_iter().map(|id| LeaseStatus { id }).collect() })
}
