//! Range.

use etcd_prism_routing::Footprint;
use etcd_prism_upstream::{Class, Place};
use etcd_prism_wire::{KeyRange, patch, request};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::exchange::{self, Ask, Kind, PRESENT};
use crate::kv::{forward, span};
use crate::metrics::Routed;
use crate::place::{self, Grant, Placement};
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
    // What clients may not see is an empty range, that home answers.
    let visible = range.keys.clamped().unwrap_or_default();
    let footprint = Footprint::of(&cx.gateway().keyspace, visible);
    let clamp = patch::clamp(patch::RANGE_KEYS, range.keys).unwrap_or_default();
    let probe = range.keys.is_single() && HEALTH_KEYS.contains(&range.keys.key);
    let ask = Ask {
        place: if probe { Place::Reserved } else { Place::Counted },
        revision: if range.revision > 0 { range.revision } else { PRESENT },
        ..Ask::new(Kind::Range, request.patched(clamp.as_slice()), class_of(range.keys, range.count_only))
    };
    let deadline = place::deadline(cx, &footprint);
    loop {
        let placement = Placement::of(cx, &footprint, deadline).await?;
        place::account(routed, &footprint, matches!(placement, Placement::Spans(_)));
        let reply = match placement {
            Placement::One(grant) => {
                exchange::bounded(cx, grant.shard, deadline, one(cx, &grant, &ask)).await
            }
            Placement::Spans(spans) => {
                // On the heap: every request would be as large as the largest otherwise.
                Box::pin(place::bounded(deadline, span::range(cx, &range, &spans, request.message()))).await
            }
        };
        if !matches!(reply, Err(RequestError::Void)) {
            return reply;
        }
    }
}

async fn one(cx: &Context, grant: &Grant, request: &Ask<'_>) -> Result<Response<ResponseBody>, RequestError> {
    cx.connection.used(grant.shard);
    let answer = exchange::ask(cx, grant, request).await?;
    forward::answer(cx, grant, answer, request).await
}
