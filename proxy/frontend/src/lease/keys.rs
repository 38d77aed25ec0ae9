//! Keys of a lease, by their routes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, RangeRequest};
use etcd_prism_routing::{Footprint, RouteId, ShardId};
use etcd_prism_upstream::{Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::keys::RESERVED;

use crate::context::Context;
use crate::error::RequestError;
use crate::kv::typed;
use crate::metrics::Routed;

/// The routes of the keys that a shard has under a lease, each with one of them.
pub(super) async fn routes_on(
    cx: &Context,
    pool: &ShardPool,
    id: i64,
    patience: Duration,
) -> Result<BTreeMap<RouteId, Bytes>, UpstreamError> {
    let request = LeaseTimeToLiveRequest { id, keys: true };
    let mut call = rpc::call(rpc::LEASE_TIME_TO_LIVE, &request, Retry::OnceElsewhere);
    call.timeout = Some(patience);
    let reply: LeaseTimeToLiveResponse = rpc::unary(pool, call).await?;
    let keys = reply.keys.into_iter().filter(|key| is_clients(key));
    Ok(keys.map(|key| (cx.gateway().keyspace.route_of(&key), key)).collect())
}

/// The keys that clients have, of those that shards named: each from the shard that its route is on. Another one may have
/// copies from an earlier time.
///
/// # Errors
/// Where a route is cannot be told.
pub(super) async fn of_owners(
    cx: &Context,
    named: impl IntoIterator<Item = (ShardId, Vec<Bytes>)>,
) -> Result<Vec<Bytes>, RequestError> {
    let mut owners: BTreeMap<RouteId, ShardId> = BTreeMap::new();
    let mut out = Vec::new();
    for (shard, keys) in named {
        for key in keys.into_iter().filter(|key| is_clients(key)) {
            let route = cx.gateway().keyspace.route_of(&key);
            let owner = match owners.get(&route) {
                Some(owner) => *owner,
                None => *owners.entry(route).or_insert(owner(cx, route, &key).await?),
            };
            if owner == shard {
                out.push(key);
            }
        }
    }
    out.sort_unstable();
    Ok(out)
}

/// The shard of a route, by a read of a key of it: so the route is served now, and what was told before can be believed.
///
/// # Errors
/// The route is not served, not even after a while.
pub(super) async fn owner(cx: &Context, route: RouteId, key: &Bytes) -> Result<ShardId, RequestError> {
    let request = RangeRequest { key: key.clone(), count_only: true, ..RangeRequest::default() };
    let footprint = Footprint::one(route);
    let (grant, _) = typed::range(cx, &footprint, &request, "a lease's keys", &mut Routed::None).await?;
    Ok(grant.shard)
}

fn is_clients(key: &[u8]) -> bool {
    key.first() != Some(&RESERVED)
}
