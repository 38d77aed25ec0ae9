//! What all workers share, and what each has of its own.

use std::sync::Arc;

use arc_swap::ArcSwap;
use etcd_prism_control::Ownership;
use etcd_prism_ownership::Answer;
use etcd_prism_routing::{Keyspace, RouteId, ShardId};
use etcd_prism_upstream::{ShardPool, ShardState};
use etcd_prism_wire::Status;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::compaction::Samples;
use crate::identity::Identity;
use crate::lease::Registry;
use crate::metrics::Metrics;
use crate::provenance;
use crate::trace::Tracer;

/// What the proxy refuses before a shard sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest request, in bytes, as etcd's `--max-request-bytes`.
    pub max_request_bytes: usize,
    /// Longest gRPC message from a client, in bytes: etcd's is 512 KiB above the longest request.
    pub max_message_bytes: usize,
    /// As etcd's `--max-txn-ops`.
    pub max_txn_ops: usize,
}

/// Renders all metrics in Prometheus' text format.
#[derive(Clone)]
pub struct Exposition(pub Arc<dyn Fn() -> String + Send + Sync>);

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exposition")
    }
}

/// Shared by all workers.
#[derive(Debug)]
pub struct Gateway {
    pub identity: Identity,
    /// From keys to routes. Which shard a route is on at present is ownership's to say.
    pub keyspace: Keyspace,
    pub ownership: Arc<Ownership>,
    pub shards: Vec<Arc<ShardState>>,
    pub limits: ArcSwap<Limits>,
    pub leases: Registry,
    pub provenance: provenance::Cache,
    pub samples: Samples,
    pub metrics: Metrics,
    pub exposition: Exposition,
    pub tracer: Tracer,
    /// Cancelled when the proxy drains: streams end with `Unavailable`, which clients resume elsewhere.
    pub draining: CancellationToken,
}

impl Gateway {
    /// The limits in force; they change when the configuration is reloaded.
    pub fn limits(&self) -> Limits {
        **self.limits.load()
    }

    /// The shard that a route is on, as far as is known.
    pub fn shard_of(&self, route: RouteId) -> ShardId {
        match self.ownership.route(route).answer {
            Answer::Permit(permit) => permit.shard,
            _ => self.keyspace.shard_of(route),
        }
    }

    /// The shard of the default route.
    pub fn home_id(&self) -> ShardId {
        self.shard_of(self.keyspace.default_route())
    }

    pub fn home(&self) -> &Arc<ShardState> {
        self.shard(self.home_id())
    }

    pub fn shard(&self, id: ShardId) -> &Arc<ShardState> {
        &self.shards[usize::from(id.0)]
    }

    /// The shard of a given name, for requests that name one.
    pub fn shard_named(&self, name: &str) -> Option<&Arc<ShardState>> {
        self.shards.iter().find(|s| s.name == name)
    }
}

/// One worker: the gateway and its own connections to every shard, in the order of the shards.
#[derive(Debug)]
pub struct Worker {
    pub gateway: Arc<Gateway>,
    pools: Vec<ShardPool>,
    /// Turns for ranges that have to be held to be merged.
    pub merges: Semaphore,
    /// Turns for large replies that have to be held to be translated. Not those of [`Self::merges`]: what is merged may have
    /// to be translated first.
    pub translations: Semaphore,
}

/// Ranges merged at once by a worker.
const MERGES: usize = 2;
/// Large replies translated at once by a worker.
const TRANSLATIONS: usize = 2;

impl Worker {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let pools = gateway.shards.iter().map(|s| ShardPool::new(s.clone())).collect();
        let (merges, translations) = (Semaphore::new(MERGES), Semaphore::new(TRANSLATIONS));
        Self { gateway, pools, merges, translations }
    }

    pub fn pool(&self, shard: ShardId) -> &ShardPool {
        &self.pools[usize::from(shard.0)]
    }

    pub fn home(&self) -> &ShardPool {
        self.pool(self.gateway.home_id())
    }

    pub fn pools(&self) -> &[ShardPool] {
        &self.pools
    }
}

/// What a handler of a unary method gives back.
pub type Handled<T> = Result<T, Status>;
