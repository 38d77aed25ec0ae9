//! Shards with authentication, and users that may or may not use the reserved keys.

use etcd_prism_control::RouteState;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{Claim, Fence, State, Stored};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_tests::auth::protect;
use etcd_prism_tests::etcdctl::Etcdctl;
use etcd_prism_tests::http;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::relay::{Network, Relay};
use etcd_prism_tests::request::{delete, get, put, txn};
use etcd_prism_tests::wait;
use tonic::Code;

use crate::site::{NODES, PODS, Routes, Site, TWO, until_route, until_served};

const JOBS: &str = "/registry/jobs/";

/// `plain` may use what clients may and nothing else.
const USERS: &[(&str, &[&str])] = &[("full", &["keys", "fences"]), ("plain", &["keys"])];

/// Lets a proxy use a shard as `user`.
fn log_in(site: &Site, builder: ProxyBuilder, shard: &str, user: &str) -> ProxyBuilder {
    let file = site.scratch.path().join("password");
    std::fs::write(&file, "secret\n").expect("a password file");
    builder.shard_extra(shard, &format!("username = {user:?}\npassword_file = {file:?}\n"))
}

fn root(site: &Site, shard: &str) -> Etcdctl {
    Etcdctl::new(site.direct(shard).endpoint(), &site.scratch)
}

async fn fenced_writes(proxy: &Proxy) -> u64 {
    let metrics = proxy.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("etcd_prism_fenced_writes_total "));
    line.expect("the metric").parse().expect("a number")
}

/// The naive version fences whatever it is allowed to, and says nothing: or it fails every write of a user without rights.
#[tokio::test]
async fn rights_decide_whether_a_route_is_fenced() {
    let site = Site::start(&["a", "b"]).await;
    for shard in ["a", "b"] {
        protect(&site.direct(shard), USERS).await;
    }
    let full = |name| log_in(&site, log_in(&site, site.builder(name, TWO), "a", "full"), "b", "full");
    let plain = log_in(&site, log_in(&site, site.builder("plain", TWO), "a", "plain"), "b", "plain");
    // Without rights first: nothing that it does may keep the others from fencing later.
    let plain = plain.start(&site.scratch).await;
    plain.expect_log("no rights on the proxy's own keys");
    plain.expect_log("the first fences are not created yet");
    for route in ["pods", "rest"] {
        until_route(&plain, route, "unfenced", |r| r.state == RouteState::Unfenced).await;
    }
    let status = http::get_ok(&plain.admin(), "/status").await.expect("a status");
    for words in ["route pods: served without a fence", "no rights on the reserved keys"] {
        assert!(status.contains(words), "no {words:?} in {status}");
    }
    plain.client().kv().put(put("/registry/pods/x", "1")).await.expect("a write");
    assert_eq!(fenced_writes(&plain).await, 0);

    let one = full("one").start(&site.scratch).await;
    for route in ["pods", "rest"] {
        until_served(&one, route).await;
    }
    let found = one.client().kv().range(get("/registry/pods/x")).await.expect("a read").into_inner();
    assert_eq!(found.kvs[0].value, "1");
    one.client().kv().put(put("/registry/pods/x", "2")).await.expect("a write");
    assert_eq!(fenced_writes(&one).await, 1);
    // With the rights the other one fences, too, without a restart.
    for shard in ["a", "b"] {
        root(&site, shard).run(&["--user=root:secret", "user", "grant-role", "plain", "fences"]).await;
    }
    for route in ["pods", "rest"] {
        until_served(&plain, route).await;
    }
    plain.client().kv().put(put("/registry/pods/x", "3")).await.expect("a write");
    assert_eq!(fenced_writes(&plain).await, 1);
}

const MIXED: Routes = &[("pods", &[PODS], "a"), ("jobs", &[JOBS], "a"), ("rest", &[], "b")];

