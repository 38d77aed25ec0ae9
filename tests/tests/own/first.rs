//! How the first fences come to be.

use etcd_prism_control::{RouteState, apply};
use etcd_prism_ownership::State;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::{delete, put};
use etcd_prism_tests::tools::Version;

use crate::apply::{SPLIT, options};
use crate::rig::{Node, Rig, Routes, TWO, site, specs};

#[tokio::test]
async fn one_proxy_creates_table_fences_and_reigns() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let (a, b) = (rig.read("a").await, rig.read("b").await);
    let (_, table) = a.snapshot.table.expect("a table");
    let table = table.expect("a readable table");
    let (_, other) = b.snapshot.table.expect("a table");
    assert_eq!(table, other.expect("a readable table"), "the same on every shard");
    assert_eq!((table.generation, table.routes.len()), (1, 2));
    for (route, shard, reading) in [("pods", "a", &a.snapshot.fences), ("rest", "b", &b.snapshot.fences)] {
        let (revision, fence) = reading.get(route).expect("a fence");
        let fence = fence.as_ref().expect("a readable fence");
        assert_eq!((fence.n, &fence.state), (1, &State::Open { peer: None }));
        let shown = node.route(route);
        assert_eq!((shown.epoch, shown.reign, shown.shard.as_deref()), (*revision, 1, Some(shard)));
    }
    let reign = a.snapshot.reigns.get(&("pods".to_owned(), 1)).expect("a reign record");
    assert_eq!(reign.1.as_ref().expect("a readable record").after, 0);
    assert_eq!((a.snapshot.fences.len(), b.snapshot.fences.len()), (1, 1), "a fence where the route is");
}

#[tokio::test]
async fn the_oldest_etcd_will_do() {
    let rig = Rig::start_with(&["a", "b"], |name| EtcdBuilder::new(name).version(Version::V3_5)).await;
    let (one, two) = (rig.node(TWO), rig.node(TWO));
    one.until_served().await;
    two.until_served().await;
    let config = rig.config(SPLIT);
    let applied = apply(&site(&config), &specs(&config), &options(), &mut |_| {}).await.expect("a change");
    assert_eq!(applied.generation, 2);
    Node::start(&config).until_served().await;
    assert!(one.refused("rest").await.contains("route apply"));
}

#[tokio::test]
async fn two_proxies_at_once_agree() {
    let rig = Rig::start(&["a", "b"]).await;
    let (one, two) = (rig.node(TWO), rig.node(TWO));
    one.until_served().await;
    two.until_served().await;
    for route in ["pods", "rest"] {
        assert_eq!((one.route(route).epoch, one.route(route).reign), (two.route(route).epoch, 1));
    }
    // A third one finds everything there and writes nothing but its sessions.
    let before = rig.read("a").await;
    let three = rig.node(TWO);
    three.until_served().await;
    let after = rig.read("a").await;
    assert_eq!((before.snapshot, before.identity), (after.snapshot, after.identity));
    assert_eq!(after.sessions.sessions.len(), 3);
}

/// Two proxies that give one prefix to different routes.
const OTHER: Routes<'static> = &[("pods", &["/pods/", "/nodes/"], "a"), ("rest", &[], "b")];

#[tokio::test]
async fn ce25_ce41_of_two_tables_one_wins() {
    let rig = Rig::start(&["a", "b"]).await;
    let (one, two) = (rig.node(TWO), rig.node(OTHER));
    let nodes = [&one, &two];
    let served = |node: &Node| node.snapshot().not_served().next().is_none();
    one.until("one of them to serve", |_| nodes.iter().any(|node| served(node))).await;
    let loser = if served(&one) { &two } else { &one };
    for route in ["pods", "rest"] {
        let reason = loser.refused(route).await;
        assert!(reason.contains("route apply"), "{reason}");
    }
    // Never both: whoever is refused has no permit, and there is one fence for each route.
    let (a, b) = (rig.read("a").await.snapshot.fences, rig.read("b").await.snapshot.fences);
    assert_eq!((a.len(), b.len()), (1, 1));
    assert!(nodes.iter().filter(|node| served(node)).count() == 1);
}

#[tokio::test]
async fn ce24_an_empty_shard_does_not_take_over_a_route() {
    let rig = Rig::start(&["a", "b"]).await;
    rig.client("b").kv().put(put("/pods/default/x", "1")).await.expect("a write");
    let node = rig.node(TWO);
    let reason = node.refused("pods").await;
    assert!(reason.contains("shard b holds keys") && reason.contains("/pods/default/x"), "{reason}");
    assert!(reason.contains("etcd-prism migrate"), "{reason}");
    // The other route is not concerned.
    node.until("rest", |s| s.routes[1].state == RouteState::Served).await;
    assert!(rig.fence("a", "pods").await.is_none());
    // An operator who deletes the keys gets the route without a restart.
    rig.client("b").kv().delete_range(delete("/pods/default/x")).await.expect("a deletion");
    node.until_served().await;
}

#[tokio::test]
async fn a_shard_that_is_down_delays_its_own_routes_only() {
    let mut rig = Rig::start(&["a", "b"]).await;
    rig.shard("a").kill();
    // Fences need every shard once.
    let node = rig.node(TWO);
    node.until("a look at b", |s| s.shards[1].identity.is_some() || s.shards[1].cluster_id.is_some()).await;
    assert!(node.snapshot().routes.iter().all(|route| route.state == RouteState::Waiting));
    assert!(node.route("rest").reason.expect("a reason").contains('a'));
    rig.shard("a").restart().await;
    node.until_served().await;
    drop(node);
    rig.shard("a").kill();
    let node = rig.node(TWO);
    node.until("rest", |s| s.routes[1].state == RouteState::Served && s.shards[1].session).await;
    assert_eq!(node.route("pods").state, RouteState::Waiting);
    rig.shard("a").restart().await;
    node.until_served().await;
}
