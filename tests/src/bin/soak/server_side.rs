//! What an API server says of itself.

use std::collections::BTreeMap;

use etcd_prism_tests::kube::apiserver::ApiServer;
use etcd_prism_tests::kube::metrics::Metrics;

const INITIALIZATIONS: &str = "apiserver_watch_cache_initializations_total";
const CONSISTENT_READS: &str = "apiserver_watch_cache_consistent_read_total";
const CHECKS: &str = "apiserver_storage_consistency_checks_total";

/// Its metrics at the beginning and at the end, and what its log tells of.
pub(crate) struct ServerSide {
    name: String,
    before: Metrics,
    after: Metrics,
    faults: Vec<String>,
}

impl ServerSide {
    pub(crate) async fn new(server: &mut ApiServer, before: Metrics) -> Self {
        let name = format!("kube-apiserver {}", server.minor());
        Self { name, before, after: server.metrics().await, faults: server.faults() }
    }

    /// How often caches were filled since the beginning.
    pub(crate) fn refilled(&self) -> u64 {
        total(&self.growth(INITIALIZATIONS, &[]))
    }

    /// Prints it, and adds what is not as it must be. `due`: whether every cache must have been compared by now.
    pub(crate) fn print(&self, due: bool, violations: &mut Vec<String>) {
        println!("{}:", self.name);
        let mut must_be_empty = |what: &str, found: String| {
            if !found.is_empty() {
                violations.push(format!("{}: {what}: {found}", self.name));
            }
        };
        must_be_empty("caches filled again", text(&self.growth(INITIALIZATIONS, &[])));

        let good = self.growth(CONSISTENT_READS, &[("success", "true"), ("fallback", "false")]);
        let all = self.growth(CONSISTENT_READS, &[]);
        println!("  consistent reads: {}, served by the cache: {}", total(&all), total(&good));
        // A machine that stands still for 3 s makes one or the other fall back; a proxy that withholds progress, each.
        if total(&all) - total(&good) > total(&all) / 1_000 {
            must_be_empty(
                "consistent reads that the cache did not serve",
                format!("{all:?}, served: {good:?}"),
            );
        }

        let caches = self.after.by_resource(INITIALIZATIONS, &[]);
        for status in ["success", "failure", "error"] {
            let checks = self.after.by_resource(CHECKS, &[("status", status)]);
            println!("  consistency checks that ended in {status}: {}; {}", total(&checks), text(&checks));
            if status != "success" {
                must_be_empty(&format!("consistency checks that ended in {status}"), text(&checks));
                continue;
            }
            let unchecked: Vec<_> =
                caches.keys().filter(|cache| !checks.contains_key(*cache)).cloned().collect();
            println!("  watch caches: {}, with a success: {}", caches.len(), caches.len() - unchecked.len());
            if due {
                must_be_empty("caches that were never compared with etcd", unchecked.join(", "));
            }
        }
        violations.extend(self.faults.iter().cloned());
    }

    fn growth(&self, name: &str, labels: &[(&str, &str)]) -> BTreeMap<String, f64> {
        self.after.growth(&self.before, name, labels)
    }
}

fn total(by_resource: &BTreeMap<String, f64>) -> u64 {
    by_resource.values().map(|count| *count as u64).sum()
}

fn text(by_resource: &BTreeMap<String, f64>) -> String {
    let counts: Vec<_> = by_resource.iter().map(|(resource, count)| format!("{resource} {count}")).collect();
    counts.join(", ")
}
