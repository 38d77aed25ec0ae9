//! Where a request goes, and by what right.
//!
//! A write carries its routes' fences, so a shard that no longer owns one of them refuses it. A read is protected by the
//! session at its shard: whether it may be believed is asked when the answer has arrived, not before.
//!
//! Routes on one shard are one place: their revisions are the shard's own. A route that was moved has a line of revisions
//! for itself, and so is a place for itself.

use std::sync::Arc;

use etcd_prism_control::{NotServed, RouteLine, RouteView};
use etcd_prism_ownership::route::Observation;
use etcd_prism_ownership::value::{Fence, Stored};
use etcd_prism_ownership::{Answer, Reason};
use etcd_prism_routing::{Footprint, RouteId, Segment, ShardId};
use etcd_prism_wire::fence::{Condition, SeenFence};
use etcd_prism_wire::{Code, KeyRange, Status};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::{RequestError, TIMED_OUT, route_names};
use crate::metrics::Routed;

/// A route as it was when the right to serve it was given.
#[derive(Debug, Clone)]
struct Held {
    route: RouteId,
    view: Arc<RouteView>,
    epoch: i64,
}

/// A route that was moved, and its line.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'g> {
    pub route: RouteId,
    pub line: &'g Arc<RouteLine>,
}

/// The right to serve routes on one shard, all with one line of revisions.
#[derive(Debug, Clone)]
pub struct Grant {
    pub shard: ShardId,
    held: SmallVec<[Held; 1]>,
}

impl Grant {
    /// One right for what several are for, all on `shard`. It stands if all of them do.
    pub fn merged<'g>(shard: ShardId, grants: impl IntoIterator<Item = &'g Grant>) -> Self {
        let mut merged = Self { shard, held: SmallVec::new() };
        for held in grants.into_iter().flat_map(|g| &g.held) {
            let same = |h: &Held| h.route == held.route && h.view.generation == held.view.generation;
            if !merged.held.iter().any(same) {
                merged.held.push(held.clone());
            }
        }
        merged
    }

    /// The same routes as they are now; `None` while one of them is not served. Of another shard if they have moved.
    ///
    /// # Errors
    /// A route is refused, or the routes are on several shards now.
    pub fn renewed(&self, cx: &Context) -> Result<Option<Self>, RequestError> {
        let mut out = Self { shard: self.shard, held: SmallVec::new() };
        for held in &self.held {
            let view = cx.ownership().route(held.route).clone();
            let permit = match &view.answer {
                Answer::Permit(permit) => *permit,
                Answer::Wait(_) => return Ok(None),
                Answer::Refuse(reason) => return Err(refused(cx, held.route, reason)),
            };
            // What has a line has it alone.
            if !out.held.is_empty()
                && (permit.shard != out.shard || view.line.is_some() || out.line().is_some())
            {
                return Err(RequestError::Void);
            }
            out.shard = permit.shard;
            out.held.push(Held { route: held.route, view, epoch: permit.epoch });
        }
        Ok(Some(out))
    }

    pub fn routes(&self) -> impl Iterator<Item = RouteId> {
        self.held.iter().map(|h| h.route)
    }

    /// The routes of it that have a fence. The others are served as an etcd without fences would be, and take nothing from
    /// the protection of these.
    fn fenced(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|h| !h.view.unfenced)
    }

    pub fn is_fenced(&self) -> bool {
        self.fenced().next().is_some()
    }

    /// What a write is conditional on.
    pub fn conditions(&self) -> SmallVec<[Condition<'_>; 1]> {
        self.fenced().map(|h| Condition { key: &h.view.fence_key, epoch: h.epoch }).collect()
    }

    /// Whether a fence of these routes was written at this revision of the shard: no client's key was, then.
    pub fn wrote_fence_at(&self, raw: i64) -> bool {
        self.fenced().any(|held| held.epoch == raw)
    }

    /// Whether reads need no fence: a session protects them, or there is no fence.
    pub fn has_session(&self, cx: &Context) -> bool {
        !self.is_fenced() || cx.ownership().session_valid(self.shard)
    }

    /// Whether an answer that was asked for without a fence, and *has arrived*, may be passed on.
    pub fn may_release(&self, cx: &Context) -> bool {
        let ownership = cx.ownership();
        self.held.iter().all(|h| ownership.may_release(h.route, h.view.generation, self.shard))
    }

    /// Whether the right is still what it was.
    pub fn stands(&self, cx: &Context) -> bool {
        self.held.iter().all(|h| cx.ownership().route(h.route).generation == h.view.generation)
    }

    /// The last revision that cannot be read, watched or compared: what lies at or below it was not this shard's. 0 for a
    /// route that was moved: its line tells.
    pub fn floor(&self) -> i64 {
        self.held.iter().filter(|h| h.view.line.is_none()).map(|h| h.view.floor).max().unwrap_or(0)
    }

    /// The line of the route, if it was moved. `None`: revisions are the shard's own.
    #[inline]
    pub fn line(&self) -> Option<Moved<'_>> {
        match &self.held[..] {
            [held] => held.view.line.as_ref().map(|line| Moved { route: held.route, line }),
            _ => None,
        }
    }

    /// A fence did not hold. `revision`: of the reply that showed the fences, in the order of the conditions.
    pub fn refused(&self, cx: &Context, revision: i64, fences: &[SeenFence]) {
        for (held, seen) in self.fenced().zip(fences) {
            let fence = (seen.mod_revision > 0).then(|| (seen.mod_revision, Fence::decode(&seen.value)));
            cx.ownership().learn(held.route, self.shard, Observation { revision, fence });
        }
        cx.gateway().metrics.fence_refusals.increment(1);
    }
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub enum Placement {
    /// One place serves all of it.
    One(Grant),
    /// More than one would be needed: a grant for each.
    Spans(Spans),
}

