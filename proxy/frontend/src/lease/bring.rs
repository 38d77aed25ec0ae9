//! Brings a lease to a shard that lacks it.
//!
//! What must not happen is that a lease comes back where it has ended. So a shard gets it once: before the grant a
//! [record](super::record) of the shard is created on every shard that has the lease, and whoever finds one there does not
//! grant. Of two proxies at once the records decide; the other waits for the lease to appear, and takes over from one that
//! went silent.

use std::time::Duration;

use etcd_prism_routing::{RouteId, ShardId};
use etcd_prism_wire::{Code, Status};
use tokio::time::Instant;

use super::attempt::{Attempt, State};
use super::copies::{Copying, Kept};
use crate::context::Context;
use crate::error::{RequestError, TIMED_OUT};

/// Until whoever is bringing a lease, and is not seen to get on with it, is taken for dead.
const SILENCE: Duration = Duration::from_secs(1);
/// Before the second look at what somebody else does; then ever longer.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_AT_MOST: Duration = Duration::from_millis(80);

/// A write was refused because `shard` lacks one of `leases`. Grants those that live on other shards, under the same id and
/// with the TTL they were granted with; true if any is there now. A lease that has ended on any shard stays ended.
///
/// # Errors
/// A shard that has the lease, or may have it, does not answer; or somebody else is at it for longer than `shard` is given
/// for a request.
pub async fn bring(cx: &Context, shard: ShardId, leases: &[i64]) -> Result<bool, RequestError> {
    let mut brought = false;
    for &id in leases {
        brought |= settled(cx, shard, id, None).await?;
    }
    Ok(brought)
}

/// Makes sure that a standby of a route has a copy of a lease that is alive elsewhere, and that it is no more than that: that
/// its loss does not count, nor the lease end by it, until the standby rules the route. False: the lease has ended.
///
/// # Errors
/// As [`bring`]; or there is no such route.
pub async fn copy(cx: &Context, route: &str, standby: ShardId, id: i64) -> Result<bool, RequestError> {
    settled(cx, standby, id, Some(named(cx, route)?)).await
}

/// The same of a lease that the standby may have; and what it has of it then.
///
/// # Errors
/// As [`copy`].
pub async fn keep(cx: &Context, route: &str, standby: ShardId, id: i64) -> Result<Kept, RequestError> {
    if cx.ownership().is_reserved_lease(id) {
        return Ok(Kept::Own);
    }
    if !copy(cx, route, standby, id).await? {
        return Ok(Kept::Ended);
    }
    Copying { at: Attempt { cx, shard: standby, id }, route: named(cx, route)? }.kept().await
}

fn named(cx: &Context, route: &str) -> Result<RouteId, RequestError> {
    let mut routes = cx.gateway().keyspace.routes();
    let found = routes.find(|(_, known)| known.name == route);
    let unknown = || Status::new(Code::Internal, format!("etcd-prism: no route {route}"));
    Ok(found.ok_or_else(unknown)?.0)
}

async fn settled(
    cx: &Context,
    shard: ShardId,
    id: i64,
    copy_of: Option<RouteId>,
) -> Result<bool, RequestError> {
    let work = || {
        let cx = cx.clone();
        async move { until_settled(&cx, shard, id, copy_of).await }
    };
    cx.gateway().leases.flights.join((id, shard, copy_of), work).await
}

async fn until_settled(
    cx: &Context,
    shard: ShardId,
    id: i64,
    copy_of: Option<RouteId>,
) -> Result<bool, RequestError> {
    let attempt = Attempt { cx, shard, id };
    let mut seen = None;
    let mut since = Instant::now();
    let until = since + cx.gateway().shard(shard).bounds().request_timeout;
    let mut look = LOOK;
    loop {
        // Counted from when it was first seen: how long it has been so before is for no clock here to tell.
        let silent = seen.is_some() && since.elapsed() >= SILENCE;
        let dead = if silent { seen.as_ref() } else { None };
        let state = match copy_of {
            Some(route) => Copying { at: attempt, route }.run(dead).await?,
            None => attempt.run(dead).await?,
        };
        let others = match state {
            State::Here => return Ok(true),
            State::Ended => return Ok(false),
            State::Others(progress) => Some(progress),
        };
        if Instant::now() >= until {
            // It may be there in a moment: "not found" would be final to clients.
            return Err(Status::new(Code::Unavailable, TIMED_OUT).into());
        }
        if others != seen {
            (seen, since) = (others, Instant::now());
        }
        tokio::time::sleep(look).await;
        look = (look * 2).min(LOOKS_AT_MOST);
    }
}
