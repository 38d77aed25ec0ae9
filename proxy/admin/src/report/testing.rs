//! A report in which all is well.

use etcd_prism_control::{OwnershipSnapshot, RouteSnapshot, RouteState};

use super::{Endpoint, Interval, Proxy, Route, Shard, StatusReport, Support, Verdict};

pub(crate) fn report() -> StatusReport {
    let route = |name: &str, prefix: Option<&str>| Route {
        name: name.to_owned(),
        shard: name.to_owned(),
        default: prefix.is_none(),
        prefixes: prefix.iter().map(|p| (*p).to_owned()).collect(),
        intervals: vec![Interval { start: "/a".to_owned(), end: "/b".to_owned() }],
    };
    StatusReport {
        proxy: Proxy {
            version: "0.1.0".to_owned(),
            cluster_id: "c1".to_owned(),
            member_id: "a1".to_owned(),
            uptime_seconds: 11_530,
            draining: false,
        },
        routes: vec![route("pods", Some("/registry/pods/")), route("rest", None)],
        shards: vec![shard("pods", "pods"), Shard { home: true, ..shard("rest", "rest") }],
        ownership: ownership(),
        warnings: Vec::new(),
    }
}

fn ownership() -> OwnershipSnapshot {
    let route = |name: &str| RouteSnapshot {
        name: name.to_owned(),
        state: RouteState::Served,
        reason: None,
        shard: Some(name.to_owned()),
        epoch: 5,
        reign: 1,
        generation: 1,
        definition: "abc".to_owned(),
        alarms: Vec::new(),
    };
    OwnershipSnapshot {
        fences: true,
        routes: vec![route("pods"), route("rest")],
        ..OwnershipSnapshot::default()
    }
}

/// A shard of two members; the first leads.
pub(crate) fn shard(name: &str, cluster: &str) -> Shard {
    let endpoint = |i: u64| Endpoint {
        url: format!("http://{name}-{i}"),
        healthy: true,
        leader: i == 0,
        learner: false,
        version: "3.7.1".to_owned(),
        cluster_id: cluster.to_owned(),
        member_id: format!("{i:x}"),
        db_size: 500,
        db_size_in_use: 400,
        quota: 1000,
        raft_term: 2,
        revision: 42,
        elsewhere: None,
        last_seen_ms: Some(1500),
        errors: Vec::new(),
    };
    Shard {
        name: name.to_owned(),
        home: false,
        reachable: true,
        has_leader: true,
        revision: 42,
        version: Some("3.7.1".to_owned()),
        support: Support { verdict: Verdict::Good, reason: None },
        endpoints: vec![endpoint(0), endpoint(1)],
        alarms: Vec::new(),
        in_flight: 0,
        max_in_flight: 100,
        breaker_open: false,
        seconds_since_compaction: Some(60),
        compactions_skipped: 0,
    }
}
