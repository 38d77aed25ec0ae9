//! What the engine wants to know of a shard.

use std::time::Duration;

use etcd_prism_control::call;
use etcd_prism_ownership::drain::SessionList;
use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::migration::{Record, View};
use etcd_prism_ownership::value::{Fence, ReignRecord, Session, Stored};
use etcd_prism_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_prism_proto::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_prism_upstream::{ShardPool, UpstreamError};
use etcd_prism_wire::keys::KeyRange;

/// Reads fence, last reign and migration record of a route on a shard, linearizably and at one revision.
pub(crate) async fn read(pool: &ShardPool, route: &str, patience: Duration) -> Result<View, UpstreamError> {
    let one = |key: &[u8]| call::range(KeyRange::single(key));
    let ranges = vec![one(&keys::fence(route)), last_reign(route), one(&keys::migration(route))];
    let answers = call::read(pool, ranges, patience).await?;
    let [fence, reign, record] = &answers.ranges[..] else {
        return Err(call::bad(pool, "not the answers that were asked for".to_owned()));
    };
    let mut view = View::empty(answers.revision);
    view.fence = first::<Fence>(fence);
    view.reign = first::<ReignRecord>(reign);
    view.record = first::<Record>(record);
    Ok(view)
}

/// Lists the sessions at a shard linearizably.
pub(crate) async fn sessions(pool: &ShardPool, patience: Duration) -> Result<SessionList, UpstreamError> {
    let answers = call::read(pool, vec![call::range(keys::SESSIONS)], patience).await?;
    let session = |kv: &etcd_prism_proto::mvccpb::KeyValue| match keys::parse(&kv.key) {
        Some(Key::Session(proxy)) => Some((proxy, Session::decode(&kv.value))),
        _ => None,
    };
    let sessions = answers.ranges.iter().flat_map(|range| &range.kvs).filter_map(session).collect();
    Ok(SessionList { revision: answers.revision, sessions })
}

/// The shard's present revision, read linearizably.
pub(crate) async fn revision(
    pool: &ShardPool,
    route: &str,
    patience: Duration,
) -> Result<i64, UpstreamError> {
    let fence = keys::fence(route);
    let range = RangeRequest { keys_only: true, ..call::range(KeyRange::single(&fence)) };
    Ok(call::read(pool, vec![range], patience).await?.revision)
}

/// Numbers of reigns sort as their keys do.
fn last_reign(route: &str) -> RangeRequest {
    RangeRequest {
        key: keys::reign(route, 0).into(),
        range_end: [&keys::reign(route, u64::MAX)[..], b"\0"].concat().into(),
        limit: 1,
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Key.into(),
        ..RangeRequest::default()
    }
}

type Decoded<T> = Option<(i64, Result<T, etcd_prism_ownership::ValueError>)>;

pub(crate) fn first<T: Stored>(reply: &RangeResponse) -> Decoded<T> {
    reply.kvs.first().map(|kv| (kv.mod_revision, T::decode(&kv.value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reign_of_the_route_and_of_no_other_is_looked_at() {
        let range = last_reign("pods");
        let range = KeyRange::new(&range.key, &range.range_end);
        for n in [0, 1, u64::MAX] {
            assert!(range.contains(&keys::reign("pods", n)));
        }
        assert!(!range.contains(&keys::reign("podsx", 1)) && !range.contains(&keys::reign("pod", 1)));
    }
}
