//! A proxy is cut off from shards while routes change. There is no traffic between proxies that could be cut: all that they
//! know of each other they read from the shards.

use std::collections::BTreeMap;

use etcd_prism_proto::etcdserverpb::RangeRequest;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_tests::relay::{Network, Relay};
use etcd_prism_tests::request::{delete, get, list, put, txn};
use etcd_prism_tests::wait;
use tokio::time::Instant;

use crate::cli;
use crate::load::Load;
use crate::site::{
    MOVED, NODES, PODS, SPLIT, Site, TWO, revision_of, until_refused, until_route, until_served,
    until_session, until_shard,
};

/// The naive version goes on serving reads from what it has open, or lets one shard's silence stop the other's routes.
#[tokio::test]
async fn a_proxy_cut_off_from_one_shard_serves_the_other() {
    cut_off(&["b"]).await;
}

/// The naive version waits for the proxy that nobody can reach, or believes it when it is back.
#[tokio::test]
async fn a_proxy_cut_off_from_all_shards_holds_up_nobody() {
    cut_off(&["a", "b"]).await;
}

/// Routes that live on `b` change while `one` cannot reach `cut`.
async fn cut_off(cut: &[&'static str]) {
    let site = Site::start(&["a", "b"]).await;
    let mut relays = BTreeMap::new();
    for (name, shard) in &site.shards {
        relays.insert(*name, Relay::start(&shard.endpoints()[0]).await);
    }
    let set = |network| cut.iter().for_each(|shard| relays[shard].set(network));
    let one = site.builder_at("one", TWO, |shard| vec![relays[shard].endpoint()]).start(&site.scratch).await;
    let two = site.proxy("two", TWO).await;
    let new = site.early("new", SPLIT);
    for proxy in [&one, &two] {
        proxy.expect_log("route is refused");
    }
    let load = Load::start(&[("one", &one), ("two", &two)], &[("new", &new)], &[PODS, NODES]).await;
    load.goes_on(&["one", "two"], &[PODS, NODES]).await;
    until_session(&one, "b").await;

    set(Network::Silent);
    // On its way while the network is silent; it arrives at the shard long after the change.
    let late = one.client();
    let late = tokio::spawn(async move { late.kv().put(put("/registry/late", "1")).await });
    let asked = Instant::now();
    cli::apply(&site, "new").await;
    // At most until the session ends: a lease may live for a while longer than its TTL, on a busy machine above all.
    assert!(asked.elapsed().as_secs() < 15, "the change took {:?}", asked.elapsed());
    until_served(&new, "rest").await;
    load.goes_on(&["new"], &[PODS, NODES]).await;
    load.goes_on(&["two"], &[PODS]).await;
    until_shard(&one, "b", "no session", |shard| !shard.session).await;
    if !cut.contains(&"a") {
        load.goes_on(&["one"], &[PODS]).await;
    }
    new.client().kv().put(put("/registry/fresh", "1")).await.expect("a write");

    set(Network::Good);
    wait::until("the healed proxy to refuse, without a stale answer before", async || {
        match one.client().kv().range(get("/registry/fresh")).await {
            Ok(found) => {
                assert_eq!(found.into_inner().kvs.len(), 1, "a stale read of the healed proxy");
                Err("still served".to_owned())
            }
            Err(status) if status.message().contains("route apply") => Ok(()),
            Err(status) => Err(format!("{status:?}")),
        }
    })
    .await;
    until_refused(&one, "rest", "route apply").await;
    assert!(late.await.expect("a task").is_err(), "a write under a fence that is gone was acknowledged");
    assert_eq!(site.held("b", "/registry/late").await.kvs.len(), 0, "a refused write was applied");
    load.goes_on(&["one", "two", "new"], &[PODS]).await;

    // A network that breaks loses no more than one that is silent.
    set(Network::Broken);
    load.goes_on(&["new"], &[PODS, NODES]).await;
    set(Network::Good);
    load.goes_on(&["one"], &[PODS]).await;
    load.end(&[(PODS, site.direct("a")), (NODES, site.direct("b"))]).await;
}

/// The naive version asks before it sends whether it may: what comes back from the shard that the route has left is passed on.
#[tokio::test]
async fn an_answer_that_comes_after_the_route_has_left_is_not_passed_on() {
    let site = Site::start(&["a", "b"]).await;
    let mut relays = BTreeMap::new();
    for (name, shard) in &site.shards {
        relays.insert(*name, Relay::start(&shard.endpoints()[0]).await);
    }
    let one =
        site.builder_at("one", MOVED, |shard| vec![relays[shard].endpoint()]).start(&site.scratch).await;
    let new = site.proxy("new", SPLIT).await;
    let (key, ghost) = ("/registry/nodes/x", "/registry/nodes/ghost");
    let before = one.client().kv().put(put(key, "old")).await.expect("a write").into_inner();
    one.client().kv().delete_range(delete(key)).await.expect("a deletion");
    site.advance("b", "/registry/other", revision_of(before.header) + 50).await;
    until_session(&one, "a").await;

    relays.values().for_each(|relay| relay.set(Network::Silent));
    // Asked for under a good session; the shard hears of it when that has long ended.
    let mut reads = tokio::task::JoinSet::new();
    for serializable in [false, true] {
        let client = one.client();
        let range = RangeRequest { serializable, ..list(NODES) };
        reads.spawn(async move { Ok(client.kv().range(range).await?.into_inner().kvs) });
    }
    let client = one.client();
    reads.spawn(async move {
        let reply = client.kv().txn(txn([Request::RequestRange(list(NODES))])).await?.into_inner();
        match reply.responses.into_iter().next().and_then(|op| op.response) {
            Some(Response::ResponseRange(range)) => Ok::<_, tonic::Status>(range.kvs),
            other => panic!("no range in {other:?}"),
        }
    });
    cli::apply(&site, "new").await;
    until_route(&new, "nodes", "served on b", |r| r.shard.as_deref() == Some("b")).await;
    new.client().kv().put(put(key, "new")).await.expect("a write");
    site.direct("a").kv().put(put(ghost, "1")).await.expect("a write");
    // Of the change it hears later than of the answers.
    relays["a"].set(Network::Good);
    while let Some(read) = reads.join_next().await {
        if let Ok(kvs) = read.expect("a task") {
            assert!(kvs.iter().all(|kv| kv.key != ghost), "an answer of the old shard: {kvs:?}");
            assert!(kvs.iter().any(|kv| kv.value == "new"), "a stale answer: {kvs:?}");
        }
    }
    relays["b"].set(Network::Good);
    let found = wait::until("the healed proxy to follow the route", async || {
        one.client().kv().range(get(key)).await.map_err(|status| format!("{status:?}"))
    })
    .await;
    assert_eq!(found.into_inner().kvs[0].value, "new");
}
