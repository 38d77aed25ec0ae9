//! What a soak found.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_tests::kube::informer::Seen;
use etcd_prism_tests::kube::load::Tally;
use etcd_prism_tests::kube::metrics::Metrics;
use etcd_prism_tests::kube::objects::Kind;

use crate::server_side::ServerSide;

/// An API server compares each cache with etcd every 5 to 7.5 minutes.
const FIRST_CHECK_DUE: Duration = Duration::from_secs(8 * 60);

/// One proxy's own view.
pub(crate) struct ProxySide {
    name: &'static str,
    requests: f64,
    watch_events: f64,
    fenced_writes: f64,
    /// Writes that a fence refused, and were placed anew.
    refusals: f64,
    /// By method and code.
    errors: BTreeMap<String, f64>,
    resident_bytes: u64,
}

impl ProxySide {
    pub(crate) fn new(name: &'static str, metrics: &Metrics, resident_bytes: u64) -> Self {
        let requests = "etcd_prism_requests_total";
        let mut errors = BTreeMap::new();
        for sample in metrics.select(requests, &[]).filter(|sample| sample.label("code") != "OK") {
            let what = format!("{} {}", sample.label("method"), sample.label("code"));
            *errors.entry(what).or_default() += sample.value;
        }
        let watch_events = metrics.sum("etcd_prism_watch_events_total", &[]);
        Self {
            name,
            requests: metrics.sum(requests, &[]),
            watch_events,
            fenced_writes: metrics.sum("etcd_prism_fenced_writes_total", &[]),
            refusals: metrics.sum("etcd_prism_fence_refusals_total", &[]),
            errors,
            resident_bytes,
        }
    }

    fn print(&self) {
        let Self { name, requests, watch_events, fenced_writes, refusals, errors, resident_bytes } = self;
        println!(
            "{name}: {requests} requests, {fenced_writes} fenced writes ({refusals} refused by a fence), \
             {watch_events} watch events, {} MiB resident",
            resident_bytes >> 20
        );
        for (what, count) in errors {
            println!("  {count} ended in {what}");
        }
    }
}

pub(crate) struct Report {
    /// Without proxies between.
    pub(crate) direct: bool,
    pub(crate) length: Duration,
    /// How many compactions were due.
    pub(crate) compactions_due: u64,
    pub(crate) tally: Tally,
    pub(crate) informers: Vec<(Kind, Seen)>,
    pub(crate) servers: Vec<ServerSide>,
    pub(crate) proxies: Vec<ProxySide>,
    /// Compacted and present revision of each shard.
    pub(crate) compacted: BTreeMap<&'static str, (i64, i64)>,
}

impl Report {
    /// Prints it; what is not as it must be.
    pub(crate) fn print(&self) -> Vec<String> {
        let mut violations = Vec::new();
        println!("\n{} minutes of work", self.length.as_secs() / 60);
        for (what, count) in &self.tally.done {
            println!("  {what}: {count}");
        }
        println!(
            "  slowest: {:?}; longest wait of the load for a processor: {:?}",
            self.tally.slowest, self.tally.stall
        );
        let mut failures = self.tally.failures.clone();
        for (kind, seen) in &self.informers {
            let lost = seen.violations.iter().map(|text| format!("watch of {}: {text}", kind.resource()));
            failures.extend(lost);
            if seen.relists > 0 {
                failures.push(format!("watch of {}: listed again {} times", kind.resource(), seen.relists));
            }
        }
        println!("events at informers: {}", self.informers.iter().map(|(_, seen)| seen.events).sum::<u64>());
        println!("failures: {}", failures.len());
        violations.append(&mut failures);
        let due = self.length >= FIRST_CHECK_DUE;
        for server in &self.servers {
            server.print(due, &mut violations);
        }
        if !due {
            println!(
                "(comparisons of caches with etcd are due after {} minutes)",
                FIRST_CHECK_DUE.as_secs() / 60
            );
        }
        let refilled: u64 = self.servers.iter().map(|server| server.refilled()).sum();
        println!("watch-cache re-initialisations: {refilled}");
        println!("requests proxied: {}", self.proxies.iter().map(|proxy| proxy.requests).sum::<f64>());
        let fenced: f64 = self.proxies.iter().map(|proxy| proxy.fenced_writes).sum();
        println!("fenced writes: {fenced}");
        if fenced == 0.0 && !self.direct {
            violations.push("no write carried a fence".to_owned());
        }
        self.proxies.iter().for_each(ProxySide::print);
        for (shard, (compacted, present)) in &self.compacted {
            println!("shard {shard}: compacted at {compacted}, present revision {present}");
            // The first round only leaves a mark; the one after it compacts there.
            if self.compactions_due >= 3 && *compacted == 0 {
                violations.push(format!("shard {shard} was never compacted"));
            }
        }
        violations
    }
}
