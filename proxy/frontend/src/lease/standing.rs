//! Whether what a shard has of a lease counts.
//!
//! A migration puts the lease of a key on the standby too. That is a *copy*: as long as the shard only follows, clients have
//! lost nothing if it is lost. Its record says for which routes it is there, and from the moment on at which the shard rules
//! one of them it counts, with nothing to be written for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_prism_routing::{RouteId, ShardId};
use etcd_prism_upstream::UpstreamError;

use super::record::Record;
use crate::context::Context;

/// Whether a shard rules a route; `None`: nobody here can tell at the moment.
pub(super) fn rules(cx: &Context, route: RouteId, shard: ShardId) -> Option<bool> {
    let view = cx.ownership().route(route);
    let permit = view.permit()?;
    if permit.shard == shard {
        return Some(true);
    }
    // As long as our session there stands, nobody has taken the route over.
    (view.unfenced || cx.ownership().session_valid(permit.shard)).then_some(false)
}

/// Whether the copy counts that a shard has by this record: it rules a route that the copy is for. To be asked after what was
/// found of the copy was answered. `None`: nobody can tell at the moment.
pub(super) fn counts(cx: &Context, shard: ShardId, record: &Record) -> Option<bool> {
    counts_beside(cx, shard, record, None)
}

/// The same, for one who knows that the shard follows in this route, unless it is seen to rule it: nobody rules a sealed one.
pub(super) fn counts_beside(
    cx: &Context,
    shard: ShardId,
    record: &Record,
    followed: Option<RouteId>,
) -> Option<bool> {
    let of_route = |name: &String| {
        let mut routes = cx.gateway().keyspace.routes();
        let found = routes.find(|(_, route)| route.name == *name);
        // A route that is no more: its keys are another one's.
        let Some((route, _)) = found else { return Some(true) };
        rules(cx, route, shard).or_else(|| (followed == Some(route)).then_some(false))
    };
    any(record.copy_of.iter().map(of_route))
}

/// Whether keys are among these that the shard does not merely follow; `None`: nobody can tell at the moment.
pub(super) fn holds(cx: &Context, shard: ShardId, keys: &BTreeMap<RouteId, Bytes>) -> Option<bool> {
    any(keys.keys().map(|route| rules(cx, *route, shard)))
}

/// Whether any is; what is not known matters where none is.
fn any(found: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    for one in found {
        if one == Some(true) {
            return one;
        }
        unknown |= one.is_none();
    }
    (!unknown).then_some(false)
}

/// Whether a copy that is gone counts cannot be told at the moment.
pub(super) fn unknown(cx: &Context, shard: ShardId) -> UpstreamError {
    UpstreamError::Unreachable {
        shard: cx.gateway().shard(shard).name.clone(),
        reason: "whether it rules a route whose keys it has copies of is not known at the moment".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_counts_is_enough_and_one_unknown_is_too_much() {
        let found = |found: &[Option<bool>]| any(found.iter().copied());
        assert_eq!(found(&[]), Some(false));
        assert_eq!(found(&[Some(false), Some(false)]), Some(false));
        assert_eq!(found(&[Some(false), None]), None);
        assert_eq!(found(&[None, Some(false)]), None);
        assert_eq!(found(&[None, Some(true)]), Some(true));
        assert_eq!(found(&[Some(true), None]), Some(true));
    }
}
