//! Shards that are not what they are taken for.

use std::collections::BTreeMap;

use etcd_prism_control::{RouteState, accept};
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{Sample, Samples, Stored};
use etcd_prism_proto::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_prism_tests::request::put;
use etcd_prism_tests::scratch::copy_folder;
use etcd_prism_upstream::configure::configure;
use etcd_prism_upstream::{ShardPool, rpc};

use crate::rig::{Node, Rig, TWO, site};

#[tokio::test]
async fn ce26_two_entries_of_one_cluster_are_refused() {
    let rig = Rig::start(&["a", "b"]).await;
    let mut config = rig.config(TWO);
    config.shards[1].endpoints = config.shards[0].endpoints.clone();
    let node = Node::start(&config);
    for route in ["pods", "rest"] {
        let reason = node.refused(route).await;
        assert!(reason.contains("is the same etcd cluster as shard"), "{reason}");
    }
    assert!(rig.read("a").await.snapshot.fences.is_empty(), "nothing was created");
}

#[tokio::test]
async fn ce26_swapped_endpoints_are_refused() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    drop(node);
    let node = Node::start(&rig.config_of(&[("a", "b"), ("b", "a")], TWO));
    for route in ["pods", "rest"] {
        let reason = node.refused(route).await;
        assert!(reason.contains("etcd cluster") && reason.contains("correct the endpoints"), "{reason}");
    }
}

/// An endpoint that leads elsewhere after a reload is not used, by old connections or new ones.
#[tokio::test]
async fn an_endpoint_swapped_on_reload_is_not_used() {
    let rig = Rig::start(&["a", "b"]).await;
    let config = rig.config(TWO);
    let node = Node::start(&config);
    node.until_served().await;
    rig.client("a").kv().put(put("/pods/x", "a")).await.expect("a write");
    rig.client("b").kv().put(put("/pods/x", "b")).await.expect("a write");
    let pool = ShardPool::new(node.shards[0].clone());
    let get = RangeRequest { key: "/pods/x".into(), ..RangeRequest::default() };
    let read = async || rpc::read::<_, RangeResponse>(&pool, rpc::RANGE, &get).await;
    assert_eq!(read().await.expect("an answer").kvs[0].value, "a");
    let mut elsewhere = config.shards[0].clone();
    elsewhere.endpoints = config.shards[1].endpoints.clone();
    let reload = |shard| {
        let configured = configure(shard).expect("a shard");
        node.shards[0].reconfigure(configured.endpoints, configured.bounds);
    };
    reload(&elsewhere);
    let error = read().await.expect_err("no answer of another cluster");
    assert!(error.to_string().contains("etcd cluster"), "{error}");
    let reason = node.refused("pods").await;
    assert!(reason.contains("correct the endpoints"), "{reason}");
    assert_eq!(node.route("rest").state, RouteState::Served);
    reload(&config.shards[0]);
    node.until_served().await;
    assert_eq!(read().await.expect("an answer").kvs[0].value, "a");
}

/// Makes a backup of a shard, and writes to it from then on.
async fn back_up(rig: &mut Rig, name: &str, write: usize) {
    let data = rig.scratch.data(&format!("{name}-0"));
    let backup = rig.scratch.path().join("backup");
    rig.shard(name).kill();
    copy_folder(&data, &backup);
    rig.shard(name).restart().await;
    for i in 0..write {
        rig.client(name).kv().put(put("/pods/later", &i.to_string())).await.expect("a write");
    }
}

async fn restore(rig: &mut Rig, name: &str) {
    let data = rig.scratch.data(&format!("{name}-0"));
    rig.shard(name).kill();
    std::fs::remove_dir_all(&data).expect("old data");
    copy_folder(&rig.scratch.path().join("backup"), &data);
    rig.shard(name).restart().await;
}

#[tokio::test]
async fn ce26_a_restored_backup_is_refused_until_it_is_accepted() {
    let mut rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    drop(node);
    back_up(&mut rig, "a", 50).await;
    let node = rig.node(TWO);
    node.until_served().await;
    restore(&mut rig, "a").await;
    let reason = node.refused("pods").await;
    assert!(reason.contains("restored from a backup") && reason.contains("shard accept"), "{reason}");
    assert_eq!(node.route("rest").state, RouteState::Served);
    assert!(!node.snapshot().shards[0].session, "no session is kept where the revision must not grow");
    let done = accept(&site(&rig.config(TWO)), "a").await.expect("an acceptance");
    assert!(done.iter().any(|line| line.contains("identity")), "{done:?}");
    node.until_served().await;
    let table = rig.read("b").await.snapshot.table.expect("a table").1.expect("a readable table");
    assert_eq!(
        (table.generation, table.shards[0].id),
        (2, rig.read("a").await.live.id.expect("an identity"))
    );
}

/// A proxy that starts after the backup was restored remembers nothing, but the other shards do.
#[tokio::test]
async fn ce26_a_restored_backup_is_refused_by_a_proxy_that_has_just_started() {
    let mut rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    drop(node);
    back_up(&mut rig, "a", 50).await;
    let live = rig.read("a").await.live;
    let others = BTreeMap::from([(live.id.expect("an identity"), live.revision)]);
    let samples = Samples { samples: vec![Sample { home: 1, others }] };
    let value = samples.encode().expect("a value");
    rig.client("b").kv().put(put(keys::SAMPLES, &value)).await.expect("samples");
    restore(&mut rig, "a").await;
    let node = rig.node(TWO);
    let own = node.own.clone();
    let pods = node.id("pods");
    let watching = tokio::spawn(async move {
        let mut changes = own.subscribe();
        loop {
            assert!(own.route(pods).permit().is_none(), "served before anybody could know");
            changes.changed().await.ok();
        }
    });
    let reason = node.refused("pods").await;
    assert!(reason.contains("restored from a backup"), "{reason}");
    assert!(!watching.is_finished());
    watching.abort();
}

#[tokio::test]
async fn ce26_a_shard_that_was_emptied_is_refused_until_it_is_accepted() {
    let mut rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    rig.shard("a").kill();
    std::fs::remove_dir_all(rig.scratch.data("a-0")).expect("old data");
    rig.shard("a").restart().await;
    let reason = node.refused("pods").await;
    assert!(reason.contains("lost its identity"), "{reason}");
    accept(&site(&rig.config(TWO)), "a").await.expect("an acceptance");
    // Nobody holds keys of the route, so it begins again.
    node.until_served().await;
}

#[tokio::test]
async fn ce26_a_copy_of_another_shard_is_not_accepted() {
    let mut rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    drop(node);
    let config = rig.config_of(&[("a", "b"), ("b", "a")], TWO);
    let error = accept(&site(&config), "a").await.expect_err("a refusal");
    assert!(error.to_string().contains("shard b"), "{error}");
    rig.shard("a").kill();
}
