//! From the state that the health checks keep to a report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_prism_frontend::Gateway;
use etcd_prism_frontend::version::{self, Support};
use etcd_prism_frontend::view::{MemberView, ShardView};
use etcd_prism_proto::etcdserverpb::AlarmMember;
use etcd_prism_upstream::ShardState;
use etcd_prism_upstream::endpoint::EndpointState;

use crate::report::{self, StatusReport, Verdict};
use crate::{keys, warnings};

/// The report of this moment. Asks nobody.
pub(crate) fn report(gateway: &Gateway, started: Instant) -> StatusReport {
    let home = gateway.home_id();
    let compactions = gateway.samples.report();
    let shard = |(shard, compaction): (&Arc<ShardState>, &(Option<Duration>, u64))| {
        let traffic = Traffic {
            home: shard.id == home,
            in_flight: shard.in_flight(),
            max_in_flight: shard.bounds().max_in_flight,
            breaker_open: shard.is_broken(),
            compaction: *compaction,
        };
        let mut report = shard_report(&ShardView::of(shard), &traffic);
        let endpoints = shard.endpoints();
        let stray = |e: &Arc<EndpointState>| Some((e.endpoint.url.clone(), shard.leads_elsewhere(e)?));
        mark(&mut report.endpoints, endpoints.iter().filter_map(stray));
        report
    };
    let shard_name = |route| gateway.shard(gateway.shard_of(route)).name.clone();
    let mut report = StatusReport {
        proxy: report::Proxy {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: hex(gateway.identity.cluster_id),
            member_id: hex(gateway.identity.member_id),
            uptime_seconds: started.elapsed().as_secs(),
            draining: gateway.draining.is_cancelled(),
        },
        routes: keys::routes(&gateway.keyspace, shard_name),
        shards: gateway.shards.iter().zip(&compactions).map(shard).collect(),
        ownership: gateway.ownership.snapshot(),
        warnings: Vec::new(),
    };
    report.warnings = warnings::of(&report);
    report
}

/// What is known of a shard beside what its members say.
struct Traffic {
    home: bool,
    in_flight: usize,
    max_in_flight: usize,
    breaker_open: bool,
    /// Time since the last one, and how many were skipped.
    compaction: (Option<Duration>, u64),
}

fn shard_report(view: &ShardView, traffic: &Traffic) -> report::Shard {
    let versions = view.members.iter().filter_map(|m| m.status()).map(|s| s.version.as_str());
    let version = version::lowest(versions);
    report::Shard {
        name: view.name.clone(),
        home: traffic.home,
        reachable: view.reachable,
        has_leader: view.has_leader(),
        revision: view.revision(),
        version: version.map(str::to_owned),
        support: support(version),
        endpoints: view.members.iter().map(endpoint).collect(),
        alarms: view.alarms.iter().map(alarm).collect(),
        in_flight: traffic.in_flight,
        max_in_flight: traffic.max_in_flight,
        breaker_open: traffic.breaker_open,
        seconds_since_compaction: traffic.compaction.0.map(|t| t.as_secs()),
        compactions_skipped: traffic.compaction.1,
    }
}

fn support(version: Option<&str>) -> report::Support {
    let support = version.map(version::support);
    let verdict = match support {
        None => Verdict::Unknown,
        Some(Support::Unsupported(_)) => Verdict::Unsupported,
        Some(Support::Old(_)) => Verdict::Old,
        Some(Support::Good) => Verdict::Good,
    };
    report::Support { verdict, reason: support.and_then(Support::reason).map(str::to_owned) }
}

/// Notes which endpoints lead to another etcd cluster, and to which. They are found by address: a reload may have changed
/// them meanwhile.
fn mark(endpoints: &mut [report::Endpoint], strays: impl Iterator<Item = (String, u64)>) {
    for (url, cluster) in strays {
        if let Some(endpoint) = endpoints.iter_mut().find(|e| e.url == url) {
            endpoint.elsewhere = Some(hex(cluster));
        }
    }
}

fn endpoint(member: &MemberView) -> report::Endpoint {
    let Some(seen) = &member.seen else {
        return report::Endpoint { url: member.url.clone(), ..report::Endpoint::default() };
    };
    let status = &seen.status;
    let header = status.header.unwrap_or_default();
    report::Endpoint {
        url: member.url.clone(),
        healthy: member.healthy,
        leader: member.leads(),
        learner: status.is_learner,
        version: status.version.clone(),
        cluster_id: hex(header.cluster_id),
        member_id: hex(header.member_id),
        db_size: status.db_size,
        db_size_in_use: status.db_size_in_use,
        quota: status.db_size_quota,
        raft_term: status.raft_term,
        revision: header.revision,
        elsewhere: None,
        last_seen_ms: Some(seen.at.elapsed().as_millis().try_into().unwrap_or(u64::MAX)),
        errors: status.errors.iter().map(|e| e.trim().to_owned()).collect(),
    }
}

fn alarm(alarm: &AlarmMember) -> report::Alarm {
    report::Alarm { member_id: hex(alarm.member_id), alarm: alarm.alarm().as_str_name().to_owned() }
}

fn hex(id: u64) -> String {
    format!("{id:x}")
}

#[cfg(test)]
mod tests;
