//! Rule 11: a client that does not read.

use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, revision};
use etcd_prism_tests::watch_stream::WatchStream;

use crate::site::{Site, compact, prefix_of, read_until, write};

const VALUE: usize = 64 << 10;

/// As little as HTTP/2 starts with, so that the client's side holds next to nothing.
const WINDOW: u32 = 64 << 10;

fn request() -> WatchCreateRequest {
    WatchCreateRequest { prev_kv: false, ..watch_prefix(prefix_of("pods")) }
}

/// A client that reads nothing costs bounded memory, delays nobody, and gets everything once it reads.
#[tokio::test]
async fn a_slow_client_delays_only_itself_and_loses_nothing() {
    const WRITES: usize = 2_000;
    const BOUND: u64 = 48 << 20;
    let site = Site::proxy().await;
    let Site::Proxy(topology) = &site else { unreachable!("a site with a proxy") };
    let mut slow = WatchStream::open(&Client::with_window(&topology.proxy.endpoint(), WINDOW));
    let mut fast = WatchStream::open(&site.client());
    let mut slow_log = WatcherLog::new(request());
    let mut fast_log = WatcherLog::new(request());
    let from = header_revision(&slow.create(request()).await) + 1;
    fast.create(request()).await;
    let before = topology.proxy.rss();
    let client = site.client();
    let mut last = 0;
    for _ in 0..WRITES {
        last = write(&client, "pods", "a", &[b'x'; VALUE]).await;
        // The other client keeps up while the slow one reads nothing.
        read_until(&mut fast, &mut fast_log, last).await;
    }
    let grown = topology.proxy.rss().saturating_sub(before);
    println!("{} MiB not read, the proxy grew by {} MiB", (WRITES * VALUE) >> 20, grown >> 20);
    assert!(grown < BOUND, "the proxy grew by {grown} bytes");
    read_until(&mut slow, &mut slow_log, last).await;
    for log in [&fast_log, &slow_log] {
        assert_eq!(log.events().count(), WRITES);
        site.verify("pods", log, from, last).await;
    }
}

/// What a slow client has not read is compacted away: it is told so, or it still gets everything. Never a gap.
#[tokio::test]
async fn a_slow_client_behind_a_compaction_is_told() {
    const WRITES: usize = 600;
    let site = Site::proxy().await;
    let Site::Proxy(topology) = &site else { unreachable!("a site with a proxy") };
    let mut slow = WatchStream::open(&Client::with_window(&topology.proxy.endpoint(), WINDOW));
    let mut log = WatcherLog::new(request());
    let created = slow.create(request()).await;
    let client = site.client();
    let mut last = 0;
    for _ in 0..WRITES {
        last = write(&client, "pods", "a", &[b'x'; VALUE]).await;
    }
    compact(&site, "pods", last).await;
    last = write(&client, "pods", "a", b"after the compaction").await;
    let mut end = None;
    while end.is_none() && log.events().next_back().is_none_or(|event| revision(event) < last) {
        let response = slow.next().await;
        assert_eq!(response.watch_id, created.watch_id);
        match response.canceled {
            true => end = Some(response.compact_revision),
            false => log.responses.push(response),
        }
    }
    log.check().expect("ordered and unique");
    let revisions: Vec<i64> = log.events().map(revision).collect();
    let first = header_revision(&created) + 1;
    let gapless = (first..).zip(&revisions).all(|(expected, found)| expected == *found);
    assert!(gapless, "a gap in {revisions:?}");
    println!("{} of {} events before the end by {end:?}", revisions.len(), WRITES + 1);
    match end {
        Some(compact_revision) => assert!(compact_revision > first + revisions.len() as i64 - 1),
        None => assert_eq!(revisions.len(), WRITES + 1),
    }
}
