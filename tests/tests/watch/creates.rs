//! Rules 1 and 2: creates and ids.

use std::collections::BTreeSet;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::watch_check::key;
use etcd_prism_tests::watch_stream::WatchStream;

use crate::on_both;
use crate::site::{Site, prefix_of, topology, write};

on_both!(
    each_create_gets_one_answer_in_order,
    ids_are_unique_and_chosen_ones_are_kept,
    a_failed_create_leaves_the_stream
);

fn watch(route: &str) -> WatchCreateRequest {
    watch_prefix(prefix_of(route))
}

fn empty_range() -> WatchCreateRequest {
    WatchCreateRequest {
        key: Bytes::from_static(b"b"),
        range_end: Bytes::from_static(b"a"),
        ..Default::default()
    }
}

/// Rule 1, with every create in flight at once. Client-chosen ids tell which answer belongs to which.
async fn each_create_gets_one_answer_in_order(site: &Site) {
    let mut stream = WatchStream::open(&site.client());
    let with_id = |route: &str, watch_id| WatchCreateRequest { watch_id, ..watch(route) };
    let creates = [
        (with_id("pods", 11), Ok(11)),
        (empty_range(), Err("mvcc: watcher range is empty")),
        (with_id("events", 12), Ok(12)),
        (with_id("rest", 11), Err("mvcc: duplicate watch ID provided on the WatchStream")),
        (
            WatchCreateRequest { start_revision: -1, ..watch("leases") },
            Err("etcdserver: mvcc: required revision has been compacted"),
        ),
        (with_id("leases", 13), Ok(13)),
    ];
    for (request, _) in &creates {
        stream.send_create(request.clone());
    }
    for (request, answer) in creates {
        let created = stream.wait_for("created", |response| response.created).await;
        assert!(created.header.as_ref().is_some_and(|header| header.revision > 0), "{created:?}");
        match answer {
            Ok(id) => assert!(created.watch_id == id && !created.canceled, "{request:?}: {created:?}"),
            Err(reason) => {
                assert!(created.watch_id == -1 && created.canceled, "{request:?}: {created:?}");
                assert_eq!(created.cancel_reason, reason);
            }
        }
    }
    // Nothing but the event: in particular no second `created`.
    write(&site.client(), "pods", "a", b"1").await;
    let response = stream.next().await;
    assert!(response.watch_id == 11 && response.events.len() == 1 && !response.created, "{response:?}");
}

/// Rule 2.
async fn ids_are_unique_and_chosen_ones_are_kept(site: &Site) {
    let mut stream = WatchStream::open(&site.client());
    let mut ids = BTreeSet::new();
    let routes = ["pods", "rest", "events", "leases"];
    for route in routes {
        let created = stream.create(watch(route)).await;
        assert!(!created.canceled && ids.insert(created.watch_id), "{created:?} after {ids:?}");
    }
    assert!(ids.contains(&0), "0 is an id like any other: {ids:?}");
    // The number that would come next, asked for by hand, is not given to another.
    let chosen = ids.len() as i64;
    let created = stream.create(WatchCreateRequest { watch_id: chosen, ..watch("pods") }).await;
    assert!(created.watch_id == chosen && !created.canceled, "{created:?}");
    let created = stream.create(watch("rest")).await;
    assert!(
        !created.canceled && created.watch_id != chosen && !ids.contains(&created.watch_id),
        "{created:?}"
    );
    // A canceled id is free again.
    stream.send_cancel(chosen);
    stream.wait_for("canceled", |response| response.canceled && response.watch_id == chosen).await;
    let created = stream.create(WatchCreateRequest { watch_id: chosen, ..watch("leases") }).await;
    assert!(created.watch_id == chosen && !created.canceled, "{created:?}");
    // And means the new watcher.
    write(&site.client(), "pods", "a", b"1").await;
    write(&site.client(), "leases", "a", b"1").await;
    let response = stream.wait_for("the event", |response| response.watch_id == chosen).await;
    assert_eq!(key(&response.events[0]), b"/registry/leases/a");
}

async fn a_failed_create_leaves_the_stream(site: &Site) {
    let mut stream = WatchStream::open(&site.client());
    assert!(stream.create(empty_range()).await.canceled);
    stream.send_nothing();
    stream.send_cancel(4_711);
    let created = stream.create(watch("pods")).await;
    assert!(!created.canceled, "{created:?}");
    write(&site.client(), "pods", "a", b"1").await;
    assert_eq!(key(&stream.next().await.events[0]), b"/registry/pods/a");
}

/// Rule 1: the create for a shard that is down fails after a while; those behind it succeed.
#[tokio::test]
async fn a_shard_that_is_down_fails_its_own_creates_only() {
    let mut topology = topology().await;
    topology.proxy.expect_log("pods");
    topology.shard("pods").pause();
    let mut stream = WatchStream::open(&topology.client());
    stream.send_create(watch("rest"));
    stream.send_create(watch("pods"));
    stream.send_create(watch("events"));
    let created = [stream.next().await, stream.next().await, stream.next().await];
    assert!(created.iter().all(|response| response.created), "{created:?}");
    let [rest, pods, events] = created;
    assert!(!rest.canceled && !events.canceled, "{rest:?} {events:?}");
    assert!(pods.canceled && pods.watch_id == -1 && !pods.cancel_reason.is_empty(), "{pods:?}");
    write(&topology.client(), "events", "a", b"1").await;
    assert_eq!(stream.next().await.watch_id, events.watch_id);
    topology.shard("pods").resume();
    topology.shard("pods").wait_ready().await;
    let again = stream.create(watch("pods")).await;
    assert!(!again.canceled, "{again:?}");
    write(&topology.client(), "pods", "a", b"1").await;
    assert_eq!(stream.next().await.watch_id, again.watch_id);
}
