//! The Lock and Election services, as recipes of the proxy's own.
//!
//! A shard's own services would write past every fence, so they are never called. Each step here is a fenced transaction or
//! a protected read, as if a client had sent it; a watch only tells when to look again. What counts is who has the oldest
//! key below `<name>/`: every session puts one of its own there, `<name>/<lease in hex>`.

mod claim;
mod election;
mod hint;
mod mutex;
mod names;
mod observe;
mod patience;
mod turn;

use std::time::Duration;

use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::{Code, Status};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::dispatch::{decode, typed};
use crate::error::RequestError;
use crate::metrics::Routed;
use crate::unary::UnaryRequest;

/// Between two attempts at a step that failed and may succeed later.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers a method of either service.
pub async fn handle(
    cx: &Context,
    path: &'static str,
    request: UnaryRequest,
    routed: &mut Routed,
) -> Result<Response<ResponseBody>, RequestError> {
    let reply = match path {
        "/v3lockpb.Lock/Lock" => mutex::lock(cx, decode(&request)?, routed).await.map(|r| typed(cx, r)),
        "/v3lockpb.Lock/Unlock" => mutex::unlock(cx, decode(&request)?, routed).await.map(|r| typed(cx, r)),
        "/v3electionpb.Election/Campaign" => {
            election::campaign(cx, decode(&request)?, routed).await.map(|r| typed(cx, r))
        }
        "/v3electionpb.Election/Proclaim" => {
            election::proclaim(cx, decode(&request)?, routed).await.map(|r| typed(cx, r))
        }
        "/v3electionpb.Election/Leader" => {
            election::leader(cx, decode(&request)?, routed).await.map(|r| typed(cx, r))
        }
        "/v3electionpb.Election/Resign" => {
            election::resign(cx, decode(&request)?, routed).await.map(|r| typed(cx, r))
        }
        "/v3electionpb.Election/Observe" => observe::observe(cx, decode(&request)?, routed).map(Ok),
        _ => return Err(crate::other::unknown(path).into()),
    };
    reply.map_err(as_of_the_services)?
}

/// The services of etcd are clients of its others, and hand their errors on as texts: those have the code Unknown. The
/// transient ones keep theirs, so that clients try again.
fn as_of_the_services(error: RequestError) -> RequestError {
    let is_ours =
        matches!(error, RequestError::Reserved | RequestError::Spans(_) | RequestError::NotServed(_));
    let status = error.status();
    if !is_ours && status.message.starts_with("etcdserver: ") && status.code != Code::Unavailable {
        return unknown(status.message);
    }
    error
}

/// An error without a code of its own.
fn unknown(text: impl Into<std::borrow::Cow<'static, str>>) -> RequestError {
    Status::new(Code::Unknown, text).into()
}

/// Whether a step that failed like this may succeed in a moment. Nothing of it was told to anybody.
fn may_pass(error: &RequestError) -> bool {
    match error {
        RequestError::Upstream(UpstreamError::Status(status)) | RequestError::Status(status) => {
            status.code == Code::Unavailable
        }
        RequestError::Upstream(UpstreamError::BadReply { .. }) => false,
        RequestError::Upstream(_) => true,
        other => other.may_pass(),
    }
}
