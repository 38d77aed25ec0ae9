//! A client's watcher and its legs on the shards.

use bytes::Bytes;
use etcd_prism_routing::{RouteId, ShardId};
use smallvec::SmallVec;

use crate::place::Grant;

/// Where a leg stands with its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LegState {
    /// Its route is not served as it was: nothing is asked for.
    Held,
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
    /// By what right it is served.
    pub grant: Grant,
    /// What the shard watches.
    pub key: Bytes,
    pub range_end: Bytes,
    /// The watcher's id on the shard's stream; a new one each time it is created there.
    pub upstream_id: i64,
    pub state: LegState,
    /// The lowest revision that the client has not got. Nothing below is ever sent. 0: not known yet.
    pub next: i64,
    /// Progress below this is not told: the start that the client asked for.
    pub progress_from: i64,
    /// Asked from "now" instead of from `next`: the shard has not reached `next`, and a watcher of the future would hold up
    /// progress for its stream.
    pub from_now: bool,
    /// The shard has sent a part of a fragmented response.
    pub in_response: bool,
    /// Answers to progress requests that were sent before this leg was created and do not cover it.
    pub stale_progress: usize,
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
    /// Covered by an answer at `revision` that its shard gave for all watchers of the link.
    pub(super) fn is_covered(&self, shard: ShardId, revision: i64) -> bool {
        self.is_whole()
            && self
                .legs
                .iter()
                .all(|leg| leg.shard == shard && leg.stale_progress == 0 && leg.may_tell(revision))
    }

    /// Served by one shard: its revisions have one line.
    pub(super) fn is_whole(&self) -> bool {
        self.legs.len() == 1
    }

    pub(super) fn leg_mut(&mut self, shard: ShardId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.shard == shard)
    }

    /// Whether all legs are live.
    pub(super) fn is_live(&self) -> bool {
        !self.legs.is_empty() && self.legs.iter().all(|leg| leg.state == LegState::Live)
    }
}

impl Leg {
    /// Whether progress at `revision` may be told to the client.
    pub(super) fn may_tell(&self, revision: i64) -> bool {
        self.state == LegState::Live && self.progress_from <= revision && self.next <= revision + 1
    }

    /// Whether it can go on where the shard shows nothing at or below `floor`.
    pub(super) fn may_resume(&self, floor: i64) -> bool {
        self.next == 0 || self.next > floor
    }

    /// Its stream is gone.
    pub(super) fn lose(&mut self) {
        if self.state != LegState::Held {
            self.state = LegState::Waiting;
        }
        self.in_response = false;
        self.from_now = false;
        self.stale_progress = 0;
    }
}
