//! A proxy is stopped (SIGSTOP) while routes change, and woken when all is over.

use etcd_prism_tests::request::{delete, get, list, put, watch_prefix};
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_stream::{WatchEnd, WatchStream};
use tonic::Code;

use crate::cli;
use crate::load::Load;
use crate::site::{
    MOVED, NODES, PODS, SPLIT, Site, TWO, layout, pause, revision_of, until_refused, until_served,
};

/// The naive version counts those that answered: the sleeper goes on where it was, with what it believed.
#[tokio::test]
async fn a_proxy_that_slept_through_a_split_serves_only_what_stayed() {
    let site = Site::start(&["a", "b"]).await;
    let mut one = site.proxy("one", TWO).await;
    let two = site.proxy("two", TWO).await;
    let new = site.early("new", SPLIT);
    for proxy in [&one, &two] {
        proxy.expect_log("route is refused");
    }
    let load = Load::start(&[("one", &one), ("two", &two)], &[("new", &new)], &[PODS, NODES]).await;
    load.goes_on(&["one", "two"], &[PODS, NODES]).await;
    load.goes_on(&["new"], &[PODS]).await;
    until_refused(&new, "rest", "route apply").await;

    pause(&mut one).await;
    let sleeper = one.client();
    let written = tokio::spawn(async move { sleeper.kv().put(put("/registry/asleep", "1")).await });
    let change = cli::apply(&site, "new").await;
    assert!(change.contains("waiting for one"), "nobody waited for the sleeper:\n{change}");
    for route in ["nodes", "rest"] {
        until_served(&new, route).await;
    }
    load.goes_on(&["new"], &[PODS, NODES]).await;
    load.goes_on(&["two"], &[PODS]).await;
    until_refused(&two, "rest", "route apply").await;
    // Asked for after that was acknowledged, and before the sleeper wakes.
    new.client().kv().put(put("/registry/fresh", "1")).await.expect("a write");
    let sleeper = one.client();
    let read = tokio::spawn(async move { sleeper.kv().range(get("/registry/fresh")).await });

    one.resume();
    let refused = written.await.expect("a task").expect_err("a write under a fence that is gone");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(site.held("b", "/registry/asleep").await.kvs.len(), 0, "a refused write was applied");
    if let Ok(found) = read.await.expect("a task") {
        assert_eq!(found.into_inner().kvs.len(), 1, "a stale read of the sleeper");
    }
    until_refused(&one, "rest", "route apply").await;
    load.goes_on(&["one", "two", "new"], &[PODS]).await;

    one.expect_log("needs a restart");
    one.reconfigure(|builder| builder.layout(layout(SPLIT)));
    one.restart().await;
    load.goes_on(&["one", "new"], &[PODS, NODES]).await;
    load.end(&[(PODS, site.direct("a")), (NODES, site.direct("b"))]).await;
}

/// The naive version writes where the route was: the write is acknowledged, and nobody ever reads it.
#[tokio::test]
async fn a_proxy_that_slept_through_a_move_writes_nothing_where_the_route_was() {
    let site = Site::start(&["a", "b"]).await;
    let mut one = site.proxy("one", MOVED).await;
    let new = site.early("new", SPLIT);
    let (key, late) = ("/registry/nodes/x", "/registry/nodes/late");
    let before = one.client().kv().put(put(key, "old")).await.expect("a write").into_inner();
    one.client().kv().delete_range(delete(key)).await.expect("a deletion");
    site.advance("b", "/registry/other", revision_of(before.header) + 50).await;

    let mut watch = WatchStream::open(&one.client());
    watch.create(watch_prefix(NODES)).await;

    pause(&mut one).await;
    let sleeper = one.client();
    let written = tokio::spawn(async move { sleeper.kv().put(put(late, "asleep")).await });
    let change = cli::apply(&site, "new").await;
    assert!(change.contains("waiting for one"), "nobody waited for the sleeper:\n{change}");
    assert_eq!(until_served(&new, "nodes").await.shard.as_deref(), Some("b"));
    new.client().kv().put(put(key, "new")).await.expect("a write");
    // Whatever the old shard does with the keys now is nobody's business.
    site.direct("a").kv().put(put("/registry/nodes/ghost", "1")).await.expect("a write");
    let reads: Vec<_> = (0..5)
        .map(|_| {
            let sleeper = one.client();
            tokio::spawn(async move { sleeper.kv().range(list(NODES)).await })
        })
        .collect();

    one.resume();
    let written = written.await.expect("a task");
    for read in reads {
        // Whoever serves this has to know of the write.
        if let Ok(found) = read.await.expect("a task") {
            let kvs = found.into_inner().kvs;
            assert!(kvs.iter().any(|kv| kv.value == "new"), "a stale read: {kvs:?}");
            assert!(
                kvs.iter().all(|kv| kv.key != "/registry/nodes/ghost"),
                "a read of the old shard: {kvs:?}"
            );
        }
    }
    // The route's keys are the same as before, so the sleeper follows it, though its file still says otherwise.
    let served = wait::until("the sleeper to follow the route", async || {
        let found = one.client().kv().range(get(key)).await.map_err(|status| format!("{status:?}"))?;
        Ok::<_, String>(found.into_inner().kvs)
    })
    .await;
    assert_eq!(served[0].value, "new");
    assert_eq!(until_served(&one, "nodes").await.shard.as_deref(), Some("b"));
    let left = site.held("a", NODES).await.kvs;
    assert_eq!(left.len(), 1, "a write on the shard that the route has left: {left:?}");
    // Its client goes on from where it was, which is before the route began there.
    let end = loop {
        match watch.try_next(wait::DEADLINE).await {
            Ok(response) if response.canceled => break format!("{response:?}"),
            Ok(response) => assert!(response.events.is_empty(), "an event of the old shard: {response:?}"),
            Err(WatchEnd::Status(status)) => break format!("{status:?}"),
            Err(end) => panic!("the watch of the old shard did not end: {end}"),
        }
    };
    let ends = ["the route has moved", "compact_revision"];
    assert!(ends.iter().any(|words| end.contains(words)), "{end}");
    let applied = site.held("b", late).await.kvs.len();
    match written {
        Ok(_) => assert_eq!(applied, 1, "an acknowledged write is lost"),
        Err(status) => assert_eq!((status.code(), applied), (Code::Unavailable, 0), "{status:?}"),
    }
}
