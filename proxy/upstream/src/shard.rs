//! What all workers know of one shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use etcd_prism_proto::etcdserverpb::AlarmMember;
use etcd_prism_routing::ShardId;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::auth::Credentials;
use crate::endpoint::{EndpointState, Seen};

/// The bounds of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Longest time from a request's arrival to the head of the shard's answer.
    pub request_timeout: Duration,
    /// Requests that wait for this shard at once, over all clients.
    pub max_in_flight: usize,
}

/// One shard.
#[derive(Debug)]
pub struct ShardState {
    pub id: ShardId,
    pub name: String,
    endpoints: ArcSwap<Vec<Arc<EndpointState>>>,
    bounds: ArcSwap<Bounds>,
    in_flight: AtomicUsize,
    /// Since when the health check has reached no endpoint.
    unreachable_since: Mutex<Option<Instant>>,
    alarms: ArcSwap<Vec<AlarmMember>>,
    /// The etcd cluster that this shard is; 0: not known.
    cluster: AtomicU64,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) token: ArcSwapOption<HeaderValue>,
    /// Held while logging in: a thousand refused requests make one login.
    pub(crate) logging_in: tokio::sync::Mutex<()>,
}

impl ShardState {
    pub fn new(
        id: ShardId,
        name: String,
        endpoints: Vec<Arc<EndpointState>>,
        bounds: Bounds,
        credentials: Option<Credentials>,
    ) -> Self {
        Self {
            id,
            name,
            endpoints: ArcSwap::from_pointee(endpoints),
            bounds: ArcSwap::from_pointee(bounds),
            in_flight: AtomicUsize::new(0),
            unreachable_since: Mutex::new(None),
            alarms: ArcSwap::from_pointee(Vec::new()),
            cluster: AtomicU64::new(0),
            credentials,
            token: ArcSwapOption::empty(),
            logging_in: tokio::sync::Mutex::new(()),
        }
    }

    pub fn endpoints(&self) -> Arc<Vec<Arc<EndpointState>>> {
        self.endpoints.load_full()
    }

    /// Replaces the endpoints and bounds. Requests in flight finish on their old connections.
    pub fn reconfigure(&self, endpoints: Vec<Arc<EndpointState>>, bounds: Bounds) {
        self.endpoints.store(Arc::new(endpoints));
        self.bounds.store(Arc::new(bounds));
    }

    pub fn bounds(&self) -> Bounds {
        **self.bounds.load()
    }

    /// Says which etcd cluster the shard is. From now on no connection to another one is used, old ones included.
    pub fn expect_cluster(&self, id: u64) {
        if self.cluster.swap(id, Ordering::AcqRel) != id {
            tracing::debug!(shard = %self.name, cluster_id = format_args!("{id:x}"), "cluster expected");
        }
    }

    /// The etcd cluster that the shard is, once somebody has said so.
    pub fn expected_cluster(&self) -> Option<u64> {
        Some(self.cluster.load(Ordering::Acquire)).filter(|id| *id != 0)
    }

    /// Whether an endpoint leads to another etcd cluster than this shard: which one.
    pub fn leads_elsewhere(&self, endpoint: &EndpointState) -> Option<u64> {
        let expected = self.expected_cluster()?;
        endpoint.cluster().filter(|found| *found != expected)
    }

    /// The other cluster that the endpoints lead to, if all of them do.
    pub fn wrong_cluster(&self) -> Option<u64> {
        let endpoints = self.endpoints.load();
        let mut found = endpoints.iter().map(|endpoint| self.leads_elsewhere(endpoint));
        let first = found.next()??;
        found.all(|other| other.is_some()).then_some(first)
    }

    /// The alarms that the shard last reported.
    pub fn alarms(&self) -> Arc<Vec<AlarmMember>> {
        self.alarms.load_full()
    }

    pub(crate) fn set_alarms(&self, alarms: Vec<AlarmMember>) {
        self.alarms.store(Arc::new(alarms));
    }

    /// The freshest status of any member; `None` before first contact.
    pub fn seen(&self) -> Option<Arc<Seen>> {
        self.endpoints.load().iter().filter_map(|e| e.seen()).max_by_key(|s| s.at)
    }

    /// The leader's last status, or the freshest one.
    pub fn leader_seen(&self) -> Option<Arc<Seen>> {
        self.endpoints.load().iter().find(|e| e.is_leader()).and_then(|e| e.seen()).or_else(|| self.seen())
    }

    /// Whether the last health check reached an endpoint.
    pub fn is_reachable(&self) -> bool {
        self.unreachable_since.lock().is_none()
    }

    pub(crate) fn set_reachable(&self, reachable: bool) {
        let mut since = self.unreachable_since.lock();
        match (reachable, since.is_some()) {
            (true, true) => {
                *since = None;
                tracing::info!(shard = %self.name, "shard is reachable again");
            }
            (false, false) => {
                *since = Some(Instant::now());
                tracing::info!(shard = %self.name, "shard is unreachable: its routes answer etcd's timeout until it is back");
            }
            _ => {}
        }
    }

    /// The breaker: true once the shard has been unreachable for as long as a request would wait. Requests are then
    /// refused at once; the health check closes the breaker again.
    pub fn is_broken(&self) -> bool {
        let bound = self.bounds().request_timeout;
        self.unreachable_since.lock().is_some_and(|since| since.elapsed() >= bound)
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place among the requests in flight; `reserved` requests (health probes) may go over the bound a little, so
    /// that a flood does not take the proxy out of a load balancer.
    pub(crate) fn admit(self: &Arc<Self>, reserved: bool) -> Option<InFlight> {
        const RESERVED_PLACES: usize = 64;
        let bound = self.bounds().max_in_flight + if reserved { RESERVED_PLACES } else { 0 };
        let admitted = self.in_flight.fetch_add(1, Ordering::Relaxed) < bound;
        let place = InFlight { shard: self.clone() };
        admitted.then_some(place)
    }

    /// Endpoints by preference: the leader, the healthy, the rest. Within a class the configured order.
    pub fn by_preference(&self) -> Vec<Arc<EndpointState>> {
        let mut endpoints: Vec<_> = self.endpoints.load().iter().cloned().collect();
        endpoints.sort_by_key(|e| (!e.is_healthy(), !e.is_leader()));
        endpoints
    }
}

/// A place among the requests in flight, given back when dropped.
#[derive(Debug)]
pub struct InFlight {
    shard: Arc<ShardState>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shard.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
