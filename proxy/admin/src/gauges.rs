//! Shards as metrics.

use std::time::Duration;

use etcd_prism_frontend::Gateway;
use etcd_prism_frontend::view::ShardView;
use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

/// The handles of one shard's metrics, looked up once.
struct Handles {
    up: Gauge,
    has_leader: Gauge,
    breaker_open: Gauge,
    db_size: Gauge,
    db_size_in_use: Gauge,
    db_quota: Gauge,
    revision: Gauge,
    in_flight: Gauge,
    endpoints_healthy: Gauge,
    alarms: [(&'static str, Gauge); 2],
    compaction_age: Gauge,
    compactions_skipped: Counter,
}

/// The gauges of all shards.
pub(crate) struct ShardGauges {
    shards: Vec<Handles>,
}

impl ShardGauges {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        describe();
        Self { shards: gateway.shards.iter().map(|s| handles(&s.name)).collect() }
    }

    /// Sets all gauges to what is known now.
    pub(crate) fn refresh(&self, gateway: &Gateway) {
        let compactions = gateway.samples.report();
        for ((shard, handles), (age, skipped)) in gateway.shards.iter().zip(&self.shards).zip(compactions) {
            handles.in_flight.set(shard.in_flight() as f64);
            handles.breaker_open.set(flag(shard.is_broken()));
            handles.refresh(&ShardView::of(shard), age, skipped);
        }
    }
}

impl Handles {
    fn refresh(&self, view: &ShardView, compaction_age: Option<Duration>, compactions_skipped: u64) {
        self.up.set(flag(view.reachable));
        self.has_leader.set(flag(view.has_leader()));
        self.revision.set(view.revision() as f64);
        self.endpoints_healthy.set(view.members.iter().filter(|m| m.healthy).count() as f64);
        if let Some(best) = view.best() {
            self.db_size.set(best.status.db_size as f64);
            self.db_size_in_use.set(best.status.db_size_in_use as f64);
            self.db_quota.set(best.status.db_size_quota as f64);
        }
        for (name, gauge) in &self.alarms {
            gauge.set(view.alarms.iter().filter(|a| a.alarm().as_str_name() == *name).count() as f64);
        }
        if let Some(age) = compaction_age {
            self.compaction_age.set(age.as_secs_f64());
        }
        self.compactions_skipped.absolute(compactions_skipped);
    }
}

fn handles(shard: &str) -> Handles {
    let shard = || shard.to_owned();
    let alarm =
        |name: &'static str| (name, gauge!("etcd_prism_shard_alarms", "shard" => shard(), "alarm" => name));
    Handles {
        up: gauge!("etcd_prism_shard_up", "shard" => shard()),
        has_leader: gauge!("etcd_prism_shard_has_leader", "shard" => shard()),
        breaker_open: gauge!("etcd_prism_shard_breaker_open", "shard" => shard()),
        db_size: gauge!("etcd_prism_shard_db_size_bytes", "shard" => shard()),
        db_size_in_use: gauge!("etcd_prism_shard_db_size_in_use_bytes", "shard" => shard()),
        db_quota: gauge!("etcd_prism_shard_db_quota_bytes", "shard" => shard()),
        revision: gauge!("etcd_prism_shard_revision", "shard" => shard()),
        in_flight: gauge!("etcd_prism_shard_in_flight", "shard" => shard()),
        endpoints_healthy: gauge!("etcd_prism_shard_endpoints_healthy", "shard" => shard()),
        alarms: [alarm("NOSPACE"), alarm("CORRUPT")],
        compaction_age: gauge!("etcd_prism_shard_compaction_age_seconds", "shard" => shard()),
        compactions_skipped: counter!("etcd_prism_shard_compactions_skipped_total", "shard" => shard()),
    }
}

fn describe() {
    for (name, unit, text) in [
        ("etcd_prism_shard_up", Unit::Count, "1 if an endpoint answered the last health check."),
        ("etcd_prism_shard_has_leader", Unit::Count, "1 if an endpoint that answers knows a leader."),
        ("etcd_prism_shard_breaker_open", Unit::Count, "1 if requests to the shard are refused at once."),
        ("etcd_prism_shard_db_size_bytes", Unit::Bytes, "Size of the leader's database, as last seen."),
        ("etcd_prism_shard_db_size_in_use_bytes", Unit::Bytes, "The part of it that is in use."),
        (
            "etcd_prism_shard_db_quota_bytes",
            Unit::Bytes,
            "Its quota; 0 if the shard does not tell (etcd 3.5).",
        ),
        ("etcd_prism_shard_revision", Unit::Count, "The shard's own revision, as last seen."),
        ("etcd_prism_shard_in_flight", Unit::Count, "Requests that wait for the shard."),
        (
            "etcd_prism_shard_endpoints_healthy",
            Unit::Count,
            "Endpoints that answer, know a leader and are no learners.",
        ),
        ("etcd_prism_shard_alarms", Unit::Count, "Members that raised the alarm."),
        (
            "etcd_prism_shard_compaction_age_seconds",
            Unit::Seconds,
            "Since the last compaction through this proxy.",
        ),
    ] {
        describe_gauge!(name, unit, text);
    }
    describe_counter!(
        "etcd_prism_shard_compactions_skipped_total",
        "Compactions that left the shard out, because no sample of its revision was old enough."
    );
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}
