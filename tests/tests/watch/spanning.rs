//! Rule 12: a watch over several shards.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_tests::history::current_revision;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, key};
use etcd_prism_tests::watch_stream::WatchStream;

use crate::site::{Site, prefix_of, topology, write, write_together};

const ROUTES: [&str; 4] = ["events", "leases", "pods", "rest"];

fn everything() -> WatchCreateRequest {
    let all = Bytes::from_static(b"\0");
    WatchCreateRequest { key: all.clone(), range_end: all, prev_kv: true, ..Default::default() }
}

#[tokio::test]
async fn a_watch_of_everything_merges_all_shards_from_now() {
    const WRITES: usize = 50;
    let site = Site::proxy().await;
    let client = site.client();
    write(&client, "pods", "before", b"1").await;
    let mut from = BTreeMap::new();
    for route in ROUTES {
        from.insert(route, current_revision(&site.shard(route)).await + 1);
    }
    let mut stream = WatchStream::open(&client);
    let created = stream.create(everything()).await;
    assert!(!created.canceled && header_revision(&created) > 0, "{created:?}");
    let mut last = BTreeMap::new();
    for turn in 0..WRITES {
        for route in ROUTES {
            last.insert(route, write(&client, route, "a", turn.to_string().as_bytes()).await);
        }
    }
    let mut log = WatcherLog::new(everything());
    while log.events().count() < WRITES * ROUTES.len() {
        log.responses.push(stream.next().await);
    }
    let Site::Proxy(topology) = &site else { unreachable!("a site with a proxy") };
    log.check_lines(|key| topology.layout.route_of(key)).expect("ordered and unique on each route");
    for route in ROUTES {
        let mut part = WatcherLog::new(watch_prefix(prefix_of(route)));
        part.responses.clone_from(&log.responses);
        for response in &mut part.responses {
            response.events.retain(|event| key(event).starts_with(prefix_of(route).as_bytes()));
        }
        part.responses.retain(|response| !response.events.is_empty());
        site.verify(route, &part, from[route], last[route]).await;
    }
}

#[tokio::test]
async fn a_spanning_watch_from_a_revision_is_refused_and_the_stream_lives() {
    let topology = topology().await;
    let client = topology.client();
    write(&client, "pods", "a", b"1").await;
    let mut stream = WatchStream::open(&client);
    let refused = stream.create(WatchCreateRequest { start_revision: 2, ..everything() }).await;
    assert!(refused.canceled && refused.watch_id == -1 && !refused.cancel_reason.is_empty(), "{refused:?}");
    let created = stream.create(watch_prefix(prefix_of("pods"))).await;
    write(&client, "pods", "a", b"2").await;
    let response = stream.next().await;
    assert!(response.watch_id == created.watch_id && response.events.len() == 1, "{response:?}");
}

/// Rule 4: fragments of one shard's response, with nothing of another shard between them.
#[tokio::test]
async fn fragments_of_one_shard_are_not_mixed_with_another() {
    const ROUNDS: usize = 12;
    let topology = topology().await;
    let client = topology.client();
    let mut stream = WatchStream::open(&client);
    let mut log = WatcherLog::new(WatchCreateRequest { fragment: true, ..everything() });
    stream.create(log.request.clone()).await;
    for _ in 0..ROUNDS {
        let large = write_together(&client, "pods", &["a", "b"], &[b'x'; 700_000]);
        let small = async {
            for turn in 0..20 {
                write(&client, "rest", "a", &[turn]).await;
            }
        };
        tokio::join!(large, small);
    }
    let mut open: Option<&'static str> = None;
    while log.events().count() < ROUNDS * 22 {
        let response = stream.next().await;
        let routes: BTreeSet<_> =
            response.events.iter().map(|event| topology.layout.route_of(key(event))).collect();
        let of_open = open.is_none_or(|route| routes.iter().all(|other| *other == route));
        assert!(of_open, "events of {routes:?} between fragments of {open:?}");
        open = routes.first().copied().filter(|_| response.fragment);
        log.responses.push(response);
    }
    assert!(log.responses.iter().any(|response| response.fragment), "nothing was fragmented");
    log.check_lines(|key| topology.layout.route_of(key)).unwrap_or_else(|error| panic!("{error}"));
}
