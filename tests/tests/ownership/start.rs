//! Starts while a shard is down.

use std::time::Duration;

use etcd_prism_control::RouteState;
use etcd_prism_proto::etcdserverpb::RangeRequest;
use etcd_prism_tests::proxy::Proxy;
use etcd_prism_tests::request::{get, list, put};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::site::{Site, TWO, until_route, until_served};

/// The proxy's own bound on a request, and what a busy machine may add.
const BOUND: Duration = Duration::from_secs(7 + 3);
const PODS_KEY: &str = "/registry/pods/x";

/// An answer within the bound, whatever it is.
async fn within_bound<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let asked = Instant::now();
    let answer = call.await;
    assert!(asked.elapsed() < BOUND, "answered after {:?}", asked.elapsed());
    answer
}

async fn waits(proxy: &Proxy, key: &str) {
    let (reader, writer) = (proxy.client(), proxy.client());
    let (mut reads, mut writes) = (reader.kv(), writer.kv());
    let (read, write) =
        tokio::join!(within_bound(reads.range(get(key))), within_bound(writes.put(put(key, "early"))));
    for refused in [read.map(drop).expect_err("no read"), write.map(drop).expect_err("no write")] {
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    }
}

/// The naive version waits for every shard at every start: one shard that is down takes all of them along.
#[tokio::test]
async fn a_shard_that_is_down_delays_its_own_routes_only() {
    let mut site = Site::start(&["a", "b"]).await;
    let mut one = site.proxy("one", TWO).await;
    until_served(&one, "pods").await;
    one.client().kv().put(put(PODS_KEY, "1")).await.expect("a write");
    one.expect_log("not reached yet");
    site.shard("a").kill();
    let asked = Instant::now();
    one.restart().await;
    one.client().kv().put(put("/registry/other", "1")).await.expect("a write elsewhere");
    let found = one.client().kv().range(get("/registry/other")).await.expect("a read elsewhere").into_inner();
    assert_eq!(found.kvs.len(), 1);
    assert!(asked.elapsed() < BOUND, "the other route was served after {:?}", asked.elapsed());
    waits(&one, PODS_KEY).await;
    let state = until_route(&one, "pods", "waiting", |r| r.state == RouteState::Waiting).await;
    assert!(state.reason.as_ref().is_some_and(|reason| reason.contains("not reached")), "{state:?}");
    site.shard("a").restart().await;
    until_served(&one, "pods").await;
    let found = one.client().kv().range(get(PODS_KEY)).await.expect("a read").into_inner();
    assert_eq!(found.kvs[0].value, "1", "a write that was refused was applied");
}

/// The naive version serves what it can reach: keys that only the missing shard knows of seem not to exist.
#[tokio::test]
async fn before_every_shard_was_asked_once_nothing_is_served() {
    let mut site = Site::start(&["a", "b"]).await;
    // Keys of the route from before, where the file does not look for them.
    site.direct("b").kv().put(put(PODS_KEY, "before")).await.expect("a write");
    site.shard("b").kill();
    let one = site.early("one", TWO);
    one.expect_log("not reached yet");
    one.expect_log("the first fences are not created yet");
    until_route(&one, "pods", "waiting", |r| r.reason.as_ref().is_some_and(|r| r.contains('b'))).await;
    tokio::join!(waits(&one, PODS_KEY), waits(&one, "/registry/other"));
    assert_eq!(site.held("a", "/").await.kvs.len(), 0, "something was written");
    let fences = list(etcd_prism_ownership::keys::FENCES.key);
    let fences =
        site.direct("a").kv().range(RangeRequest { count_only: true, ..fences }).await.expect("a read");
    assert_eq!(fences.into_inner().count, 0, "a fence before all shards were looked at");

    site.shard("b").restart().await;
    let reason = until_route(&one, "pods", "refused", |r| r.state == RouteState::Refused).await.reason;
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("holds keys")), "{reason:?}");
    until_served(&one, "rest").await;
    site.direct("b")
        .kv()
        .delete_range(etcd_prism_tests::request::delete(PODS_KEY))
        .await
        .expect("a deletion");
    until_served(&one, "pods").await;
    one.client().kv().put(put(PODS_KEY, "1")).await.expect("a write");
}
