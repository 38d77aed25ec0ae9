//! Where the history of a shard may not be taken for a route's.

use std::time::Duration;

use etcd_prism_control::{Difference, Progress, RouteState, accept, apply, diff};
use etcd_prism_ownership::keys;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{delete, get, put};

use crate::apply::{MOVED, SPLIT, options};
use crate::rig::{Node, Rig, Routes, TWO, site, specs};

/// So many writes of a key that stays.
async fn write(shard: &Client, key: &str, times: usize) {
    for i in 0..times {
        shard.kv().put(put(key, &i.to_string())).await.expect("a write");
    }
}

/// A key of `nodes` that came and went: who watches it on this shard has still to hear of the end.
async fn come_and_go(shard: &Client) -> i64 {
    shard.kv().put(put("/nodes/x", "1")).await.expect("a write");
    let reply = shard.kv().delete_range(delete("/nodes/x")).await.expect("a deletion");
    reply.into_inner().header.expect("a header").revision
}

/// What the change is said to do, what it says while it is made, and a proxy that has made it.
async fn change(rig: &Rig, routes: Routes<'_>) -> (String, String, Node) {
    let config = rig.config(routes);
    let (site, specs) = (site(&config), specs(&config));
    let Difference::Some(text) = diff(&site, &specs).await.expect("a difference") else {
        panic!("no difference")
    };
    let mut said = String::new();
    let mut report = |progress| {
        if let Progress::Writing(what) = progress {
            said += &format!("{what}\n");
        }
    };
    apply(&site, &specs, &options(), &mut report).await.expect("a change");
    let node = Node::start(&config);
    node.until_served().await;
    (text, said, node)
}

fn floor(node: &Node, route: &str) -> i64 {
    node.own.route(node.id(route)).floor
}

#[tokio::test]
async fn a_route_that_begins_on_another_shard_has_a_floor_in_its_first_reign() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    assert_eq!((floor(&node, "pods"), floor(&node, "rest")), (0, 0), "nobody else has shown these keys");
    write(&rig.client("a"), "/pods/x", 100).await;
    let gone = come_and_go(&rig.client("b")).await;
    let (text, said, new) = change(&rig, MOVED).await;
    assert!(text.contains("! route nodes: keys come to it from b, so its clients list again"), "{text}");
    assert!(said.contains("lists again"), "{said}");
    assert_eq!(new.route("nodes").reign, 1);
    let found = floor(&new, "nodes");
    assert!(found >= gone && found < rig.read("a").await.live.revision, "{found}, {gone}");
    assert_eq!(floor(&new, "rest"), 0, "it only loses keys");
}

#[tokio::test]
async fn a_route_that_stays_and_gets_keys_of_another_shard_begins_a_reign_with_a_floor() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(MOVED);
    node.until_served().await;
    write(&rig.client("b"), "/other/x", 100).await;
    let gone = come_and_go(&rig.client("a")).await;
    let before = node.own.route(node.id("rest")).clone();
    let (text, said, new) = change(&rig, TWO).await;
    assert!(text.contains("! route rest: keys come to it from a, so its clients list again"), "{text}");
    assert!(said.contains("reign 2 begins there, and whoever watches"), "{said}");
    assert_eq!((new.route("rest").reign, new.route("rest").shard.as_deref()), (2, Some("b")));
    let found = floor(&new, "rest");
    assert!(found >= gone && found < rig.read("b").await.live.revision, "{found}, {gone}");
    // Whoever was there before learns it, too: the old table is refused, the new one has another generation.
    node.refused("rest").await;
    assert!(node.own.route(node.id("rest")).generation > before.generation);
}

/// A proxy that was started with the new file holds sessions on every shard. It does not know the route that ends.
#[tokio::test]
async fn a_proxy_lets_go_of_a_route_that_it_does_not_know() {
    let rig = Rig::start(&["a", "b"]).await;
    let old = rig.node(SPLIT);
    old.until_served().await;
    let new = rig.node(TWO);
    new.refused("rest").await;
    new.until("its sessions", |s| s.shards.iter().all(|shard| shard.session)).await;
    let config = rig.config(TWO);
    let applied = apply(&site(&config), &specs(&config), &options(), &mut |_| {}).await.expect("a change");
    let paused = applied.paused.expect("a pause");
    assert!(paused < Duration::from_secs(10), "{paused:?}: somebody was waited for");
    new.until_served().await;
    old.refused("rest").await;
}

#[tokio::test]
async fn a_reign_without_a_readable_record_is_refused_and_says_so() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let served = node.own.route(node.id("pods")).generation;
    let (client, key) = (rig.client("a"), keys::reign("pods", 1));
    let record = client.kv().range(get(&key)).await.expect("a record").into_inner();
    let record = record.kvs[0].value.clone();
    client.kv().delete_range(delete(&key)).await.expect("a deletion");
    let reason = node.refused("pods").await;
    assert!(reason.contains("record of reign 1 is missing on shard a"), "{reason}");
    client.kv().put(put(&key, "{\"format\":9}")).await.expect("a write");
    node.until("another reason", |s| {
        s.routes[0].reason.as_ref().is_some_and(|reason| reason.contains("run a newer etcd-prism"))
    })
    .await;
    assert_eq!(node.route("rest").state, RouteState::Served);
    // As soon as it is there again, by the watch: nobody reads for it.
    client.kv().put(put(&key, &record)).await.expect("a write");
    node.until_served().await;
    assert!(node.own.route(node.id("pods")).generation > served);
    // Or the operator has one made. Nobody knows the old floor, so everything lies below the new one.
    client.kv().delete_range(delete(&key)).await.expect("a deletion");
    node.refused("pods").await;
    let before = rig.read("a").await.live.revision;
    accept(&site(&rig.config(TWO)), "a").await.expect("an acceptance");
    node.until_served().await;
    assert!(floor(&node, "pods") >= before);
}
