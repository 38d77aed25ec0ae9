//! Endpoints that do not lead where the file says.

use etcd_prism_tests::relay::Relay;
use etcd_prism_tests::request::{get, put};
use tonic::Code;

use crate::site::{PODS, Site, TWO, until_refused, until_served};

/// The naive version knows a shard by its name: one cluster serves as two shards, and their keys meet.
#[tokio::test]
async fn two_shards_that_are_one_cluster_are_refused() {
    let site = Site::start(&["a", "b"]).await;
    // The same address twice would not even be read.
    let relay = Relay::start(&site.shards["a"].endpoints()[0]).await;
    let endpoints = |shard: &str| match shard {
        "a" => site.shards["a"].endpoints(),
        _ => vec![relay.endpoint()],
    };
    let both = site.builder_at("both", TWO, endpoints).start_unready(&site.scratch);
    both.expect_log("route is refused");
    both.expect_log("the first fences are not created yet");
    for route in ["pods", "rest"] {
        until_refused(&both, route, "same etcd cluster as shard").await;
    }
    let refused = both.client().kv().put(put("/registry/pods/x", "1")).await.expect_err("a refusal");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("same etcd cluster"), "{refused:?}");
    assert_eq!(site.held("a", PODS).await.kvs.len(), 0);
}

/// The naive version serves a route from the wrong shard: every object is gone, and clients create them anew.
#[tokio::test]
async fn swapped_endpoints_are_refused() {
    let site = Site::start(&["a", "b"]).await;
    let one = site.proxy("one", TWO).await;
    until_served(&one, "pods").await;
    one.client().kv().put(put("/registry/pods/x", "1")).await.expect("a write");
    let swapped = |shard: &str| site.shards[if shard == "a" { "b" } else { "a" }].endpoints();
    let other = site.builder_at("swapped", TWO, swapped).start_unready(&site.scratch);
    for words in ["route is refused", "leads to another etcd cluster", "the first fences are not created yet"]
    {
        other.expect_log(words);
    }
    for route in ["pods", "rest"] {
        until_refused(&other, route, "correct the endpoints").await;
    }
    let refused = other.client().kv().range(get("/registry/pods/x")).await.expect_err("no answer");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(site.held("b", PODS).await.kvs.len(), 0);
}
