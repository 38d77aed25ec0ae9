//! Consistent reads from the watch cache and streaming lists: on, used, and as fast as without the proxy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::kube::api::Api;
use etcd_prism_tests::kube::apiserver::{ApiServer, ApiServerBuilder};
use etcd_prism_tests::kube::counter::Counter;
use etcd_prism_tests::kube::minor::{Minor, minors};
use etcd_prism_tests::kube::objects::{self, Kind};
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::tools::Version;
use etcd_prism_tests::topology::Topology;

/// How long an API server waits for its cache before it asks etcd instead is 3 s: nothing may come near.
const FAR_BELOW_FALLBACK: Duration = Duration::from_millis(1_500);
const WAIT_LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consistent_reads_and_streaming_lists_are_used() {
    for minor in minors() {
        // RangeStream is passed through to pods and leases, and made from pages on the others.
        let shard = |name: &str| {
            let old = ["rest", "events"].contains(&name);
            EtcdBuilder::new(name).version(if old { Version::V3_5 } else { Version::Newest })
        };
        let topology = Topology::start_with(Layout::four_shards(), shard, |proxy| proxy).await;
        let mut server = ApiServerBuilder::new("apiserver", minor, vec![topology.proxy.endpoint()])
            .start(&topology.scratch)
            .await;
        fill(&server.api()).await;
        // The caches of a new process are filled from shards that are not empty.
        server.restart().await;
        lists_are_streamed(&server).await;
        let through = latencies(&server).await;
        initial_events_are_streamed(&server).await;
        reads_were_consistent(&server).await;

        let etcd = EtcdBuilder::new("direct").start(&topology.scratch).await;
        let direct = ApiServerBuilder::new("direct", minor, etcd.endpoints()).start(&topology.scratch).await;
        fill(&direct.api()).await;
        let without = latencies(&direct).await;
        for (what, took) in &through {
            println!(
                "{minor}: consistent list of configmaps {what}: {took}; without the proxy: {}",
                without[what]
            );
            // A proxy that withholds progress makes every one of them wait; a slow machine, the longest.
            assert!(took.median < FAR_BELOW_FALLBACK, "{what}: {took}");
        }
    }
}

const CONFIG_MAPS: usize = 150;

/// More than one page of the size that a synthesised RangeStream has, and something on the other shards.
async fn fill(api: &Api) {
    let text = "x".repeat(16 << 10);
    for number in 0..CONFIG_MAPS {
        let mut object = Kind::ConfigMap.object(&format!("filling-{number:03}"));
        object["data"]["text"] = text.clone().into();
        api.create(&Kind::ConfigMap.collection(), &object).await.expect("a configmap");
    }
    for kind in [Kind::Pod, Kind::Event, Kind::Lease] {
        for number in 0..5 {
            let object = kind.object(&format!("filling-{number}"));
            api.create(&kind.collection(), &object).await.expect("an object");
        }
    }
}

async fn lists_are_streamed(server: &ApiServer) {
    let api = server.api();
    for (kind, count) in [(Kind::ConfigMap, CONFIG_MAPS), (Kind::Pod, 5), (Kind::Event, 5), (Kind::Lease, 5)]
    {
        let list = api.get(&kind.collection()).await.expect("a list");
        let filling =
            objects::items(&list).iter().filter(|item| objects::name(item).starts_with("filling")).count();
        assert_eq!(filling, count, "{}", kind.resource());
    }
    let metrics = server.metrics().await;
    let lists = |operation| metrics.by_resource("etcd_requests_total", &[("operation", operation)]);
    let caches = metrics.by_resource("apiserver_watch_cache_initializations_total", &[]);
    assert!(caches.len() > 50, "only {} caches: {caches:?}", caches.len());
    if server.minor() < Minor::FIRST_TO_STREAM {
        assert!(lists("list").len() >= caches.len());
        return;
    }
    assert_eq!(lists("list"), BTreeMap::new(), "lists that were not streamed");
    let streamed = lists("listStream");
    for resource in caches.keys() {
        assert!(streamed.contains_key(resource), "{resource} was not streamed: {streamed:?}");
    }
    let refused: Vec<_> = metrics
        .select("grpc_client_handled_total", &[("grpc_method", "RangeStream")])
        .filter(|sample| sample.label("grpc_code") != "OK")
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    // Events have no cache: each of their lists comes from etcd.
    let events = |streamed| [("resource", "events"), ("streamed", streamed)];
    assert!(metrics.sum("apiserver_storage_list_duration_seconds_count", &events("true")) > 0.0);
    assert_eq!(metrics.sum("apiserver_storage_list_duration_seconds_count", &[("streamed", "false")]), 0.0);
}

/// An informer's first list as a stream of events, right after a write to another route.
async fn initial_events_are_streamed(server: &ApiServer) {
    let mut pods = Counter::create(&server.api(), Kind::Pod, "before-the-stream").await.expect("a pod");
    pods.advance().await.expect("a write");
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let started = Instant::now();
    let path = format!("{}?{query}", Kind::ConfigMap.collection());
    let mut watch = server.api().watch(&path).await.expect("a watch with initial events");
    let end = watch
        .wait_for(WAIT_LIMIT, "the end of the initial events", |event| {
            event.kind == "BOOKMARK"
                && event.object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
        })
        .await;
    let took = started.elapsed();
    println!("{}: initial events of configmaps up to {}: {took:?}", server.minor(), end.resource_version());
    assert!(took < FAR_BELOW_FALLBACK, "{took:?}");
    let metrics = server.metrics().await;
    assert!(metrics.sum("apiserver_watch_list_duration_seconds_count", &[("resource", "configmaps")]) > 0.0);
}

async fn reads_were_consistent(server: &ApiServer) {
    let name = "apiserver_watch_cache_consistent_read_total";
    let metrics = server.metrics().await;
    let good = metrics.by_resource(name, &[("success", "true"), ("fallback", "false")]);
    assert!(good.get("configmaps").is_some_and(|reads| *reads >= f64::from(2 * ROUNDS)), "{good:?}");
    let all = metrics.sum(name, &[]);
    assert_eq!(all, good.values().sum::<f64>(), "consistent reads that failed or fell back: {metrics:?}");
}

const ROUNDS: u32 = 10;

struct Took {
    median: Duration,
    longest: Duration,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:.1?}, longest {:.1?} of {ROUNDS}", self.median, self.longest)
    }
}

/// How long a consistent list of the configmaps takes right after a write to something else.
async fn latencies(server: &ApiServer) -> BTreeMap<&'static str, Took> {
    let mut took = BTreeMap::new();
    for (what, kind) in
        [("after a write on another route", Kind::Pod), ("after a write on the same route", Kind::Secret)]
    {
        let mut counter =
            Counter::create(&server.api(), kind, "written-before-lists").await.expect("an object");
        let mut each = Vec::new();
        for _ in 0..ROUNDS {
            counter.advance().await.expect("a write");
            let started = Instant::now();
            server.api().get(&Kind::ConfigMap.collection()).await.expect("a list");
            each.push(started.elapsed());
        }
        each.sort_unstable();
        took.insert(what, Took { median: each[each.len() / 2], longest: each[each.len() - 1] });
    }
    took
}