/// One of the grants of a request that spans places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(usize);

impl Group {
    /// Of a request that has one grant.
    pub const ONLY: Self = Self(0);

    /// Its place in the list of grants.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The grants of a request that spans places: shards, or lines of revisions on one shard.
#[derive(Debug, Clone)]
pub struct Spans {
    pub grants: Vec<Grant>,
    /// For errors.
    pub names: String,
}

impl Spans {
    /// The pieces of the request's range by grant, in key order.
    ///
    /// # Errors
    /// A piece is of a route that none of the grants is for.
    pub fn segments<'a>(
        &self,
        cx: &'a Context,
        range: KeyRange<'a>,
    ) -> Result<Vec<Segment<'a, Group>>, RequestError> {
        let of = |route| self.grants.iter().position(|g| g.routes().any(|r| r == route)).map(Group);
        let segments = cx.gateway().keyspace.segments(range, of);
        let placed = segments.into_iter().map(|s| s.place.map(|place| Segment { keys: s.keys, place }));
        placed.collect::<Option<_>>().ok_or(RequestError::Void)
    }

    /// The grant of one of the [`segments`](Self::segments).
    ///
    /// # Errors
    /// None: there is a grant for every group.
    pub fn grant(&self, group: Group) -> Result<&Grant, RequestError> {
        self.grants.get(group.0).ok_or(RequestError::Void)
    }

    /// Whether one shard would do, were it not for the lines of revisions.
    pub fn is_on_one_shard(&self) -> bool {
        self.grants.windows(2).all(|pair| pair[0].shard == pair[1].shard)
    }

    /// Refuses what can be served in one place only.
    pub fn refused(&self, what: &str) -> RequestError {
        let why = if self.is_on_one_shard() {
            "they have different lines of revisions"
        } else {
            "they live on different shards"
        };
        RequestError::Spans(format!("{what} cannot span the routes {}: {why}", self.names))
    }
}

impl Placement {
    /// Places a request that touches these routes, at least one. Waits, at most until `deadline`, while a route is on the
    /// move or not known yet.
    ///
    /// # Errors
    /// A route is refused, or its state is still unknown at the deadline.
    pub async fn of(cx: &Context, footprint: &Footprint, deadline: Instant) -> Result<Self, RequestError> {
        let mut grants: SmallVec<[Grant; 1]> = SmallVec::new();
        for &route in footprint.routes() {
            let (view, permit) = cx.ownership().permit(route, deadline).await?;
            let held = Held { route, view, epoch: permit.epoch };
            let alone = held.view.line.is_some();
            match grants.iter_mut().find(|g| !alone && g.shard == permit.shard && g.line().is_none()) {
                Some(grant) => grant.held.push(held),
                None => grants.push(Grant { shard: permit.shard, held: SmallVec::from_iter([held]) }),
            }
        }
        if grants.len() == 1
            && let Some(grant) = grants.pop()
        {
            return Ok(Placement::One(grant));
        }
        let names = route_names(&cx.gateway().keyspace, footprint.routes());
        Ok(Placement::Spans(Spans { grants: grants.into_vec(), names }))
    }
}

fn refused(cx: &Context, route: RouteId, reason: &Reason) -> RequestError {
    let route = cx.gateway().keyspace.route(route).name.clone();
    NotServed::Refused { route, reason: reason.clone() }.into()
}

/// How long a request may wait for its place: what its shard would be given.
pub fn deadline(cx: &Context, footprint: &Footprint) -> Instant {
    let gateway = cx.gateway();
    let bounds = footprint.routes().iter().map(|r| gateway.shard(gateway.keyspace.shard_of(*r)).bounds());
    Instant::now() + bounds.map(|b| b.request_timeout).min().unwrap_or_default()
}

/// Bounds all steps of a request that has several, or is not on one shard only.
///
/// # Errors
/// The time is up: etcd's own error for that.
pub async fn bounded<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    let timed_out = |_| RequestError::from(Status::new(Code::Unavailable, TIMED_OUT));
    tokio::time::timeout_at(deadline, work).await.map_err(timed_out)?
}

/// Names the route of a request in its metrics.
pub fn account(routed: &mut Routed, footprint: &Footprint, spans: bool) {
    *routed = match footprint.routes().first() {
        Some(_) if spans => Routed::Spanning,
        Some(route) => Routed::Route(*route),
        None => Routed::None,
    };
}
