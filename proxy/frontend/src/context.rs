//! What a handler knows of the request beside its message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use etcd_prism_routing::ShardId;
use http::HeaderMap;

use crate::gateway::Worker;

/// A client's connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// One above the shard that this connection last wrote to or read from; 0: none yet. An API server has a connection
    /// per resource, so this tells where a lease that names no key will be needed.
    last_shard: AtomicU16,
}

impl Connection {
    pub fn used(&self, shard: ShardId) {
        self.last_shard.store(shard.0.saturating_add(1), Ordering::Relaxed);
    }

    pub fn last_shard(&self) -> Option<ShardId> {
        self.last_shard.load(Ordering::Relaxed).checked_sub(1).map(ShardId)
    }
}

/// A request's surroundings.
#[derive(Debug, Clone)]
pub struct Context {
    pub worker: Arc<Worker>,
    pub connection: Arc<Connection>,
    /// The request's own headers.
    pub headers: Arc<HeaderMap>,
}

impl Context {
    pub fn ownership(&self) -> &etcd_prism_control::Ownership {
        &self.worker.gateway.ownership
    }

    pub fn gateway(&self) -> &crate::gateway::Gateway {
        &self.worker.gateway
    }
}
