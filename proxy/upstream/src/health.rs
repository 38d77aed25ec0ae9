//! Watches the members of a shard: who answers, who leads, what they say of themselves.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{AlarmRequest, AlarmResponse, StatusRequest, StatusResponse};
use tokio_util::sync::CancellationToken;

use crate::auth;
use crate::endpoint::EndpointState;
use crate::error::UpstreamError;
use crate::pool::{Place, Retry, ShardPool};
use crate::rpc;
use crate::shard::ShardState;

/// Time between two rounds. A member that stops answering is avoided after at most this and [`PATIENCE`].
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for one member's answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Asks every member of the shard for its status, forever, until cancelled.
pub async fn watch(shard: Arc<ShardState>, cancel: CancellationToken) {
    // A pool of one endpoint each: the check must reach that member and no other.
    let mut probes: Vec<(Arc<EndpointState>, ShardPool)> = Vec::new();
    let pool = ShardPool::new(shard.clone());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let endpoints = shard.endpoints();
        probes.retain(|(endpoint, _)| endpoints.iter().any(|e| Arc::ptr_eq(e, endpoint)));
        for endpoint in endpoints.iter() {
            if !probes.iter().any(|(known, _)| Arc::ptr_eq(known, endpoint)) {
                probes.push((endpoint.clone(), probe_pool(&shard, endpoint)));
            }
        }
        let round = async {
            let checks = probes.iter().map(|(endpoint, probe)| check(&shard, endpoint, probe));
            let answers = futures_util::future::join_all(checks).await;
            shard.set_reachable(answers.iter().any(|ok| *ok));
            if shard.is_reachable() {
                refresh_alarms(&pool).await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = round => {}
        }
    }
}

fn probe_pool(shard: &ShardState, endpoint: &Arc<EndpointState>) -> ShardPool {
    let state = ShardState::new(
        shard.id,
        shard.name.clone(),
        vec![endpoint.clone()],
        shard.bounds(),
        shard.credentials.clone(),
    );
    ShardPool::new(Arc::new(state))
}

async fn check(shard: &ShardState, endpoint: &EndpointState, probe: &ShardPool) -> bool {
    let mut call = rpc::call(rpc::STATUS, &StatusRequest::default(), Retry::Never);
    call.timeout = Some(PATIENCE);
    call.place = Place::Reserved;
    let answer: Result<StatusResponse, UpstreamError> = rpc::unary(probe, call).await;
    match answer {
        Ok(status) => {
            let before = shard.leads_elsewhere(endpoint);
            endpoint.set_cluster(status.header.map_or(0, |h| h.cluster_id));
            let elsewhere = shard.leads_elsewhere(endpoint);
            if let Some(found) = elsewhere {
                if before != elsewhere || endpoint.is_healthy() {
                    say_elsewhere(shard, endpoint, found);
                }
                endpoint.set_healthy(false);
                endpoint.set_seen(status);
                return false;
            }
            // A member without a leader can serve neither linearizable reads nor writes.
            endpoint.set_healthy(status.leader != 0 && !status.is_learner);
            endpoint.set_seen(status);
            true
        }
        Err(error) => {
            tracing::debug!(endpoint = %endpoint.endpoint.url, %error, "health check");
            endpoint.set_healthy(false);
            false
        }
    }
}

fn say_elsewhere(shard: &ShardState, endpoint: &EndpointState, found: u64) {
    tracing::error!(
        shard = %shard.name,
        endpoint = %endpoint.endpoint.url,
        found = format_args!("{found:x}"),
        expected = format_args!("{:x}", shard.expected_cluster().unwrap_or(0)),
        "the endpoint leads to another etcd cluster: it is not used"
    );
}

async fn refresh_alarms(pool: &ShardPool) {
    if pool.shard().credentials.is_some()
        && pool.shard().token.load().is_none()
        && let Err(error) = auth::login(pool, None).await
    {
        tracing::warn!(shard = %pool.shard().name, %error, "cannot log in");
        return;
    }
    // The default action is GET, the default alarm NONE: all alarms of all members.
    let mut call = rpc::call(rpc::ALARM, &AlarmRequest::default(), Retry::Never);
    call.timeout = Some(PATIENCE);
    let answer: Result<AlarmResponse, UpstreamError> = rpc::unary(pool, call).await;
    match answer {
        Ok(reply) => pool.shard().set_alarms(reply.alarms),
        Err(error) => tracing::debug!(shard = %pool.shard().name, %error, "alarms"),
    }
}
