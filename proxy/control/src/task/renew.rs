//! Renews the lease of the session at a shard.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_routing::ShardId;

use crate::call;
use crate::ownership::Ownership;

/// Between attempts.
const RETRY: Duration = Duration::from_millis(100);
/// Longest sleep: tokio's clock stands still while the machine is suspended.
const NAP: Duration = Duration::from_secs(1);

pub(crate) async fn run(own: Arc<Ownership>, shard: ShardId) {
    let pool = &own.pools[usize::from(shard.0)];
    // The granted TTL is never below the one asked for.
    let (ttl, margin) = (own.options.ttl_nanos(), own.options.margin_nanos());
    loop {
        let renewal = {
            let state = own.state.lock();
            if state.closed {
                return;
            }
            state.shard(shard).session.renewal()
        };
        let Some((lease, due)) = renewal else {
            own.signals.shard(shard).renew.notified().await;
            continue;
        };
        let sent = own.hub.clock.now();
        if sent < due {
            tokio::time::sleep(Duration::from_nanos(due - sent).min(NAP)).await;
            continue;
        }
        // Due a third into the TTL, so this is what is left of it.
        let end = due.saturating_add(ttl / 3 * 2).saturating_sub(margin);
        if sent >= end {
            own.lose(shard, "its lease was not renewed in time");
            continue;
        }
        let patience = own.options.patience().min(Duration::from_nanos(end - sent));
        match call::keep_alive(pool, lease, patience).await {
            Ok((0, _)) => own.lose(shard, "its lease has ended"),
            Ok((ttl, revision)) => {
                let ttl = ttl.unsigned_abs().saturating_mul(1_000_000_000);
                own.update(|state| {
                    state.shard_mut(shard).session.renewed(lease, sent, ttl);
                    state.reached(shard, revision);
                });
            }
            Err(error) => {
                tracing::debug!(shard = %pool.shard().name, %error, "renewal");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
