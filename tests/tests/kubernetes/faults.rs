//! A shard is killed and restarted, then one proxy of two: watches lose nothing, and no cache is filled again.

use std::time::Duration;

use etcd_prism_tests::kube::api::ApiError;
use etcd_prism_tests::kube::apiserver::ApiServerBuilder;
use etcd_prism_tests::kube::counter::Counter;
use etcd_prism_tests::kube::informer::Informer;
use etcd_prism_tests::kube::metrics::Metrics;
use etcd_prism_tests::kube::minor::minors;
use etcd_prism_tests::kube::objects::Kind;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::site;

/// A request for a route whose shard works must not wait for one that does not: that would take the proxy's whole bound
/// of 7 s, while a slow machine does not.
const ISOLATED: Duration = Duration::from_secs(3);
/// gRPC waits longer and longer between its attempts to connect.
const RECONNECT_LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_survive_a_shard_and_a_proxy() {
    for minor in minors() {
        let mut topology = Topology::four_shards().await;
        let mut second = ProxyBuilder::new("second-proxy", topology.layout.clone());
        for (name, cluster) in &topology.shards {
            second = second.shard(name, cluster.endpoints());
        }
        let mut second = second.start(&topology.scratch).await;
        let endpoints = vec![topology.proxy.endpoint(), second.endpoint()];
        let server = ApiServerBuilder::new("apiserver", minor, endpoints).start(&topology.scratch).await;
        server.define_widgets().await;
        let api = server.api();
        let informers = site::informers(&api).await;
        let mut counters = site::counters(&api, "counter").await;
        advance(&mut counters, 3).await;
        site::caught_up(&informers, &counters).await;
        let before = server.metrics().await;

        shard_fails(&mut topology, &second, &mut counters, &informers).await;
        proxy_fails(&mut topology.proxy, &mut counters, &informers).await;
        proxy_fails(&mut second, &mut counters, &informers).await;

        for informer in &informers {
            informer.assert_gapless();
        }
        site::assert_no_cache_filled_again(&server, &before).await;
    }
}

async fn advance(counters: &mut [Counter], times: usize) {
    for _ in 0..times {
        for counter in counters.iter_mut() {
            counter.advance().await.unwrap_or_else(|error| panic!("{}: {error}", counter.kind().resource()));
        }
    }
}

async fn shard_fails(
    topology: &mut Topology,
    second: &Proxy,
    counters: &mut [Counter],
    informers: &[Informer],
) {
    for proxy in [&topology.proxy, second] {
        proxy.expect_log("\"shard\":\"pods\"");
    }
    topology.shard("pods").kill();
    for _ in 0..10 {
        for counter in counters.iter_mut().filter(|counter| counter.kind() != Kind::Pod) {
            let resource = counter.kind().resource();
            let took =
                counter.advance().await.unwrap_or_else(|error| panic!("{resource} without pods: {error}"));
            assert!(took < ISOLATED, "{resource} took {took:?} while the shard of pods was down");
        }
    }
    let pods = counters.iter_mut().find(|counter| counter.kind() == Kind::Pod).expect("a counter of pods");
    let refused = pods.advance().await.expect_err("a write of a pod without its shard");
    println!("a pod without its shard: {refused}");
    topology.shard("pods").restart().await;
    let errors = site::advance_at_last(pods).await;
    println!("after the restart of its shard a pod was written after {} errors", errors.len());
    advance(counters, 3).await;
    site::caught_up(informers, counters).await;
}

/// The other proxy must take over, and this one must be used again when it is back.
async fn proxy_fails(proxy: &mut Proxy, counters: &mut [Counter], informers: &[Informer]) {
    let connections = connections(proxy).await;
    // In the middle of writes of every kind.
    let half_way = Barrier::new(counters.len() + 1);
    let writers = join_all(counters.iter_mut().map(|counter| write_around(counter, &half_way)));
    let kill = async {
        half_way.wait().await;
        proxy.kill();
    };
    let (errors, ()) = tokio::join!(writers, kill);
    let errors: Vec<_> = errors.into_iter().flatten().collect();
    // Only a write that was on its way may fail, as with one member of an etcd cluster.
    println!("killed one proxy of two: {} writes were refused at first: {errors:?}", errors.len());
    assert!(errors.len() <= counters.len(), "more than what was on its way was refused: {errors:?}");
    site::caught_up(informers, counters).await;
    proxy.restart().await;
    wait::until_within(RECONNECT_LIMIT, "the API server to use the restarted proxy", async || {
        let now = self::connections(proxy).await;
        if now >= connections { Ok(()) } else { Err(now) }
    })
    .await;
    advance(counters, 3).await;
    site::caught_up(informers, counters).await;
}

/// Writes on and on, and meets the others half-way; the errors.
async fn write_around(counter: &mut Counter, half_way: &Barrier) -> Vec<ApiError> {
    let mut errors = Vec::new();
    for round in 0..20 {
        if round == 10 {
            half_way.wait().await;
        }
        errors.extend(site::advance_at_last(counter).await);
    }
    errors
}

async fn connections(proxy: &Proxy) -> f64 {
    Metrics::parse(&proxy.metrics().await).sum("etcd_prism_client_connections", &[])
}
