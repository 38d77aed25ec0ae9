//! Two API servers of different minors (of one, where only one is tested), each on a proxy of its own.

use std::time::{Duration, Instant};

use etcd_prism_tests::kube::api::Api;
use etcd_prism_tests::kube::apiserver::{ApiServer, ApiServerBuilder};
use etcd_prism_tests::kube::counter::Counter;
use etcd_prism_tests::kube::load::Load;
use etcd_prism_tests::kube::minor::pair;
use etcd_prism_tests::kube::objects::{self, Kind};
use etcd_prism_tests::proxy::ProxyBuilder;
use etcd_prism_tests::request::get;
use etcd_prism_tests::topology::Topology;

use crate::site;

const COMPACTION: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_api_servers_share_the_shards() {
    let topology = Topology::four_shards().await;
    let mut second = ProxyBuilder::new("second-proxy", topology.layout.clone());
    for (name, cluster) in &topology.shards {
        second = second.shard(name, cluster.endpoints());
    }
    let second = second.start(&topology.scratch).await;
    let started = Instant::now();
    let [newest, oldest] = pair();
    let server = |name, minor, endpoint| {
        ApiServerBuilder::new(name, minor, vec![endpoint])
            .compaction_interval(COMPACTION)
            .start(&topology.scratch)
    };
    let one = server("newest", newest, topology.proxy.endpoint()).await;
    let other = server("oldest", oldest, second.endpoint()).await;
    one.define_widgets().await;
    other.wait_for_widgets().await;
    let metrics = [one.metrics().await, other.metrics().await];
    let before = site::revisions(&topology).await;

    let informers = [site::informers(&one.api()).await, site::informers(&other.api()).await];
    let mut load = Load::new(Duration::from_millis(500));
    for server in [&one, &other] {
        load.numbered_updates(&server.api(), &format!("counter-{}", server.name()))
            .await
            .expect("objects to update");
        load.lives(&server.api(), &format!("life-{}", server.name()));
        load.lists(&server.api());
    }
    writes_are_seen_by_the_other(&one, &other).await;
    writes_are_seen_by_the_other(&other, &one).await;
    let limit = Duration::from_secs(120);
    let first = site::compacted_beyond(&topology, &before, limit).await;
    let second_time = site::compacted_beyond(&topology, &first, limit).await;
    println!("{newest} and {oldest}: compacted revisions {first:?}, then {second_time:?}");
    let tally = load.stop().await;
    println!("{newest} and {oldest}: {:?}, the slowest {:?}", tally.done, tally.slowest);
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);

    for informer in informers.iter().flatten() {
        informer.assert_gapless();
    }
    for (server, before) in [&one, &other].into_iter().zip(&metrics) {
        site::assert_no_cache_filled_again(server, before).await;
    }
    both_list_the_same(&one.api(), &other.api()).await;
    // One of the two wins each time: twice as many marks would mean that the comparison on the key does not hold.
    let mark =
        topology.client().kv().range(get("compact_rev_key")).await.expect("compact_rev_key").into_inner();
    let rounds = i64::try_from(started.elapsed().as_secs() / COMPACTION.as_secs()).expect("a small number");
    assert!(
        (2..=rounds + 1).contains(&mark.kvs[0].version),
        "{} marks in {rounds} rounds",
        mark.kvs[0].version
    );
}

/// What one API server acknowledged, the other reads and watches.
async fn writes_are_seen_by_the_other(writer: &ApiServer, reader: &ApiServer) {
    let informers = site::informers(&reader.api()).await;
    let name = format!("written-by-{}", writer.name());
    let mut counters = site::counters(&writer.api(), &name).await;
    for _ in 0..5 {
        for counter in &mut counters {
            counter.advance().await.expect("a write");
            let written = Some(counter.written());
            assert_eq!(
                number_by_get(&reader.api(), counter).await,
                written,
                "{} by get",
                counter.kind().resource()
            );
            assert_eq!(
                number_by_list(&reader.api(), counter).await,
                written,
                "{} by list",
                counter.kind().resource()
            );
        }
    }
    site::caught_up(&informers, &counters).await;
    informers.iter().for_each(etcd_prism_tests::kube::informer::Informer::assert_gapless);
}

async fn number_by_get(api: &Api, counter: &Counter) -> Option<u64> {
    objects::number(&api.get(&counter.kind().path(counter.name())).await.expect("an object"))
}

async fn number_by_list(api: &Api, counter: &Counter) -> Option<u64> {
    let list = api.get(&counter.kind().collection()).await.expect("a list");
    objects::items(&list).iter().find(|item| objects::name(item) == counter.name()).and_then(objects::number)
}

async fn both_list_the_same(one: &Api, other: &Api) {
    for kind in Kind::ALL {
        let lists = [one.get(&kind.collection()).await, other.get(&kind.collection()).await];
        let [one, other] = lists.map(|list| {
            let list = list.expect("a list");
            let versions = objects::items(&list)
                .iter()
                .map(|i| (objects::name(i).to_owned(), objects::resource_version(i)));
            versions.collect::<Vec<_>>()
        });
        assert!(!one.is_empty());
        assert_eq!(one, other, "{}", kind.resource());
    }
}
