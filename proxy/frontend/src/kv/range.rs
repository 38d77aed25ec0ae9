//! Range.

use etcd_prism_routing::Placement;
use etcd_prism_upstream::{Class, Place, Retry, rpc};
use etcd_prism_wire::{KeyRange, patch, request};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::{forward, span};
use crate::metrics::Routed;
use crate::unary::UnaryRequest;

/// Keys that health probes read; a flood of other requests must not starve them.
const HEALTH_KEYS: [&[u8]; 2] = [b"/registry/health", b"health"];

/// Lists go over connections of their own.
pub fn class_of(keys: KeyRange<'_>, count_only: bool) -> Class {
    if keys.is_single() || count_only { Class::Unary } else { Class::Bulk }
}

pub async fn handle(
    cx: &Context,
    request: UnaryRequest,
    routed: &mut Routed,
) -> Result<Response<ResponseBody>, RequestError> {
    let range = request::range(request.message())?;
    if !range.sort_exists() && !range.keys.key.is_empty() {
        return Err(RequestError::InvalidSort);
    }
    let keyspace = &cx.gateway().keyspace;
    let patch = patch::clamp(patch::RANGE_KEYS, range.keys).unwrap_or_default();
    let placement = match range.keys.clamped() {
        Some(visible) => keyspace.place(visible),
        // Nothing a client may see: the home shard answers for the empty range.
        None => keyspace.place(KeyRange::default()),
    };
    routed.set(&placement);
    match placement {
        Placement::One { shard, .. } => {
            let class = class_of(range.keys, range.count_only);
            let frame = request.patched(patch.as_slice());
            let mut call = forward::call(cx, rpc::RANGE, frame, class, Retry::OnceElsewhere);
            if range.keys.is_single() && HEALTH_KEYS.contains(&range.keys.key) {
                call.place = Place::Reserved;
            }
            forward::unary(cx, shard, call).await
        }
        Placement::Spans(routes) => span::range(cx, &range, &routes, request.message()).await,
    }
}
