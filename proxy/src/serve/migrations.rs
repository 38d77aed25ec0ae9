//! The migrations of this proxy.

use std::sync::Arc;

use etcd_prism_frontend::context::Context;
use etcd_prism_frontend::{Worker, lease};
use etcd_prism_migration::ship::{Kept, Leases};
use etcd_prism_migration::{Deps, Host};
use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{ShardPool, UpstreamError};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

/// Drives migrations over connections of its own.
pub(super) fn host(worker: Arc<Worker>) -> Arc<Host> {
    let gateway = worker.gateway.clone();
    Host::new(Deps {
        ownership: gateway.ownership.clone(),
        keyspace: gateway.keyspace.clone(),
        pools: gateway.shards.iter().map(|shard| ShardPool::new(shard.clone())).collect(),
        leases: Arc::new(Copies(Context { worker, connection: Arc::default(), headers: Arc::default() })),
    })
}

/// Leases brought at once.
const AT_ONCE: usize = 16;

/// Beside the leases that clients' writes bring to shards.
struct Copies(Context);

impl Leases for Copies {
    fn bring<'a>(
        &'a self,
        route: &'a str,
        standby: ShardId,
        leases: &'a [i64],
    ) -> BoxFuture<'a, Result<bool, UpstreamError>> {
        async move {
            let bring = |id: &i64| lease::copy(&self.0, route, standby, *id);
            let brought = stream::iter(leases).map(bring).buffer_unordered(AT_ONCE);
            let brought = brought.map_err(|error| UpstreamError::Status(error.status()));
            brought.try_fold(true, |all, one| async move { Ok(all & one) }).await
        }
        .boxed()
    }

    fn keep<'a>(
        &'a self,
        route: &'a str,
        standby: ShardId,
        lease: i64,
    ) -> BoxFuture<'a, Result<Kept, UpstreamError>> {
        async move {
            let kept = lease::keep(&self.0, route, standby, lease).await;
            Ok(match kept.map_err(|error| UpstreamError::Status(error.status()))? {
                lease::Kept::Copy => Kept::Copy,
                lease::Kept::Own => Kept::Own,
                lease::Kept::Ended => Kept::Ended,
                lease::Kept::Unknown => Kept::Unknown,
            })
        }
        .boxed()
    }

    fn release<'a>(
        &'a self,
        route: &'a str,
        standby: ShardUid,
        on: ShardId,
    ) -> BoxFuture<'a, Result<(), UpstreamError>> {
        lease::release(&self.0, route, standby, on).boxed()
    }
}
