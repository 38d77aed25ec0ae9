//! What everybody else asks about ownership.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use etcd_prism_ownership::id::{ProxyId, ShardUid};
use etcd_prism_ownership::route::Observation;
use etcd_prism_ownership::{Answer, Permit};
use etcd_prism_routing::{RouteId, RouteSpec, ShardId};
use etcd_prism_upstream::{ShardPool, ShardState};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::call;
use crate::hub::Hub;
use crate::options::Options;
use crate::snapshot::OwnershipSnapshot;
use crate::state::State;
use crate::task::Signals;
use crate::view::{NotServed, RouteView};

/// Longest wait for the shards when the sessions are given back.
const FAREWELL: Duration = Duration::from_secs(1);

/// Who may write and read each route, as far as this proxy knows. What the data path asks takes no lock.
#[derive(Debug)]
pub struct Ownership {
    pub(crate) hub: Hub,
    pub(crate) state: Mutex<State>,
    pub(crate) signals: Signals,
    pub(crate) pools: Vec<ShardPool>,
    /// The states of the pools' shards, by id.
    pub(crate) upstream: Vec<Arc<ShardState>>,
    pub(crate) specs: Vec<RouteSpec>,
    pub(crate) options: Options,
    pub(crate) id: ProxyId,
    /// When the proxy started, in milliseconds since the epoch.
    pub(crate) started: i64,
}

/// A revoke that is under way.
#[derive(Debug)]
pub struct Revoking<'o> {
    ownership: &'o Ownership,
    id: u64,
}

impl Revoking<'_> {
    /// A shard has answered: nothing will happen there any more.
    pub fn told(&self, shard: ShardId) {
        let waited_for = self.ownership.state.lock().revokes.told(self.id, shard);
        self.look_again(waited_for);
    }

    fn look_again(&self, waited_for: bool) {
        if waited_for {
            self.ownership.update(|_| ());
        }
    }
}

impl Drop for Revoking<'_> {
    fn drop(&mut self) {
        let waited_for = self.ownership.state.lock().revokes.end(self.id);
        self.look_again(waited_for);
    }
}

impl Ownership {
    /// The route as it is now.
    #[inline]
    pub fn route(&self, route: RouteId) -> Guard<Arc<RouteView>> {
        self.hub.slot(route).view.load()
    }

    /// The route with its permit. Waits, at most until `deadline`, while it is moving or not known yet.
    ///
    /// # Errors
    /// The route is refused, or still waits at the deadline.
    pub async fn permit(
        &self,
        route: RouteId,
        deadline: Instant,
    ) -> Result<(Arc<RouteView>, Permit), NotServed> {
        let slot = self.hub.slot(route);
        loop {
            // Before the look, so that no change is missed.
            let changed = slot.changed.notified();
            let view = slot.view.load_full();
            match &view.answer {
                Answer::Permit(permit) => {
                    let permit = *permit;
                    return Ok((view, permit));
                }
                Answer::Refuse(reason) => {
                    return Err(NotServed::Refused { route: self.name(route), reason: reason.clone() });
                }
                Answer::Wait(reason) => {
                    if tokio::time::timeout_at(deadline, changed).await.is_err() {
                        return Err(NotServed::Waited { route: self.name(route), reason: reason.clone() });
                    }
                }
            }
        }
    }

    /// Takes what a refused write or read said of the route's fence. Wakes waiters when the answer changes.
    pub fn learn(&self, route: RouteId, shard: ShardId, observation: Observation) {
        if !self.options.fences {
            return;
        }
        metrics::counter!("etcd_prism_fence_observations_total", "source" => "refused").increment(1);
        self.update(|state| state.observe(usize::from(route.0), shard, observation));
    }

    /// To be held while a lease of clients is revoked, and taken before the last look whether its keys' routes are served:
    /// no seal is acknowledged before those that came first are over.
    pub fn revoking(&self) -> Revoking<'_> {
        Revoking { ownership: self, id: self.state.lock().revokes.begin() }
    }

    /// Whether an unfenced answer, event or progress of the shard may be passed on that was asked for when the route had
    /// this generation. To be asked after it has arrived.
    #[inline]
    pub fn may_release(&self, route: RouteId, generation: u64, shard: ShardId) -> bool {
        self.hub.may_release(route, generation, shard)
    }

    /// Whether a fence that was seen tells of a migration.
    pub fn is_migrating(&self) -> bool {
        self.state.lock().is_migrating()
    }

    /// Whether the session at the shard stands now.
    #[inline]
    pub fn session_valid(&self, shard: ShardId) -> bool {
        self.hub.session_valid(shard)
    }

    /// Changes whenever [`Self::may_release`] may have: a session ended or began, a route is served otherwise.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.hub.subscribe()
    }

    /// Whether the lease carries a session or the lock of a migration's driver, of this proxy or, as far as known, of
    /// another: clients neither see it nor touch it.
    pub fn is_reserved_lease(&self, id: i64) -> bool {
        self.hub.leases.load().contains(&id)
    }

    /// The shard's identity, as last read; `None` before that, and without fences.
    pub fn shard_uid(&self, shard: ShardId) -> Option<ShardUid> {
        self.state.lock().shards.get(usize::from(shard.0))?.live?.id
    }

    /// For `status`, `/readyz` and metrics.
    pub fn snapshot(&self) -> OwnershipSnapshot {
        OwnershipSnapshot::of(self)
    }

    /// Ends every session, after which no read of this proxy is released any more: drivers need not wait for the leases to
    /// expire. Waits for the shards a second at most.
    pub async fn close(&self) {
        let leases: Vec<(usize, i64)> = self.update(|state| {
            state.closed = true;
            let held = |(i, s): (usize, &crate::state::Shard)| s.session.lease().map(|lease| (i, lease));
            state.shards.iter().enumerate().filter_map(held).collect()
        });
        let farewells = leases.into_iter().filter_map(|(shard, lease)| {
            let pool = self.pools.get(shard)?;
            Some(async move {
                if let Err(error) = call::revoke(pool, lease, FAREWELL).await {
                    tracing::info!(shard = %pool.shard().name, %error, "the session is left to expire");
                }
            })
        });
        futures_util::future::join_all(farewells).await;
    }

    /// Changes the engines and shows what came of it.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let out = change(&mut state);
        // Without fences the views say so from the beginning, and the engines are told nothing.
        if self.options.fences {
            state.publish(&self.hub, &self.signals);
        }
        out
    }

    fn name(&self, route: RouteId) -> String {
        self.specs.get(usize::from(route.0)).map(|spec| spec.name.clone()).unwrap_or_default()
    }
}
