//! Where the legs of a watcher that is created go.

use std::collections::BTreeSet;

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_wire::KeyRange;
use smallvec::SmallVec;

use super::driver::Driver;
use super::line::Start;
use super::watcher::{Leg, LegState, Legs};
use crate::error::RequestError;
use crate::place::{Grant, Moved, Spans};

/// Why a create cannot be placed now.
pub(super) enum Unplaced {
    /// Placed anew, it may be.
    Void,
    /// With the first revision that can be watched.
    Compacted(i64),
    Refused(String),
}

impl From<RequestError> for Unplaced {
    fn from(error: RequestError) -> Self {
        if error.may_pass() { Self::Void } else { Self::Refused(error.status().message.into_owned()) }
    }
}

impl Driver {
    /// The leg of a watcher on one shard.
    pub(super) fn leg_of_one(&self, grant: &Grant, keys: KeyRange<'_>, start: i64) -> Result<Legs, Unplaced> {
        let leg = match grant.line() {
            None if start > 0 && start <= grant.floor() => {
                return Err(Unplaced::Compacted(grant.floor() + 1));
            }
            None => leg(grant, keys, start, false),
            Some(Moved { line, .. }) => match Start::find(line, start) {
                Some(Start { shard, raw, at }) => Leg { shard, at: Some(at), ..leg(grant, keys, raw, false) },
                None => return Err(Unplaced::Compacted(line.floor() + 1)),
            },
        };
        Ok(SmallVec::from_iter([leg]))
    }

    /// One leg per shard over everything in between, so that a revision stays in one response.
    pub(super) fn legs_of_several(
        &self,
        spans: &Spans,
        keys: KeyRange<'_>,
        start: i64,
    ) -> Result<Legs, Unplaced> {
        if start != 0 {
            return Err(Unplaced::Refused(format!(
                "etcd-prism: a watch with a start revision cannot span the routes {}: each has a line of revisions of \
                 its own",
                spans.names
            )));
        }
        // The responses of two legs on one shard could not be told apart.
        let shards: BTreeSet<ShardId> = spans.grants.iter().map(|grant| grant.shard).collect();
        if shards.len() < spans.grants.len() {
            return Err(Unplaced::Refused(format!(
                "etcd-prism: a watch cannot span the routes {}: some of them are on one shard and have different lines of \
                 revisions; watch them one by one",
                spans.names
            )));
        }
        let mut legs = Legs::new();
        for segment in spans.segments(&self.cx, keys)? {
            let grant = spans.grant(segment.place)?;
            if let Some(leg) = legs.iter_mut().find(|l| l.shard == grant.shard) {
                leg.range_end = Bytes::copy_from_slice(segment.keys.range_end);
                continue;
            }
            let mut leg = leg(grant, segment.keys, 0, true);
            if let Some(Moved { line, .. }) = grant.line() {
                leg.at = Start::find(line, 0).map(|start| start.at);
            }
            legs.push(leg);
        }
        Ok(legs)
    }
}

fn leg(grant: &Grant, keys: KeyRange<'_>, start: i64, shared_range: bool) -> Leg {
    Leg {
        shard: grant.shard,
        grant: grant.clone(),
        at: None,
        key: Bytes::copy_from_slice(keys.key),
        range_end: Bytes::copy_from_slice(keys.range_end),
        upstream_id: 0,
        state: LegState::Waiting,
        next: start,
        progress_from: start,
        from_now: false,
        in_response: false,
        stale_progress: 0,
        shared_range,
    }
}
