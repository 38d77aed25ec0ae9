//! Routes move between etcd clusters under an API server at work, which notices nothing.

use std::time::Duration;

use etcd_prism_tests::kube::apiserver::ApiServerBuilder;
use etcd_prism_tests::kube::load::Load;
use etcd_prism_tests::kube::minor::minors;
use etcd_prism_tests::migration::{copied, migrate};
use etcd_prism_tests::proxy::ProxyBuilder;
use etcd_prism_tests::topology::Topology;

use crate::site;

/// How often each route moves to the other shard and back.
const TIMES: usize = 5;
/// Between two steps of one task.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_notices_nothing_of_routes_that_move() {
    for minor in minors() {
        let topology = Topology::four_shards().await;
        let mut second = ProxyBuilder::new("second-proxy", topology.layout.clone());
        for (name, cluster) in &topology.shards {
            second = second.shard(name, cluster.endpoints());
        }
        let second = second.start(&topology.scratch).await;
        let proxies = [&topology.proxy, &second];
        let endpoints = vec![topology.proxy.endpoint(), second.endpoint()];
        let mut server = ApiServerBuilder::new("apiserver", minor, endpoints).start(&topology.scratch).await;
        server.define_widgets().await;
        let api = server.api();
        let informers = site::informers(&api).await;
        let before = server.metrics().await;
        let mut load = Load::new(PAUSE);
        load.numbered_updates(&api, "counter").await.expect("objects to count with");
        load.lives(&api, "life");
        load.lists(&api);
        for (route, to) in [("pods", "rest"), ("leases", "events"), ("events", "pods")] {
            migrate(proxies[0], "create", route, &["--to", to]).await;
            copied(proxies[0], route).await;
            for turn in 0..TIMES {
                for (verb, proxy) in [("switch", turn), ("reverse", turn + 1)] {
                    migrate(proxies[proxy % 2], verb, route, &[]).await;
                    tokio::time::sleep(PAUSE * 10).await;
                }
            }
            // There for good.
            migrate(proxies[1], "switch", route, &[]).await;
            migrate(proxies[0], "complete", route, &[]).await;
        }
        let tally = load.stop().await;
        println!(
            "{} {:?}, slowest {:?}, stalled {:?}",
            server.name(),
            tally.done,
            tally.slowest,
            tally.stall
        );
        assert!(tally.failures.is_empty(), "{:?}", tally.failures);
        for informer in &informers {
            informer.wait_for_list(&api).await;
            informer.assert_gapless();
        }
        site::assert_no_cache_filled_again(&server, &before).await;
        assert_eq!(server.faults(), Vec::<String>::new());
    }
}
