//! What the data path reads without a lock.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use etcd_prism_routing::{RouteId, ShardId};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::view::RouteView;

/// One route's place.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) view: ArcSwap<RouteView>,
    /// Told of every new view.
    pub(crate) changed: Notify,
}

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) routes: Vec<Slot>,
    /// By shard: until when its answers may be released, in nanoseconds; 0: not at all.
    deadlines: Vec<AtomicU64>,
    /// Counts changes of deadlines and views.
    changes: watch::Sender<u64>,
    /// Leases of sessions, of this proxy and of others, and of drivers' locks.
    pub(crate) leases: ArcSwap<HashSet<i64>>,
    pub(crate) clock: Clock,
}

impl Hub {
    pub(crate) fn new(views: Vec<RouteView>, shards: usize, clock: Clock) -> Self {
        let slot = |view| Slot { view: ArcSwap::from_pointee(view), changed: Notify::new() };
        Self {
            routes: views.into_iter().map(slot).collect(),
            deadlines: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            changes: watch::Sender::new(0),
            leases: ArcSwap::default(),
            clock,
        }
    }

    pub(crate) fn slot(&self, route: RouteId) -> &Slot {
        &self.routes[usize::from(route.0)]
    }

    #[inline]
    pub(crate) fn may_release(&self, route: RouteId, generation: u64, shard: ShardId) -> bool {
        let view = self.slot(route).view.load();
        view.generation == generation
            && view.permit().is_some()
            && (view.unfenced || self.session_valid(shard))
    }

    #[inline]
    pub(crate) fn session_valid(&self, shard: ShardId) -> bool {
        let deadline = self.deadlines[usize::from(shard.0)].load(Ordering::Acquire);
        // A session that does not count needs no look at the clock.
        deadline != 0 && self.clock.now() < deadline
    }

    /// Returns whether the session came or went with it, rather than its deadline having moved.
    pub(crate) fn set_deadline(&self, shard: ShardId, deadline: Option<u64>) -> bool {
        let new = deadline.unwrap_or(0);
        let old = self.deadlines[usize::from(shard.0)].swap(new, Ordering::AcqRel);
        (old == 0) != (new == 0)
    }

    pub(crate) fn set_view(&self, route: usize, view: RouteView) {
        let Some(slot) = self.routes.get(route) else { return };
        slot.view.store(Arc::new(view));
        slot.changed.notify_waiters();
    }

    pub(crate) fn tell(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
