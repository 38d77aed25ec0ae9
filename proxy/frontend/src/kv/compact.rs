//! Compact: a revision of the home shard's line, translated for every other shard.

use std::time::Duration;

use etcd_prism_routing::Footprint;
use etcd_prism_upstream::{Class, Retry, reply, rpc};
use etcd_prism_wire::{Code, request};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::{COMPACTED, RequestError};
use crate::kv::forward;
use crate::place::{self, Placement};
use crate::unary::UnaryRequest;

const PHYSICAL_PATIENCE: Duration = Duration::from_secs(3600);

/// Compacts home and answers with home's reply; the other shards follow in the background.
pub async fn handle(cx: &Context, request: UnaryRequest) -> Result<Response<ResponseBody>, RequestError> {
    let revision = request::int64_field(request.message(), 1)?;
    let physical = request::int64_field(request.message(), 2)? != 0;
    let footprint = Footprint::one(cx.gateway().keyspace.default_route());
    let deadline = place::deadline(cx, &footprint);
    let Placement::One(grant) = Placement::of(cx, &footprint, deadline).await? else {
        return Err(RequestError::Void);
    };
    // The number would be one of the line, and the shard's are others.
    if grant.line().is_some() {
        return Err(RequestError::Spans(
            "compaction at the revisions of a route that was moved is not known".into(),
        ));
    }
    let mut call = forward::call(cx, rpc::COMPACT, request.frame, Class::Unary, Retry::Never);
    // A physical compaction answers when every old revision is gone from disk; the client says how long it waits.
    call.timeout = physical.then_some(PHYSICAL_PATIENCE);
    let response = forward::unary(cx, grant.shard, call).await?;
    // If the route has moved meanwhile, a retired copy was compacted, and where it is now nothing was done.
    if !grant.stands(cx) {
        return Err(RequestError::Void);
    }
    // Home compacted already, by another client or through another proxy: the other shards may still be behind.
    let done =
        reply::status_of(response.headers()).is_none_or(|s| s.code == Code::Ok || s.message == COMPACTED);
    if done {
        cx.gateway().samples.schedule(grant.shard, revision, physical);
    }
    Ok(response)
}
