//! Put, DeleteRange and Txn.

use bytes::Bytes;
use etcd_prism_routing::{Footprint, Placement, ShardId};
use etcd_prism_upstream::{Class, Retry, UpstreamError, reply};
use etcd_prism_wire::keys::RESERVED;
use etcd_prism_wire::request::{self, Use};
use etcd_prism_wire::{KeyRange, frame, patch};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::{LEASE_NOT_FOUND, RequestError, route_names};
use crate::kv::forward;
use crate::lease;
use crate::metrics::Routed;
use crate::unary::UnaryRequest;

const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";

/// What etcd wraps around a request before it measures it, in bytes: the raft header with a 64-bit id, and the tag and
/// length of the request.
const RAFT_OVERHEAD: usize = 17;

type Reply = Result<Response<ResponseBody>, RequestError>;

pub async fn put(cx: &Context, request: UnaryRequest, routed: &mut Routed) -> Reply {
    let put = request::put(request.message())?;
    check_size(cx, &request)?;
    refuse_reserved(put.key)?;
    let placement = cx.gateway().keyspace.place(KeyRange::single(put.key));
    let shard = one_shard(cx, placement, "a put", routed)?;
    let leases: &[i64] = if put.lease == 0 { &[] } else { &[put.lease] };
    send(cx, shard, PUT, request.frame.clone(), leases).await
}

pub async fn delete_range(cx: &Context, request: UnaryRequest, routed: &mut Routed) -> Reply {
    let keys = request::delete_range(request.message())?;
    check_size(cx, &request)?;
    refuse_reserved(keys.key)?;
    let placement = cx.gateway().keyspace.place(keys.clamped().unwrap_or_default());
    let shard = one_shard(cx, placement, "a deletion of a range", routed)?;
    let clamp = patch::clamp(patch::RANGE_KEYS, keys).unwrap_or_default();
    send(cx, shard, DELETE_RANGE, request.patched(clamp.as_slice()), &[]).await
}

pub async fn txn(cx: &Context, request: UnaryRequest, routed: &mut Routed) -> Reply {
    let keyspace = &cx.gateway().keyspace;
    let mut footprint = Footprint::default();
    let mut leases = Vec::new();
    let (mut reserved_write, mut must_clamp) = (false, false);
    let shape = request::txn(request.message(), cx.gateway().limits().max_txn_ops, &mut |used, keys| {
        reserved_write |= used.writes() && keys.key.first() == Some(&RESERVED);
        must_clamp |= keys.touches_reserved();
        if let Use::Put { lease } = used
            && lease != 0
            && !leases.contains(&lease)
        {
            leases.push(lease);
        }
        // An empty key is an error that any shard reports.
        if !keys.key.is_empty()
            && let Some(visible) = keys.clamped()
        {
            footprint.add_range(keyspace, visible);
        }
    })?;
    if reserved_write {
        return Err(RequestError::Reserved);
    }
    if shape.writes {
        check_size(cx, &request)?;
    }
    let shard = one_shard(cx, footprint.placement(keyspace), "a transaction", routed)?;
    let frame = if must_clamp {
        frame::encode(&[&patch::clamp_txn(request.message())?])
    } else {
        request.frame.clone()
    };
    if shape.writes {
        return send(cx, shard, TXN, frame, &leases).await;
    }
    // A transaction that only reads may be as large as a list, and may be tried again.
    let class = if request.frame.len() < 512 { Class::Unary } else { Class::Bulk };
    forward::unary(cx, shard, forward::call(cx, TXN, frame, class, Retry::OnceElsewhere)).await
}

/// Sends a write. It is sent a second time only if the shard says that it lacks a lease (so it was certainly not applied)
/// and that lease could be brought there.
async fn send(cx: &Context, shard: ShardId, path: &'static str, frame: Bytes, leases: &[i64]) -> Reply {
    let call = forward::call(cx, path, frame, Class::Unary, Retry::Never);
    if leases.is_empty() {
        return forward::unary(cx, shard, call).await;
    }
    let steps = async {
        let response = forward::unary(cx, shard, call.clone()).await?;
        let lacks_lease = reply::status_of(response.headers()).is_some_and(|s| s.message == LEASE_NOT_FOUND);
        if lacks_lease && lease::bring(cx, shard, leases).await? {
            return forward::unary(cx, shard, call).await;
        }
        Ok(response)
    };
    // One bound for all steps: the client's own deadline is not much later.
    let state = cx.worker.pool(shard).shard();
    let timed_out = || UpstreamError::TimedOut { shard: state.name.clone() };
    tokio::time::timeout(state.bounds().request_timeout, steps)
        .await
        .unwrap_or_else(|_| Err(timed_out().into()))
}

fn one_shard(
    cx: &Context,
    placement: Placement,
    what: &str,
    routed: &mut Routed,
) -> Result<ShardId, RequestError> {
    routed.set(&placement);
    match placement {
        Placement::One { shard, .. } => Ok(shard),
        Placement::Spans(routes) => {
            let names = route_names(&cx.gateway().keyspace, &routes);
            Err(RequestError::Spans(format!(
                "{what} cannot span the routes {names}: they live on different shards"
            )))
        }
    }
}

fn refuse_reserved(key: &[u8]) -> Result<(), RequestError> {
    if key.first() == Some(&RESERVED) { Err(RequestError::Reserved) } else { Ok(()) }
}

/// etcd's limit on a request, kept here because shards are given more room than clients are.
fn check_size(cx: &Context, request: &UnaryRequest) -> Result<(), RequestError> {
    let size = request.message().len() + RAFT_OVERHEAD;
    if size > cx.gateway().limits().max_request_bytes { Err(RequestError::TooLarge) } else { Ok(()) }
}
