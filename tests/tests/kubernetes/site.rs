//! What the tests have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_tests::history::current_revision;
use etcd_prism_tests::kube::api::{Api, ApiError};
use etcd_prism_tests::kube::apiserver::ApiServer;
use etcd_prism_tests::kube::counter::Counter;
use etcd_prism_tests::kube::informer::Informer;
use etcd_prism_tests::kube::metrics::Metrics;
use etcd_prism_tests::kube::objects::Kind;
use etcd_prism_tests::kube::storage;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;

/// Panics where the API server has filled a cache since `before`.
pub(crate) async fn assert_no_cache_filled_again(server: &ApiServer, before: &Metrics) {
    let filled = server.metrics().await.growth(before, "apiserver_watch_cache_initializations_total", &[]);
    assert!(filled.is_empty(), "{} filled caches again: {filled:?}", server.name());
}

/// What an API server says of the comparisons of its caches with etcd; labelled by their outcome.
const CHECKS: &str = "apiserver_storage_consistency_checks_total";

/// Waits until every one of `resources` was compared with etcd twice since `since`, so that one comparison at least began
/// after it, and panics where a cache of any kind differed since `before`, or could not be compared.
pub(crate) async fn caches_agree_with_etcd(
    server: &ApiServer,
    before: &Metrics,
    since: &Metrics,
    resources: &[&str],
) -> BTreeMap<String, f64> {
    let good = [("status", "success")];
    let what = format!("comparisons of {resources:?} with etcd on {}", server.name());
    let now = wait::until_within(Duration::from_secs(120), &what, async || {
        let now = server.metrics().await;
        let compared = now.growth(since, CHECKS, &good);
        let enough = |resource: &&str| compared.get(*resource).is_some_and(|count| *count >= 2.0);
        if resources.iter().all(enough) { Ok(now) } else { Err(compared) }
    })
    .await;
    for status in ["failure", "error"] {
        let found = now.growth(before, CHECKS, &[("status", status)]);
        assert!(found.is_empty(), "{}: comparisons that ended in {status}: {found:?}", server.name());
    }
    now.growth(before, CHECKS, &good)
}

/// One informer per kind.
pub(crate) async fn informers(api: &Api) -> Vec<Informer> {
    let mut informers = Vec::new();
    for kind in Kind::ALL {
        informers.push(Informer::start(api, kind).await.expect("an informer"));
    }
    informers
}

/// One counter per kind, called `name`.
pub(crate) async fn counters(api: &Api, name: &str) -> Vec<Counter> {
    let mut counters = Vec::new();
    for kind in Kind::ALL {
        counters.push(Counter::create(api, kind, name).await.expect("an object to count with"));
    }
    counters
}

/// Waits until every informer has seen what every counter has written.
pub(crate) async fn caught_up(informers: &[Informer], counters: &[Counter]) {
    for counter in counters {
        for informer in informers.iter().filter(|informer| informer.kind() == counter.kind()) {
            informer.wait_for(counter.name(), counter.written()).await;
        }
    }
}

/// Writes the next number, again until it is acknowledged; the errors before that.
pub(crate) async fn advance_at_last(counter: &mut Counter) -> Vec<ApiError> {
    let mut errors = Vec::new();
    let what = format!("a write of {}", counter.kind().resource());
    wait::until_within(Duration::from_secs(60), &what, async || {
        counter.advance().await.map_err(|error| errors.push(error))
    })
    .await;
    errors
}

/// The present revision of each shard.
pub(crate) async fn revisions(topology: &Topology) -> BTreeMap<&'static str, i64> {
    let mut revisions = BTreeMap::new();
    for (shard, cluster) in &topology.shards {
        revisions.insert(*shard, current_revision(&cluster.client()).await);
    }
    revisions
}

/// Waits until every shard is compacted beyond the revision given for it, and says how far each is.
pub(crate) async fn compacted_beyond(
    topology: &Topology,
    revisions: &BTreeMap<&'static str, i64>,
    limit: Duration,
) -> BTreeMap<&'static str, i64> {
    let mut compacted = BTreeMap::new();
    for (shard, revision) in revisions {
        let client = topology.shard_client(shard);
        wait::until_within(limit, &format!("the compaction of {shard} beyond {revision}"), async || {
            storage::is_compacted(&client, *revision).await.then_some(()).ok_or("still readable")
        })
        .await;
        let present = current_revision(&client).await;
        compacted.insert(*shard, storage::compacted_revision(&client, present).await);
    }
    compacted
}
