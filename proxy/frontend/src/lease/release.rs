//! What is left of copies when a migration has ended.
//!
//! The copies stay where they are, under no key, and end with their leases: a revoke that is meant for one could meet a key that
//! a client has just put there. And their records stay, because a renewal that has seen a copy and finds no record of it takes it
//! for a lease that was granted there. But they say no more that the copies are for a route.

use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::keys;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{ShardPool, UpstreamError};

use super::record::{self, Created, Record};
use crate::context::Context;

/// Takes a route out of the records that the shard `on` has of the copies of leases on `standby`, which neither rules it nor is
/// about to. Doing it again does no harm.
///
/// # Errors
/// The shard does not answer, or has records that cannot be read. A part may have been done.
pub async fn release(cx: &Context, route: &str, standby: ShardUid, on: ShardId) -> Result<(), UpstreamError> {
    let pool = cx.worker.pool(on);
    let mut from = keys::LEASES.key.to_vec();
    loop {
        let (records, next) = record::all_of(pool, standby, &from).await?;
        for (id, record) in records {
            one(pool, route, standby, id, record).await?;
        }
        match next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

async fn one(
    pool: &ShardPool,
    route: &str,
    standby: ShardUid,
    id: i64,
    mut seen: Record,
) -> Result<(), UpstreamError> {
    while seen.is_copy() && seen.copy_of.contains(route) {
        let mut routes = seen.copy_of.clone();
        routes.remove(route);
        match record::replace(pool, id, standby, &seen, &Record::copy(routes)).await? {
            Created::Ours | Created::NoLease => return Ok(()),
            Created::Known => {}
        }
        // Somebody else has written it.
        match record::list(pool, id).await?.remove(&standby) {
            Some(now) => seen = now,
            None => return Ok(()),
        }
    }
    Ok(())
}
