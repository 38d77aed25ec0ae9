//! The sizes to build for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{CompactionRequest, RangeRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::history::current_revision;
use etcd_prism_tests::proxy::rss_of;
use etcd_prism_tests::request::{get, list, put, txn};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::load::{Load, Watcher};
use crate::rig::{PODS, Rig};

const VALUE: usize = 4096;
/// Keys of one transaction that fills a shard: 128 operations are every etcd's limit.
const TOGETHER: usize = 100;
/// What a driver may need beside what it needs anyway: 12 MiB of the log, 16 MiB of a page, and both once more while they
/// are written. See `proxy/migration/src/ship.rs`.
const DRIVES: u64 = 64 << 20;

/// Largest resident memory of a process, while this is there.
struct Peak {
    stop: Arc<AtomicBool>,
    highest: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Peak {
    fn of(pid: u32) -> Self {
        let (stop, highest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, seen) = (stop.clone(), highest.clone());
        let task = tokio::spawn(async move {
            while !ends.load(Ordering::Relaxed) {
                seen.fetch_max(rss_of(pid), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, highest, task }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("samples");
        self.highest.load(Ordering::Relaxed)
    }
}

fn value(i: usize) -> Vec<u8> {
    let mut value = format!("value {i} ").into_bytes();
    value.resize(VALUE, b'a' + (i % 26) as u8);
    value
}

fn key(i: usize) -> String {
    format!("{PODS}old-{i:07}")
}

/// Straight to the source, before anything else: revisions are the shard's own then.
async fn fill(source: &Client, keys: usize) {
    for first in (0..keys).step_by(TOGETHER) {
        let puts = (first..keys.min(first + TOGETHER)).map(|i| Request::RequestPut(put(&key(i), &value(i))));
        source.kv().txn(txn(puts)).await.expect("keys");
    }
}

/// The keys of [`fill`] as a client sees them, page by page; with their revisions.
async fn check_all(client: &Client, keys: usize) -> Vec<(i64, i64, i64)> {
    let mut found = Vec::new();
    let mut from = format!("{PODS}old-");
    loop {
        let page = RangeRequest { key: from.into(), limit: 1000, ..list(&format!("{PODS}old-")) };
        let reply = client.kv().range(page).await.expect("a page").into_inner();
        for kv in &reply.kvs {
            assert_eq!((&kv.key[..], &kv.value[..]), (key(found.len()).as_bytes(), &value(found.len())[..]));
            found.push((kv.create_revision, kv.mod_revision, kv.version));
        }
        if !reply.more {
            break;
        }
        from = key(found.len());
    }
    assert_eq!(found.len(), keys);
    found
}

async fn moves(keys: usize) {
    let rig = Rig::start().await;
    let begun = Instant::now();
    fill(&rig.shard("a"), keys).await;
    let filled = begun.elapsed();
    let clients = rig.clients();
    let before = check_all(&clients[1], keys).await;
    // What a proxy needs for serving all of it is not what a driver needs: that has been served by the other one.
    let resting = rig.proxies[0].rss();
    let (peak, load) = (Peak::of(rig.proxies[0].pid()), Load::writers(&clients, Duration::from_millis(4)));
    let since = Instant::now();
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let copied = since.elapsed();
    rig.migrate(0, "verify", &[]).await;
    let verified = since.elapsed() - copied;
    rig.migrate(0, "switch", &[]).await;
    assert_eq!(check_all(&clients[1], keys).await, before);
    let told = load.finish().await;
    let since = Instant::now();
    rig.migrate(0, "complete", &[]).await;
    let purged = since.elapsed();
    let grown = peak.end().await.saturating_sub(resting);
    println!(
        "{keys} keys of {VALUE} bytes: filled in {filled:.1?}, copied in {copied:.1?}, compared in {verified:.1?}, purged in \
         {purged:.1?}; {} writes meanwhile, the longest took {:.1?}; the driver grew from {} MiB by {} MiB",
        told.writes(),
        told.longest_request,
        resting >> 20,
        grown >> 20,
    );
    assert!(grown < DRIVES, "the driver grew by {grown} bytes");
    let left = RangeRequest { count_only: true, ..list(PODS) };
    assert_eq!(rig.shard("a").kv().range(left).await.expect("a count").into_inner().count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_keys_in_bounded_memory() {
    moves(20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn a_hundred_thousand_keys_in_bounded_memory() {
    moves(100_000).await;
}

/// There and back. Each write goes near etcd's limit on requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_a_megabyte_and_a_half() {
    const LARGE: usize = 3 * 512 * 1024 - 256;
    let mut rig = Rig::start().await;
    let client = rig.proxies[1].client();
    let large = |fill: u8| vec![fill; LARGE];
    for i in 0..8 {
        rig.put(&format!("large-{i}"), &large(b'a' + i)).await;
    }
    let mut watcher = Watcher::open(&client, 1).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.put("large-1", &large(b'x')).await;
    rig.copied(0).await;
    rig.put("large-2", &large(b'y')).await;
    rig.migrate(0, "verify", &[]).await;
    rig.migrate(0, "switch", &[]).await;
    rig.put("large-3", &large(b'z')).await;
    rig.migrate(1, "reverse", &[]).await;
    rig.put("large-4", &large(b'!')).await;
    let found = client.kv().range(list(PODS)).await.expect("a list").into_inner();
    assert!(found.kvs.iter().eq(rig.oracle.now().values()), "not what was written");
    watcher.check(&rig.oracle).await;
}

/// The source is compacted to its last revision again and again while it is copied slowly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_is_compacted_again_and_again() {
    let mut rig = Rig::start().await;
    rig.proxies.iter().for_each(|proxy| proxy.expect_log("migration: begun anew"));
    rig.fill(400).await;
    let clients = rig.clients();
    let load = Load::start(&clients, Duration::from_millis(2));
    rig.migrate(0, "create", &["--to", "b", "--keys-per-second", "150"]).await;
    let source = rig.shard("a");
    for _ in 0..8 {
        let revision = current_revision(&source).await;
        source.kv().compact(CompactionRequest { revision, physical: true }).await.expect("a compaction");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // A fence that is written makes proxies watch anew, which a compaction to the last revision may overtake: not before now.
    let found = clients[1].kv().range(get(PODS)).await.expect("a read").into_inner();
    let from = found.header.expect("a header").revision + 1;
    let mut watcher = Watcher::open(&clients[1], from).await;
    rig.migrate(1, "throttle", &["--keys-per-second", "0"]).await;
    rig.copied(1).await;
    rig.migrate_soon(1, "verify").await;
    rig.migrate_soon(1, "switch").await;
    rig.migrate_soon(0, "reverse").await;
    let told = load.finish().await;
    let oracle = told.oracle(&rig.oracle);
    told.check_reads(&oracle);
    watcher.check(&oracle).await;
}

/// Everybody is told of everything once, in order, through a switch and the way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_across_a_switch() {
    const WATCHERS: usize = 1000;
    /// On one connection.
    const STREAMS: usize = 50;
    let mut rig = Rig::start().await;
    rig.fill(20).await;
    let mut watchers = Vec::new();
    for of_connection in 0..WATCHERS / STREAMS {
        let client = rig.proxies[of_connection % 2].client();
        for i in 0..STREAMS {
            // Half of them have to be told of what is past.
            let from = if i % 2 == 0 { 1 } else { rig.oracle.revision() + 1 };
            watchers.push(Watcher::open(&client, from).await);
        }
    }
    let load = Load::writers(&rig.clients(), Duration::from_millis(20));
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.migrate(0, "switch", &[]).await;
    rig.migrate(1, "reverse", &[]).await;
    let told = load.finish().await;
    let oracle = told.oracle(&rig.oracle);
    for watcher in &mut watchers {
        watcher.check(&oracle).await;
    }
    println!("{} events to each of {WATCHERS} watchers, longest gap {:?}", told.writes(), told.longest_gap);
}
