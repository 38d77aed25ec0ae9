//! Clients that ask and do not read: they cost bounded memory, delay nobody, and find everything there when they read on.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::ProxyBuilder;
use etcd_prism_tests::raw::{RawConnection, RawStream, frame, request};
use etcd_prism_tests::request::{get, list, put, txn, watch_prefix};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, revision};
use etcd_prism_tests::watch_stream::WatchStream;
use prost::Message;

const STALLED: usize = 64;
/// What such a client takes before it stops: as little as HTTP/2 begins with.
const WINDOW: u32 = 64 << 10;
const VALUE: usize = 256 << 10;
/// Together 16 MiB: far more than fits into any window.
const KEYS: usize = 64;
const RANGE: &str = "/etcdserverpb.KV/Range";
/// For etcd to make that many lists at once on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

async fn topology() -> Topology {
    let patient = |proxy: ProxyBuilder| proxy.shard_extra("pods", "request_timeout = \"2m\"");
    Topology::start_with(Layout::four_shards(), EtcdBuilder::new, patient).await
}

async fn fill(topology: &Topology, prefix: &str) {
    for index in 0..KEYS {
        let write = put(&format!("{prefix}{index:03}"), &vec![b'x'; VALUE]);
        topology.shard_client("pods").kv().put(write).await.expect("a write");
    }
}

/// Everything that others do, on the same shard and on others: each must work while the clients are stalled.
async fn others_work(client: &Client) {
    for prefix in ["/registry/pods/", "/registry/events/", "/registry/configmaps/"] {
        let key = format!("{prefix}other");
        client.kv().put(put(&key, "1")).await.expect("a write");
        assert_eq!(client.kv().range(get(&key)).await.expect("a read").into_inner().kvs.len(), 1);
        let found = client.kv().range(list(prefix)).await.expect("a list").into_inner();
        assert!(found.kvs.iter().any(|kv| kv.key == key), "{prefix}");
        let mut stream = WatchStream::open(client);
        let from = found.header.expect("a header").revision;
        stream
            .create(etcd_prism_proto::etcdserverpb::WatchCreateRequest {
                start_revision: from,
                ..watch_prefix(&key)
            })
            .await;
        client.kv().put(put(&key, "2")).await.expect("a write");
        stream.next().await;
    }
}

/// Opens a stream on a connection of its own and reads nothing but the head of the answer.
async fn stall(address: &str, path: &str, message: &[u8]) -> (RawConnection, h2::RecvStream) {
    let (connection, _) = RawConnection::connect_with(address, WINDOW).await;
    let mut stream: RawStream = connection.open(request(path)).await.expect("a stream");
    stream.send(frame(message), true);
    let (head, body, _) = stream.head_within(PATIENCE).await.expect("the head of an answer");
    assert!(!head.contains_key("grpc-status"), "{head:?}");
    (connection, body)
}

/// How much a stalled list may hold: a stream window towards the shard, and what is ready to be sent.
const EACH_LIST: u64 = 2 << 20;

#[tokio::test]
async fn stalled_lists_hold_up_nobody() {
    lists(RANGE, STALLED, EACH_LIST, |prefix| list(prefix).encode_to_vec()).await;
}

fn reading_txn(prefix: &str) -> Vec<u8> {
    txn([Op::RequestRange(list(prefix))]).encode_to_vec()
}

/// A transaction that reads is a list as well.
#[tokio::test]
async fn stalled_transactions_hold_up_nobody() {
    lists("/etcdserverpb.KV/Txn", STALLED, EACH_LIST, reading_txn).await;
}

#[tokio::test]
async fn stalled_streams_of_ranges_hold_up_nobody() {
    lists("/etcdserverpb.KV/RangeStream", STALLED, EACH_LIST, |prefix| list(prefix).encode_to_vec()).await;
}

/// More than the window of one connection to a shard has room for.
#[tokio::test]
#[ignore = "long"]
async fn many_stalled_transactions_hold_up_nobody() {
    lists("/etcdserverpb.KV/Txn", 640, EACH_LIST, reading_txn).await;
}

async fn lists(path: &str, count: usize, each: u64, message: impl Fn(&str) -> Vec<u8>) {
    let topology = topology().await;
    fill(&topology, "/registry/pods/").await;
    let (client, address) = (topology.client(), topology.proxy.endpoint().replace("http://", ""));
    others_work(&client).await;
    let before = topology.proxy.rss();
    // At the same time, as after a restart of everything.
    let message = message("/registry/pods/");
    let stalls = (0..count).map(|_| stall(&address, path, &message));
    let mut stalled = futures_util::future::join_all(stalls).await;
    for _ in 0..3 {
        others_work(&client).await;
    }
    let grown = topology.proxy.rss().saturating_sub(before);
    println!("{count} clients of {path} that do not read: the proxy grew by {} MiB", grown >> 20);
    assert!(grown < count as u64 * each, "{grown} bytes");
    // One that reads on gets all of it.
    let (_connection, mut body) = stalled.pop().expect("a stalled client");
    let mut read = 0;
    while let Some(chunk) = tokio::time::timeout(wait::DEADLINE, body.data()).await.expect("more data") {
        let chunk: Bytes = chunk.expect("data");
        read += chunk.len();
        body.flow_control().release_capacity(chunk.len()).expect("capacity");
    }
    assert!(read > KEYS * VALUE, "{read} bytes");
    let trailers = body.trailers().await.expect("trailers").expect("a status");
    assert_eq!(trailers["grpc-status"], "0");
    // The others go away, and what they held goes with them.
    drop(stalled);
    others_work(&client).await;
}

/// 64 watches that are not read while 64 MiB of events pass.
#[tokio::test]
async fn stalled_watches_lose_nothing() {
    const WRITES: usize = 256;
    // A queue of two MiB, and what the shard sends before it hears that the stream is closed.
    const EACH: u64 = 6 << 20;
    let topology = topology().await;
    let client = topology.client();
    others_work(&client).await;
    let before = topology.proxy.rss();
    let mut slow = Vec::new();
    for _ in 0..STALLED {
        let mut stream = WatchStream::open(&Client::with_window(&topology.proxy.endpoint(), WINDOW));
        let request = etcd_prism_proto::etcdserverpb::WatchCreateRequest {
            prev_kv: false,
            ..watch_prefix("/registry/pods/")
        };
        let created = stream.create(request.clone()).await;
        slow.push((stream, WatcherLog::new(request), header_revision(&created)));
    }
    let mut last = 0;
    for index in 0..WRITES {
        let write = put(&format!("/registry/pods/{}", index % 10), &vec![b'x'; VALUE]);
        last = client.kv().put(write).await.expect("a write").into_inner().header.expect("a header").revision;
    }
    others_work(&client).await;
    let grown = topology.proxy.rss().saturating_sub(before);
    println!(
        "{STALLED} watches, {} MiB of events not read by each: the proxy grew by {} MiB",
        (WRITES * VALUE) >> 20,
        grown >> 20
    );
    assert!(grown < STALLED as u64 * EACH, "{grown} bytes");
    for (stream, log, from) in &mut slow {
        while log.events().next_back().is_none_or(|event| revision(event) < last) {
            let response = stream.try_next(Duration::from_secs(60)).await.expect("the rest of the events");
            assert!(!response.canceled, "{response:?}");
            log.responses.push(response);
        }
        log.check().expect("what etcd promises");
        let revisions: Vec<i64> = log.events().map(revision).filter(|revision| *revision <= last).collect();
        assert!(revisions.iter().copied().eq(*from + 1..=last), "from {from} to {last}: {revisions:?}");
    }
}
