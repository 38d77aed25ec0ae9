//! What the clients noticed.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_tests::kube::election::Told;
use etcd_prism_tests::kube::informer::Seen;
use etcd_prism_tests::kube::load::Tally;
use etcd_prism_tests::kube::metrics::Metrics;
use etcd_prism_tests::kube::objects::Kind;

/// The API server's comparisons of its caches with etcd; labelled by their outcome.
pub(crate) const CHECKS: &str = "apiserver_storage_consistency_checks_total";
const INITIALIZATIONS: &str = "apiserver_watch_cache_initializations_total";

pub(crate) struct Report {
    pub(crate) length: Duration,
    /// Pods that were there at the beginning.
    pub(crate) listed: usize,
    pub(crate) tally: Tally,
    pub(crate) election: Told,
    pub(crate) informers: Vec<(Kind, Seen)>,
    /// The API server's metrics.
    pub(crate) before: Metrics,
    pub(crate) after: Metrics,
}

impl Report {
    /// Prints it; whether everything is as it must be.
    pub(crate) fn print(&self) -> bool {
        println!("clients of the API server, {} s at work", self.length.as_secs());
        for (what, count) in &self.tally.done {
            println!("  {what}: {count}");
        }
        println!(
            "  longest request: {:.0} ms; longest wait of these clients for a processor: {:.0} ms",
            self.tally.slowest.as_secs_f64() * 1e3,
            self.tally.stall.as_secs_f64() * 1e3
        );
        for (kind, seen) in &self.informers {
            println!("  watch of {}: {} events", kind.resource(), seen.events);
        }
        println!("  pods: {} at first, all of them still there", self.listed);
        println!("  leader: {}, {} renewals", self.election.leaders.join(", then "), self.election.renewals);
        let compared = self.growth(CHECKS, &[("status", "success")]);
        println!("  the pods' cache was compared with etcd {} times", compared.get("pods").unwrap_or(&0.0));

        let lists: u64 = self.informers.iter().map(|(_, seen)| seen.relists).sum();
        let watches = self.informers.iter().flat_map(|(_, seen)| &seen.violations);
        let (conflicts, failures): (Vec<_>, Vec<_>) =
            self.tally.failures.iter().partition(|failure| failure.contains(": 409 "));
        let differ = [("status", "failure"), ("status", "error")].map(|label| self.growth(CHECKS, &[label]));
        let mut good = true;
        for (what, found) in [
            ("lists again", many(lists)),
            ("events missed or repeated, watches broken", watches.cloned().collect()),
            ("conflicts (409)", conflicts.into_iter().cloned().collect()),
            ("other requests that failed", failures.into_iter().cloned().collect()),
            ("changes of the leader", self.election.leaders[1..].to_vec()),
            ("failures of the candidates", self.election.failures.clone()),
            ("caches filled again", names(&self.growth(INITIALIZATIONS, &[]))),
            (
                "caches that differ from etcd, or could not be compared",
                differ.iter().flat_map(names).collect(),
            ),
        ] {
            println!("  {what}: {}", found.len());
            for example in found.iter().take(5) {
                println!("    {example}");
            }
            good &= found.is_empty();
        }
        good
    }

    fn growth(&self, name: &str, labels: &[(&str, &str)]) -> BTreeMap<String, f64> {
        self.after.growth(&self.before, name, labels)
    }
}

fn many(count: u64) -> Vec<String> {
    (1..=count).map(|number| format!("list {number}")).collect()
}

fn names(by_resource: &BTreeMap<String, f64>) -> Vec<String> {
    by_resource.iter().map(|(resource, count)| format!("{resource}: {count}")).collect()
}
