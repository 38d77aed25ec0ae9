//! Gauges of ownership, refreshed from time to time.

use std::time::Duration;

use metrics::{counter, gauge};

use crate::ownership::Ownership;
use crate::snapshot::RouteState;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the gauges up to date.
pub(crate) async fn run(own: std::sync::Arc<Ownership>) {
    // Known before the first one, so that a rate over it begins at zero.
    for shard in own.snapshot().shards {
        metrics::counter!("etcd_prism_session_losses_total", "shard" => shard.name).increment(0);
    }
    // Counters show from the beginning, so that the first increment is seen as one.
    for pool in &own.pools {
        let name = pool.shard().name.clone();
        counter!("etcd_prism_session_losses_total", "shard" => name).increment(0);
    }
    for source in ["read", "watch", "refused"] {
        counter!("etcd_prism_fence_observations_total", "source" => source).increment(0);
    }
    loop {
        refresh(&own);
        tokio::time::sleep(INTERVAL).await;
    }
}

fn refresh(own: &Ownership) {
    let snapshot = own.snapshot();
    for shard in snapshot.shards {
        let name = shard.name;
        gauge!("etcd_prism_session_valid", "shard" => name.clone()).set(u8::from(shard.session));
        let left = shard.session_ms.map_or(0.0, |ms| Duration::from_millis(ms).as_secs_f64());
        gauge!("etcd_prism_session_seconds_to_deadline", "shard" => name.clone()).set(left);
        gauge!("etcd_prism_shard_identity_problem", "shard" => name).set(u8::from(shard.problem.is_some()));
    }
    let states = [
        (RouteState::Served, "served"),
        (RouteState::Unfenced, "unfenced"),
        (RouteState::Waiting, "waiting"),
        (RouteState::Refused, "refused"),
    ];
    for route in &snapshot.routes {
        for (state, name) in states {
            gauge!("etcd_prism_route_state", "route" => route.name.clone(), "state" => name)
                .set(u8::from(route.state == state));
        }
    }
}
