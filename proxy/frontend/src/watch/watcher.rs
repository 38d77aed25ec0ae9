//! A client's watcher and its legs on the shards.

use bytes::Bytes;
use etcd_prism_routing::{RouteId, ShardId};
use smallvec::SmallVec;

use super::cut::Due;
use super::line::InReign;
use crate::place::Grant;

/// Where a leg stands with its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LegState {
    /// Its route is not served as it was: nothing is asked for.
    Held,
    /// Its route is not served at the moment: the shard has it, and what it sends is kept.
    Paused,
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
    /// By what right it is served. Of an ended reign: by what right the route is served now.
    pub grant: Grant,
    /// The reign that it is in; `None`: the route was never moved, and its revisions are the shard's. All revisions here are
    /// the shard's own.
    pub at: Option<InReign>,
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

pub(super) type Legs = SmallVec<[Leg; 1]>;

/// A watcher of a client's stream.
#[derive(Debug)]
pub(super) struct Watcher {
    /// The client's WatchCreateRequest.
    pub create: Bytes,
    /// The one route of its keys; `None` if there are several.
    pub route: Option<RouteId>,
    pub legs: Legs,
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
        let revision = self.within(revision);
        self.state == LegState::Live && self.progress_from <= revision && self.next <= revision + 1
    }

    /// A revision of the shard as far as it says anything of the leg's reign.
    pub(super) fn within(&self, revision: i64) -> i64 {
        self.at.as_ref().map_or(revision, |at| at.span.within(revision))
    }

    /// What the client is shown for a revision of the shard.
    pub(super) fn shown(&self, revision: i64) -> i64 {
        self.at.as_ref().map_or(revision, |at| at.span.shown(revision))
    }

    /// What the client has still to get.
    pub(super) fn due(&self) -> Due {
        Due { next: self.next, span: self.at.as_ref().map(|at| at.span) }
    }

    /// What comes for it may be passed on only while its route is served as it was.
    pub(super) fn needs_right(&self) -> bool {
        !self.is_ended() && !matches!(self.state, LegState::Held | LegState::Paused)
    }

    /// It reads a reign that has ended: what it gets there cannot change any more, whoever serves the route.
    pub(super) fn is_ended(&self) -> bool {
        self.at.as_ref().is_some_and(|at| at.span.is_ended())
    }

    /// The client has all of its reign: it goes on in the next.
    pub(super) fn is_over(&self) -> bool {
        self.at.as_ref().is_some_and(|at| at.span.is_over(self.next))
    }

    /// Whether it can go on where the shard shows nothing at or below `floor`.
    pub(super) fn may_resume(&self, floor: i64) -> bool {
        self.next == 0 || self.next > floor
    }

    /// Its stream is gone.
    pub(super) fn lose(&mut self) {
        self.state = match self.state {
            LegState::Held | LegState::Paused => LegState::Held,
            LegState::Waiting | LegState::Asked | LegState::Live => LegState::Waiting,
        };
        self.in_response = false;
        self.from_now = false;
        self.stale_progress = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(state: LegState) -> Leg {
        Leg {
            shard: ShardId(0),
            grant: Grant::merged(ShardId(0), []),
            at: None,
            key: Bytes::new(),
            range_end: Bytes::new(),
            upstream_id: 1,
            state,
            next: 7,
            progress_from: 5,
            from_now: true,
            in_response: true,
            stale_progress: 3,
            shared_range: false,
        }
    }

    #[test]
    fn a_leg_whose_route_is_not_served_is_not_asked_for_again_when_its_stream_is_gone() {
        use LegState::{Asked, Held, Live, Paused, Waiting};
        for (before, after) in
            [(Held, Held), (Paused, Held), (Waiting, Waiting), (Asked, Waiting), (Live, Waiting)]
        {
            let mut leg = leg(before);
            leg.lose();
            assert_eq!(leg.state, after, "{before:?}");
            assert!(!leg.from_now && !leg.in_response && leg.stale_progress == 0);
            // Where its client left off.
            assert_eq!(leg.next, 7);
        }
    }

    #[test]
    fn progress_is_told_only_of_what_was_delivered_on_a_route_that_is_served() {
        assert!(leg(LegState::Live).may_tell(6));
        assert!(!leg(LegState::Live).may_tell(5));
        for state in [LegState::Held, LegState::Paused, LegState::Waiting, LegState::Asked] {
            assert!(!leg(state).may_tell(6), "{state:?}");
        }
        let future = Leg { progress_from: 9, ..leg(LegState::Live) };
        assert!(!future.may_tell(8) && future.may_tell(9));
    }
}
