//! The Lock and Election services: passed to the shard that owns the name.
//!
//! Their keys are `<name>/<lease in hex>`, so a name belongs to the route of the keys below it.

use std::time::Duration;

use etcd_prism_routing::{Placement, ShardId};
use etcd_prism_upstream::{Class, Place, Retry, reply};
use etcd_prism_wire::keys::RESERVED;
use etcd_prism_wire::{KeyRange, request};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::{LEASE_NOT_FOUND, RequestError};
use crate::kv::forward;
use crate::metrics::Routed;
use crate::unary::UnaryRequest;
use crate::{lease, relay, respond};

/// Lock, Campaign and Observe wait until it is their turn; the client decides for how long.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);

pub async fn handle(
    cx: &Context,
    path: &'static str,
    request: UnaryRequest,
    routed: &mut Routed,
) -> Result<Response<ResponseBody>, RequestError> {
    let message = request.message();
    let (key, lease) = match path {
        "/v3lockpb.Lock/Lock" | "/v3electionpb.Election/Campaign" => {
            (below(request::bytes_field(message, 1)?), request::int64_field(message, 2)?)
        }
        "/v3lockpb.Lock/Unlock" => (request::bytes_field(message, 1)?.to_vec(), 0),
        "/v3electionpb.Election/Leader" | "/v3electionpb.Election/Observe" => {
            (below(request::bytes_field(message, 1)?), 0)
        }
        // Proclaim and Resign name the leader's key.
        _ => (request::bytes_field(request::bytes_field(message, 1)?, 2)?.to_vec(), 0),
    };
    if key.first() == Some(&RESERVED) {
        return Err(RequestError::Reserved);
    }
    let placement = cx.gateway().keyspace.place(KeyRange::single(&key));
    routed.set(&placement);
    let Placement::One { shard, .. } = placement else { return Err(RequestError::Reserved) };
    let mut call = forward::call(cx, path, request.frame, Class::Unary, Retry::Never);
    call.timeout = Some(PATIENCE);
    call.place = Place::None;
    if path == "/v3electionpb.Election/Observe" {
        call.class = Class::Watch;
        return observe(cx, shard, call).await;
    }
    let response = forward::unary(cx, shard, call.clone()).await?;
    let lacks_lease = reply::status_of(response.headers()).is_some_and(|s| s.message == LEASE_NOT_FOUND);
    if lease != 0 && lacks_lease && lease::bring(cx, shard, &[lease]).await? {
        return forward::unary(cx, shard, call).await;
    }
    Ok(response)
}

async fn observe(
    cx: &Context,
    shard: ShardId,
    call: etcd_prism_upstream::Call,
) -> Result<Response<ResponseBody>, RequestError> {
    let pool = cx.worker.pool(shard);
    let reply = pool.call(call).await?;
    if reply.early_status().is_some() {
        return Ok(respond::early(reply.headers));
    }
    let header = cx.gateway().identity.header_patch.clone();
    Ok(relay::start(reply, pool.shard().name.clone(), relay::Header::Every(header)))
}

fn below(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}