/// The naive version fences a request only if all of its routes are: one route without a fence opens the others.
#[tokio::test]
async fn a_txn_over_a_fenced_and_an_unfenced_route_carries_the_fence() {
    let site = Site::start(&["a", "b"]).await;
    protect(&site.direct("b"), USERS).await;
    let first = log_in(&site, site.builder("first", MIXED), "b", "full").start(&site.scratch).await;
    for route in ["pods", "jobs", "rest"] {
        until_served(&first, route).await;
    }
    drop(first);
    // Somebody removes one fence by hand. Where rights are missing on another shard, nobody can create it again.
    site.direct("a").kv().delete_range(delete(&keys::fence("jobs"))).await.expect("a deletion");
    let relay = Relay::start(&site.shards["a"].endpoints()[0]).await;
    let endpoints = |shard: &str| match shard {
        "a" => vec![relay.endpoint()],
        _ => site.shards[shard].endpoints(),
    };
    let one =
        log_in(&site, site.builder_at("one", MIXED, endpoints), "b", "plain").start(&site.scratch).await;
    one.expect_log("no rights on the proxy's own keys");
    one.expect_log("the first fences are not created yet");
    until_route(&one, "jobs", "unfenced", |r| r.state == RouteState::Unfenced).await;
    let epoch = until_served(&one, "pods").await.epoch;
    let both = |value: &str| {
        let puts = ["/registry/pods/x", "/registry/jobs/x"];
        txn(puts.map(|key| Request::RequestPut(put(key, value))))
    };
    one.client().kv().put(put("/registry/jobs/x", "1")).await.expect("a write");
    assert_eq!(fenced_writes(&one).await, 0);
    one.client().kv().txn(both("2")).await.expect("a write to both");
    assert_eq!(fenced_writes(&one).await, 1);

    // On its way while the fence is sealed: it must not be applied, for neither of them.
    relay.set(Network::Silent);
    let client = one.client();
    let late = tokio::spawn(async move { client.kv().txn(both("3")).await });
    wait::until("the write to be on its way", async || match fenced_writes(&one).await {
        2 => Ok(()),
        count => Err(count),
    })
    .await;
    let key = keys::fence("pods");
    let stored = site.direct("a").kv().range(get(&key)).await.expect("a read").into_inner().kvs.remove(0);
    assert_eq!(stored.mod_revision, epoch);
    let fence = Fence::decode(&stored.value).expect("a fence");
    let sealed = Fence { state: State::Sealed { peer: None, claim: Some(Claim(1)) }, ..fence.clone() };
    let write = async |fence: &Fence| {
        let value = fence.encode().expect("a value");
        site.direct("a").kv().put(put(&key, &value)).await.expect("a fence");
    };
    write(&sealed).await;
    relay.set(Network::Good);
    let refused = late.await.expect("a task").expect_err("a write behind a seal");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    for prefix in [PODS, JOBS] {
        assert_eq!(site.held("a", prefix).await.kvs[0].value, "2", "a refused write was applied");
    }
    write(&fence).await;
    until_served(&one, "pods").await;
    one.client().kv().txn(both("4")).await.expect("a write to both");
}

const THREE: Routes = &[("pods", &[PODS], "a"), ("jobs", &[JOBS], "c"), ("rest", &[], "b")];
/// Another file: it gives `nodes` to `a`, where `THREE` has them on `b`.
const OTHER: Routes =
    &[("pods", &[PODS], "a"), ("nodes", &[NODES], "a"), ("jobs", &[JOBS], "c"), ("rest", &[], "b")];

/// The naive version takes a missing right on one shard for leave to serve anything anywhere without a fence.
#[tokio::test]
async fn a_missing_right_does_not_open_keys_that_others_serve_fenced() {
    let site = Site::start(&["a", "b", "c"]).await;
    protect(&site.direct("c"), USERS).await;
    let one = log_in(&site, site.builder("one", THREE), "c", "full").start(&site.scratch).await;
    for route in ["pods", "jobs", "rest"] {
        until_served(&one, route).await;
    }
    let other = log_in(&site, site.builder("other", OTHER), "c", "plain").start_unready(&site.scratch);
    for words in
        ["no rights on the proxy's own keys", "the first fences are not created yet", "route is refused"]
    {
        other.expect_log(words);
    }
    until_route(&other, "rest", "refused", |r| r.state == RouteState::Refused).await;
    until_served(&other, "pods").await;
    let written = other.client().kv().put(put("/registry/nodes/x", "1")).await;
    let found = one.client().kv().range(get("/registry/nodes/x")).await.expect("a read").into_inner();
    assert!(
        written.is_err() || found.kvs.len() == 1,
        "acknowledged through one proxy, not there through the other: two shards serve one key"
    );
    assert_eq!(site.held("a", NODES).await.kvs.len(), 0, "a key where no fence says that it belongs");
}
