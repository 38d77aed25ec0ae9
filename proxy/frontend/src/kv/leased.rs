//! Writes that put keys under leases.

use etcd_prism_routing::Footprint;
use etcd_prism_upstream::reply;
use etcd_prism_wire::{Code, Status};

use crate::context::Context;
use crate::error::{LEASE_NOT_FOUND, RequestError};
use crate::kv::exchange::{self, Answer, Ask};
use crate::lease;
use crate::metrics::Routed;
use crate::place::Grant;

/// As [`exchange::exchange`]. If the shard says that it lacks a lease, and that lease could be brought there, the request is
/// sent a second time: then it was certainly not applied.
///
/// # Errors
/// Also if a lease is one that clients may not touch: for them there is none.
pub async fn exchange(
    cx: &Context,
    footprint: &Footprint,
    request: &Ask<'_>,
    what: &str,
    leases: &[i64],
    routed: &mut Routed,
) -> Result<(Grant, Answer), RequestError> {
    if leases.iter().any(|id| cx.ownership().is_reserved_lease(*id)) {
        return Err(Status::new(Code::NotFound, LEASE_NOT_FOUND).into());
    }
    let (grant, answer) = exchange::exchange(cx, footprint, request, what, routed).await?;
    if leases.is_empty() || !lacks_lease(&answer) || !lease::bring(cx, grant.shard, leases).await? {
        return Ok((grant, answer));
    }
    exchange::exchange(cx, footprint, request, what, routed).await
}

fn lacks_lease(answer: &Answer) -> bool {
    matches!(answer, Answer::Early(headers)
        if reply::status_of(headers).is_some_and(|s| s.message == LEASE_NOT_FOUND))
}
