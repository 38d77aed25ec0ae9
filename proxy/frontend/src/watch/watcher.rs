//! A client's watcher and its legs on the shards.

use bytes::Bytes;
use etcd_prism_routing::{RouteId, ShardId};
use smallvec::SmallVec;

/// Where a leg stands with its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LegState {
    /// To be created once the link is open.
    Waiting,
    /// The shard was asked to create it.
    Asked,
    /// The shard has it.
    Live,
}

/// The part of a watcher that one shard serves. Usually the only one.
#[derive(Debug)]
pub(super) struct Leg {
    pub shard: ShardId,
    /// What the shard watches.
    pub key: Bytes,
    pub range_end: Bytes,
    /// The watcher's id on the shard's stream; a new one each time it is created there.
    pub upstream_id: i64,
    pub state: LegState,
    /// The lowest revision that the client has not got. Nothing below is ever sent.
    pub next: i64,
    /// The shard was not yet at `next` when asked: created at its present, filtered.
    pub opened_at: i64,
    /// A declared fragment was sent and its rest is still to come.
    pub in_fragment: bool,
    /// Keys of other shards lie between: events are filtered by owner.
    pub shared_range: bool,
}

/// A watcher of a client's stream.
#[derive(Debug)]
pub(super) struct Watcher {
    /// The client's WatchCreateRequest.
    pub create: Bytes,
    /// The one route of its keys; `None` if there are several.
    pub route: Option<RouteId>,
    pub legs: SmallVec<[Leg; 1]>,
}

impl Watcher {
    /// Served by one shard: its revisions have one line.
    pub(super) fn is_whole(&self) -> bool {
        self.legs.len() == 1
    }

    pub(super) fn leg_mut(&mut self, shard: ShardId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.shard == shard)
    }

    /// Whether all legs are live.
    pub(super) fn is_live(&self) -> bool {
        self.legs.iter().all(|leg| leg.state == LegState::Live)
    }
}
