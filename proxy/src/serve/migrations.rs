//! The migrations of this proxy.

use std::sync::Arc;

use etcd_prism_frontend::context::Context;
use etcd_prism_frontend::{Worker, lease};
use etcd_prism_migration::ship::Leases;
use etcd_prism_migration::{Deps, Host};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{ShardPool, UpstreamError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Drives migrations over connections of its own.
pub(super) fn host(worker: Arc<Worker>) -> Arc<Host> {
    let gateway = worker.gateway.clone();
    Host::new(Deps {
        ownership: gateway.ownership.clone(),
        keyspace: gateway.keyspace.clone(),
        pools: gateway.shards.iter().map(|shard| ShardPool::new(shard.clone())).collect(),
        leases: Arc::new(Bring(Context { worker, connection: Arc::default(), headers: Arc::default() })),
    })
}

/// As for a client's write whose lease the shard lacks.
struct Bring(Context);

impl Leases for Bring {
    fn bring<'a>(&'a self, shard: ShardId, leases: &'a [i64]) -> BoxFuture<'a, Result<bool, UpstreamError>> {
        async move {
            let mut all = true;
            for id in leases {
                // Each for itself: together they would only say whether any is there.
                let brought = lease::bring(&self.0, shard, std::slice::from_ref(id)).await;
                all &= brought.map_err(|error| UpstreamError::Status(error.status()))?;
            }
            Ok(all)
        }
        .boxed()
    }
}
