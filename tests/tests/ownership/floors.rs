//! Revisions of before a route began on its shard are gone, as if compacted.

use etcd_prism_proto::etcdserverpb::{RangeRequest, WatchCreateRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::proxy::Proxy;
use etcd_prism_tests::request::{delete, get, list, put, watch_prefix};
use etcd_prism_tests::watch_check::revision;
use etcd_prism_tests::watch_stream::{WatchEnd, WatchStream};
use tonic::Code;

use crate::cli;
use crate::site::{MOVED, NODES, SPLIT, Site, TWO, revision_of, until_route};

const KEY: &str = "/registry/nodes/x";
const COMPACTED: (Code, &str) = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");

/// Writes and deletes, so that the prefix is empty; the revision of the write and of the deletion.
async fn live_and_die(client: &Client, key: &str) -> (i64, i64) {
    let written = client.kv().put(put(key, "1")).await.expect("a write").into_inner();
    let deleted = client.kv().delete_range(delete(key)).await.expect("a deletion").into_inner();
    (revision_of(written.header), revision_of(deleted.header))
}

/// A watch and a read at `at`, of before the change, are told to list again.
async fn is_compacted(client: &Client, prefix: &str, at: i64) {
    let mut watch = WatchStream::open(client);
    let created = watch.create(WatchCreateRequest { start_revision: at, ..watch_prefix(prefix) }).await;
    let canceled = match created.canceled {
        true => created,
        false => watch.wait_for("the end of the watch", |r| r.canceled).await,
    };
    assert!(canceled.compact_revision > at, "a watch from {at}: {canceled:?}");
    for range in [list(prefix), get(&format!("{prefix}x"))] {
        let range = RangeRequest { revision: at, ..range };
        let refused = client.kv().range(range).await.expect_err("a read of before the change");
        assert_eq!((refused.code(), refused.message()), COMPACTED, "a read at {at}");
    }
    // Where a client is told to go on, it can.
    let request = WatchCreateRequest { start_revision: canceled.compact_revision, ..watch_prefix(prefix) };
    let mut watch = WatchStream::open(client);
    let created = watch.create(request).await;
    assert!(created.created && !created.canceled, "{created:?}");
}

/// What is written now can be read and watched at its revision. That revision.
async fn works_above(client: &Client, key: &str) -> i64 {
    let (written, deleted) = live_and_die(client, key).await;
    let mut watch = WatchStream::open(client);
    watch.create(WatchCreateRequest { start_revision: written, ..watch_prefix(key) }).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(watch.next().await.events.iter().map(revision));
    }
    assert_eq!(seen, [written, deleted]);
    for (at, count) in [(written, 1), (deleted, 0)] {
        let found = client.kv().range(RangeRequest { revision: at, ..get(key) }).await;
        assert_eq!(found.expect("a read at a revision").into_inner().kvs.len(), count);
    }
    written
}

/// Changes the routes to those of `proxy`, and waits until it serves `route` in its reign `n`.
async fn change(site: &Site, proxy: &Proxy, name: &str, route: &str, (shard, n): (&str, u64)) {
    cli::apply(site, name).await;
    let what = format!("served on {shard} in reign {n}");
    until_route(proxy, route, &what, |r| r.reign == n && r.shard.as_deref() == Some(shard)).await;
}

/// The naive version answers from the new shard's own past: events between two lines of revisions are never seen.
#[tokio::test]
async fn a_route_that_begins_elsewhere_has_no_past() {
    let site = Site::start(&["a", "b"]).await;
    let old = site.proxy("old", TWO).await;
    old.expect_log("route is refused");
    let (first, last) = live_and_die(&old.client(), KEY).await;
    let lists = RangeRequest { revision: first, ..list(NODES) };
    let found = old.client().kv().range(lists).await.expect("a read of the past").into_inner();
    assert_eq!(found.kvs.len(), 1);
    let away = site.early("away", MOVED);
    site.advance("a", "/registry/pods/x", last + 50).await;
    change(&site, &away, "away", "nodes", ("a", 1)).await;
    for at in [1, first, last] {
        is_compacted(&away.client(), NODES, at).await;
    }
    let second = works_above(&away.client(), KEY).await;
    // Routes that stayed keep theirs.
    let own = RangeRequest { revision: first, ..list("/registry/pods/") };
    away.client().kv().range(own).await.expect("the past of another route");

    // On from there to b, where the keys were once before, as part of another route.
    let back = site.early("back", SPLIT);
    site.advance("b", "/registry/other", second + 100).await;
    change(&site, &back, "back", "nodes", ("b", 2)).await;
    for at in [first, last, second] {
        is_compacted(&back.client(), NODES, at).await;
    }
    let third = works_above(&back.client(), KEY).await;
    // And to a again: its own earlier reign there does not count either.
    site.advance("a", "/registry/pods/x", third + 100).await;
    change(&site, &away, "away", "nodes", ("a", 3)).await;
    for at in [first, second, third] {
        is_compacted(&away.client(), NODES, at).await;
    }
    works_above(&away.client(), KEY).await;
}

/// The naive version looks at routes that begin only: whoever watches the one that gets keys misses what they were.
#[tokio::test]
async fn a_route_that_gets_keys_of_another_shard_begins_anew() {
    let site = Site::start(&["a", "b"]).await;
    let away = site.proxy("away", MOVED).await;
    away.expect_log("route is refused");
    let other = "/registry/other/";
    let (kept, _) = live_and_die(&away.client(), "/registry/other/x").await;
    let (_, last) = live_and_die(&away.client(), KEY).await;
    // A watch of what rest has before the change and after it: its client has to list again, too.
    let mut watch = WatchStream::open(&away.client());
    watch.create(watch_prefix(other)).await;
    let home = site.early("home", TWO);
    site.advance("b", "/registry/else", last + 50).await;
    change(&site, &home, "home", "rest", ("b", 2)).await;
    let end = watch.wait_for_end().await;
    assert!(matches!(&end, WatchEnd::Status(status) if status.code() == Code::Unavailable), "{end}");
    for prefix in [NODES, other] {
        for at in [kept, last] {
            is_compacted(&home.client(), prefix, at).await;
        }
    }
    works_above(&home.client(), KEY).await;
    works_above(&home.client(), "/registry/other/x").await;
}
