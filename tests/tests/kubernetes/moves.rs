//! Routes move between etcd clusters under an API server at work, which notices nothing.

use std::time::Duration;

use etcd_prism_tests::kube::apiserver::ApiServerBuilder;
use etcd_prism_tests::kube::election::Election;
use etcd_prism_tests::kube::load::Load;
use etcd_prism_tests::kube::minor::{Minor, minors};
use etcd_prism_tests::migration::{copied, migrate};
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::topology::Topology;

use crate::site;

/// How often each route moves to the other shard and back.
const TIMES: usize = 5;
/// Between two steps of one task.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two comparisons of a cache with etcd. They go on all the time, so that some fall on a switch.
const CHECKS: Duration = Duration::from_secs(2);
/// The routes, the shard that each goes to, and what an API server keeps of it in a cache: events are in none.
const ROUTES: [(&str, &str, &[&str]); 3] = [
    ("pods", "rest", &["pods"]),
    ("leases", "events", &["leases.coordination.k8s.io"]),
    ("events", "pods", &[]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_notices_nothing_of_routes_that_move() {
    for minor in minors() {
        routes_move_under(minor).await;
    }
}

async fn routes_move_under(minor: Minor) {
    let topology = Topology::four_shards().await;
    let mut second = ProxyBuilder::new("second-proxy", topology.layout.clone());
    for (name, cluster) in &topology.shards {
        second = second.shard(name, cluster.endpoints());
    }
    let second = second.start(&topology.scratch).await;
    let endpoints = vec![topology.proxy.endpoint(), second.endpoint()];
    let server = ApiServerBuilder::new("apiserver", minor, endpoints).consistency_checks(CHECKS);
    let mut server = server.start(&topology.scratch).await;
    server.define_widgets().await;
    let api = server.api();
    let informers = site::informers(&api).await;
    let before = server.metrics().await;
    let election = Election::start(&api, "leader").await.expect("a leader");
    let mut load = Load::new(PAUSE);
    load.numbered_updates(&api, "counter").await.expect("objects to count with");
    load.lives(&api, "life");
    load.lists(&api);
    for (route, to, _) in ROUTES {
        moves_forth_and_back([&topology.proxy, &second], route, to).await;
    }
    let moved = server.metrics().await;
    let cached = ROUTES.map(|(_, _, resources)| resources).concat();
    let compared = site::caches_agree_with_etcd(&server, &before, &moved, &cached).await;
    let tally = load.stop().await;
    println!("{minor} {:?}, slowest {:?}, stalled {:?}", tally.done, tally.slowest, tally.stall);
    println!("{minor} leader: {:?}", election.told());
    let of_moved: Vec<_> = cached.iter().map(|resource| (resource, compared[*resource])).collect();
    println!("{minor} caches compared with etcd: {of_moved:?}, {} others", compared.len() - of_moved.len());
    // No request failed, so none was refused as a conflict either: each object has one writer.
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    election.assert_kept();
    for informer in &informers {
        informer.wait_for_list(&api).await;
        informer.assert_gapless();
    }
    site::assert_no_cache_filled_again(&server, &before).await;
    assert_eq!(server.faults(), Vec::<String>::new());
}

/// Moves `route` to the shard `to` and back, again and again, and then there for good.
async fn moves_forth_and_back(proxies: [&Proxy; 2], route: &str, to: &str) {
    migrate(proxies[0], "create", route, &["--to", to]).await;
    copied(proxies[0], route).await;
    for turn in 0..TIMES {
        for (verb, proxy) in [("switch", turn), ("reverse", turn + 1)] {
            migrate(proxies[proxy % 2], verb, route, &[]).await;
            // Clients work on what was switched.
            tokio::time::sleep(PAUSE * 10).await;
        }
    }
    migrate(proxies[1], "switch", route, &[]).await;
    migrate(proxies[0], "complete", route, &[]).await;
}
