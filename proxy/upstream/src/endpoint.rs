//! One member of a shard, as configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use etcd_prism_config::{Endpoint, Scheme};
use etcd_prism_proto::etcdserverpb::StatusResponse;
use etcd_prism_tls::ReloadingClientConfig;
use http::uri::Authority;
use tokio::time::Instant;

use crate::dial::Dial;

/// The last answer of an endpoint to `Maintenance.Status`.
#[derive(Debug, Clone)]
pub struct Seen {
    pub status: StatusResponse,
    pub at: Instant,
}

/// What all workers know of one endpoint.
#[derive(Debug)]
pub struct EndpointState {
    pub endpoint: Endpoint,
    pub authority: Authority,
    pub(crate) tls: Option<Arc<ReloadingClientConfig>>,
    /// `None`: a TCP connection of the system's.
    pub(crate) dial: Option<Arc<dyn Dial>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keepalive_interval: Duration,
    healthy: AtomicBool,
    /// The id of the etcd cluster that last answered here; 0: none has.
    cluster: AtomicU64,
    seen: ArcSwapOption<Seen>,
}

impl EndpointState {
    pub fn new(
        endpoint: Endpoint,
        tls: Option<Arc<ReloadingClientConfig>>,
        connect_timeout: Duration,
        keepalive_interval: Duration,
    ) -> Result<Self, http::uri::InvalidUri> {
        let authority = endpoint.url.trim_start_matches(endpoint.scheme.as_str()).trim_start_matches("://");
        let authority = Authority::try_from(authority.trim_end_matches('/'))?;
        Ok(Self {
            endpoint,
            authority,
            tls,
            dial: None,
            connect_timeout,
            keepalive_interval,
            // Until proven otherwise: nothing else is known to be better.
            healthy: AtomicBool::new(true),
            cluster: AtomicU64::new(0),
            seen: ArcSwapOption::empty(),
        })
    }

    /// The same, reached in another way.
    #[must_use]
    pub fn through(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = Some(dial);
        self
    }

    pub fn is_tls(&self) -> bool {
        self.endpoint.scheme == Scheme::Https
    }

    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        if self.healthy.swap(healthy, Ordering::Relaxed) != healthy {
            if healthy {
                tracing::info!(endpoint = %self.endpoint.url, "endpoint is healthy again");
            } else {
                tracing::info!(endpoint = %self.endpoint.url, "endpoint is unhealthy: others are preferred");
            }
        }
    }

    /// The etcd cluster that last answered at this address.
    pub fn cluster(&self) -> Option<u64> {
        Some(self.cluster.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    pub(crate) fn set_cluster(&self, id: u64) {
        if id != 0 {
            self.cluster.store(id, Ordering::Relaxed);
        }
    }

    /// The last status, however old; `None` before first contact.
    pub fn seen(&self) -> Option<Arc<Seen>> {
        self.seen.load_full()
    }

    pub(crate) fn set_seen(&self, status: StatusResponse) {
        self.seen.store(Some(Arc::new(Seen { status, at: Instant::now() })));
    }

    /// Whether this member said that it leads, and is not a learner.
    pub fn is_leader(&self) -> bool {
        self.seen.load().as_ref().is_some_and(|seen| {
            let member = seen.status.header.as_ref().map_or(0, |h| h.member_id);
            member != 0 && seen.status.leader == member && !seen.status.is_learner
        })
    }
}
