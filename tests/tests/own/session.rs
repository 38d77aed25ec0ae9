//! Sessions: what may be released, and until when.

use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_prism_control::Clock;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{Claim, Fence, State, Stored};
use etcd_prism_tests::request::{delete_prefix, put};
use etcd_prism_tests::wait;
use tokio::time::Instant;

use crate::rig::{Node, Rig, TTL, TWO, fence_key};

fn releases(node: &Node, route: &str, shard: &str) -> bool {
    let generation = node.own.route(node.id(route)).generation;
    node.own.may_release(node.id(route), generation, node.shard(shard))
}

#[tokio::test]
async fn ce36_a_suspended_proxy_releases_nothing() {
    let rig = Rig::start(&["a", "b"]).await;
    let (clock, ahead) = Clock::shifted();
    let node = Node::start_with(&rig.config(TWO), clock);
    node.until_served().await;
    assert!(releases(&node, "pods", "a") && releases(&node, "rest", "b"));
    let mut changes = node.own.subscribe();
    changes.mark_unchanged();
    // The machine sleeps for longer than a TTL: no task of ours ran meanwhile.
    ahead.fetch_add(TTL.as_nanos() as u64, Ordering::SeqCst);
    assert!(!releases(&node, "pods", "a") && !releases(&node, "rest", "b"));
    // It is noticed, and a new session is made.
    changes.changed().await.expect("a change");
    node.until_served().await;
    assert!(releases(&node, "pods", "a"));
}

#[tokio::test]
async fn a_session_that_was_removed_is_made_anew() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let mut changes = node.own.subscribe();
    changes.mark_unchanged();
    let before = node.snapshot().shards[0].lease.clone();
    rig.client("a").kv().delete_range(delete_prefix(keys::SESSIONS.key)).await.expect("a deletion");
    changes.changed().await.expect("the loss");
    node.until("another lease", |s| s.shards[0].session && s.shards[0].lease != before).await;
    assert_eq!(rig.read("a").await.sessions.sessions.len(), 1);
}

#[tokio::test]
async fn a_seal_is_acknowledged_after_the_route_was_let_go() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let view = node.own.route(node.id("pods")).clone();
    let (_, fence) = rig.fence("a", "pods").await.expect("a fence");
    let sealed = Fence { state: State::Sealed { peer: None, claim: Some(Claim(1)) }, ..fence.clone() };
    let key = fence_key("pods");
    let reply =
        rig.client("a").kv().put(put(&key, &sealed.encode().expect("a value"))).await.expect("a seal");
    let seal = reply.into_inner().header.expect("a header").revision;
    wait::until("the acknowledgement", async || {
        let sessions = rig.read("a").await.sessions.sessions;
        let acked = sessions[0].1.as_ref().expect("a readable session").acks.get("pods").copied();
        if acked == Some(seal) { Ok(()) } else { Err(acked) }
    })
    .await;
    // By then nothing that was asked for before may be passed on.
    let (pods, a) = (node.id("pods"), node.shard("a"));
    assert!(!node.own.may_release(pods, view.generation, a));
    assert!(node.own.route(pods).permit().is_none());
    assert!(node.own.session_valid(a), "the session itself stands");
    // A request that waits goes on as soon as the fence is open again.
    let own = node.own.clone();
    let waiting = tokio::spawn(async move { own.permit(pods, Instant::now() + wait::DEADLINE).await });
    let reply =
        rig.client("a").kv().put(put(&key, &fence.encode().expect("a value"))).await.expect("a write");
    let epoch = reply.into_inner().header.expect("a header").revision;
    let (_, permit) = waiting.await.expect("a task").expect("a permit");
    assert_eq!(permit.epoch, epoch);
    assert!(!node.own.may_release(pods, view.generation, a), "an old generation stays old");
}

#[tokio::test]
async fn waiting_for_a_permit_ends_with_its_deadline() {
    let mut rig = Rig::start(&["a", "b"]).await;
    rig.shard("a").kill();
    let node = rig.node(TWO);
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = node.own.permit(node.id("pods"), deadline).await.expect_err("no permit");
    assert!(Instant::now() >= deadline);
    assert!(error.to_string().contains("not served yet"), "{error}");
}

#[tokio::test]
async fn a_shard_that_was_away_gets_a_new_session() {
    let mut rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let before = node.snapshot().shards[0].lease.clone();
    rig.shard("a").kill();
    node.until("the loss", |s| !s.shards[0].session && s.shards[1].session).await;
    assert!(!releases(&node, "pods", "a") && releases(&node, "rest", "b"));
    rig.shard("a").restart().await;
    node.until("another lease", |s| s.shards[0].session && s.shards[0].lease != before).await;
    assert!(releases(&node, "pods", "a"));
}

#[tokio::test]
async fn a_proxy_that_stops_gives_its_sessions_back() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    node.own.close().await;
    assert!(!releases(&node, "pods", "a") && !releases(&node, "rest", "b"));
    for shard in ["a", "b"] {
        assert!(rig.read(shard).await.sessions.sessions.is_empty());
    }
}

#[tokio::test]
async fn a_proxy_without_fences_that_stops_serves_what_is_in_flight() {
    let rig = Rig::start(&["a", "b"]).await;
    let mut config = rig.config(TWO);
    config.ownership.fences = false;
    let node = Node::start(&config);
    let before = node.own.route(node.id("pods")).clone();
    assert!(before.unfenced && releases(&node, "pods", "a"));
    node.own.close().await;
    assert_eq!(*node.own.route(node.id("pods")), before);
    assert!(releases(&node, "pods", "a"));
}

#[tokio::test]
async fn session_leases_are_known() {
    let rig = Rig::start(&["a", "b"]).await;
    let (one, two) = (rig.node(TWO), rig.node(TWO));
    one.until_served().await;
    two.until_served().await;
    let lease = |node: &Node, shard: usize| {
        let hex = node.snapshot().shards[shard].lease.clone().expect("a lease");
        i64::from_str_radix(&hex, 16).expect("a lease id")
    };
    for shard in [0, 1] {
        for node in [&one, &two] {
            let id = lease(node, shard);
            wait::until("both to know the lease", async || {
                let known = [one.own.is_reserved_lease(id), two.own.is_reserved_lease(id)];
                if known == [true, true] { Ok(()) } else { Err(known) }
            })
            .await;
        }
    }
    assert!(!one.own.is_reserved_lease(1));
}

#[tokio::test]
async fn renewals_write_nothing() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let before = (rig.read("a").await.live.revision, rig.read("b").await.live.revision);
    let (mut renewals, mut last) = (0, u64::MAX);
    wait::until("three renewals", async || {
        let left = node.snapshot().shards[0].session_ms.expect("a session");
        // Time runs down but for a renewal.
        renewals += usize::from(left > last);
        last = left;
        if renewals >= 3 { Ok(()) } else { Err(renewals) }
    })
    .await;
    assert_eq!((rig.read("a").await.live.revision, rig.read("b").await.live.revision), before);
}
