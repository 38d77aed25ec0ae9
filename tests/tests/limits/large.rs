//! Answers far larger than what the proxy may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use etcd_prism_proto::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::raw::{RawConnection, frame, request};
use etcd_prism_tests::request::{list, put};
use etcd_prism_tests::tools::Version;
use etcd_prism_tests::topology::Topology;
use prost::Message;

const VALUE: usize = 1 << 20;
const TOTAL: usize = 256;
const CLIENTS: usize = 4;
/// What the proxy may grow by while it passes on a gigabyte to four clients.
const BOUND: u64 = 96 << 20;
/// A shard's answers take it a while to make.
const PATIENCE: Duration = Duration::from_secs(120);

/// The value of key `index`: recognisable, and not compressible to nothing.
fn value(index: usize) -> Vec<u8> {
    let mut state = index as u32 + 1;
    (0..VALUE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Writes `count` values below `prefix`, straight to a shard.
async fn fill(shard: &Client, prefix: &str, from: usize, count: usize) {
    for index in from..from + count {
        shard.kv().put(put(&format!("{prefix}{index:04}"), &value(index))).await.expect("a write");
    }
}

async fn topology(version: Version) -> Topology {
    let shard = |name: &str| EtcdBuilder::new(name).version(version).quota(4 << 30);
    // etcd needs a while to make an answer of 256 MiB, four of them at once all the more.
    let patient = |proxy: ProxyBuilder| {
        ["events", "leases", "pods", "rest"]
            .into_iter()
            .fold(proxy, |proxy, name| proxy.shard_extra(name, "request_timeout = \"2m\""))
    };
    Topology::start_with(Layout::four_shards(), shard, patient).await
}

/// Gigabytes pass here: one test at a time.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The most that the proxy held beyond what it had at the beginning.
struct Peak {
    stop: Arc<AtomicBool>,
    highest: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
    before: u64,
}

impl Peak {
    fn watch(proxy: &Proxy) -> Self {
        let (stop, highest, before) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), proxy.rss());
        let (stopped, peak, pid) = (stop.clone(), highest.clone(), proxy.pid());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                peak.fetch_max(etcd_prism_tests::proxy::rss_of(pid), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { stop, highest, task, before }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the sampler");
        self.highest.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// What was read: every key in order, and the last message without its pairs.
#[derive(Default)]
struct Reader {
    keys: usize,
    last: Option<RangeResponse>,
}

impl Reader {
    fn check(&mut self, response: RangeResponse) {
        for kv in &response.kvs {
            let index: usize =
                std::str::from_utf8(&kv.key[kv.key.len() - 4..]).expect("digits").parse().expect("a number");
            assert_eq!(index, self.keys, "keys in order, none missing, none twice");
            assert!(kv.value == value(index), "the value of key {index}");
            self.keys += 1;
        }
        self.last = Some(RangeResponse { kvs: Vec::new(), ..response });
    }
}

/// Reads a whole answer, checks every value, and counts its keys.
async fn read_all(address: &str, path: &str, message: &RangeRequest) -> Reader {
    let connection = RawConnection::connect(address).await;
    let mut stream = connection.open(request(path)).await.expect("a stream");
    stream.send(frame(&message.encode_to_vec()), true);
    let (head, mut body, _sender) = stream.head_within(PATIENCE).await.expect("the head of the answer");
    assert!(!head.contains_key("grpc-status"), "{head:?}");
    let mut reader = Reader::default();
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk: Bytes = chunk.expect("data");
        body.flow_control().release_capacity(chunk.len()).expect("capacity");
        whole.extend_from_slice(&chunk);
        while whole.len() >= 5 {
            let len = u32::from_be_bytes([whole[1], whole[2], whole[3], whole[4]]) as usize;
            if whole.len() < 5 + len {
                whole.reserve(5 + len - whole.len());
                break;
            }
            whole.advance(5);
            let message = whole.split_to(len).freeze();
            if path.ends_with("RangeStream") {
                let chunk = RangeStreamResponse::decode(message).expect("a chunk");
                reader.check(chunk.range_response.expect("a response in a chunk"));
            } else {
                reader.check(RangeResponse::decode(message).expect("a response"));
            }
        }
    }
    assert!(whole.is_empty(), "{} bytes behind the last message", whole.len());
    let trailers = body.trailers().await.expect("trailers").expect("a status");
    assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    reader
}

/// Four clients read everything at the same time.
async fn four_read(topology: &Topology, what: &str, path: &'static str, message: RangeRequest) {
    let address = topology.proxy.endpoint().replace("http://", "");
    let peak = Peak::watch(&topology.proxy);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, message) = (address.clone(), message.clone());
        clients.spawn(async move { read_all(&address, path, &message).await });
    }
    for reader in clients.join_all().await {
        assert_eq!(reader.keys, TOTAL);
        let last = reader.last.expect("a last message");
        assert!(
            last.count == TOTAL as i64 && !last.more && last.header.is_some_and(|h| h.revision > 0),
            "{:?}",
            last.count
        );
    }
    let grown = peak.stop().await;
    println!("{what}: {CLIENTS} clients read {TOTAL} MiB each, the proxy grew by {} MiB", grown >> 20);
    assert!(grown < BOUND, "{what}: {grown} bytes");
}

#[tokio::test]
async fn large_answers_pass_in_bounded_memory() {
    let _machine = MACHINE.lock().await;
    let topology = topology(Version::Newest).await;
    fill(&topology.shard_client("pods"), "/registry/pods/", 0, TOTAL).await;
    four_read(&topology, "Range", "/etcdserverpb.KV/Range", list("/registry/pods/")).await;
    four_read(&topology, "RangeStream", "/etcdserverpb.KV/RangeStream", list("/registry/pods/")).await;
}

/// The same keys on two shards, as one list.
#[tokio::test]
async fn large_answers_over_shards_pass_in_bounded_memory() {
    let _machine = MACHINE.lock().await;
    let topology = topology(Version::Newest).await;
    fill(&topology.shard_client("events"), "/registry/events/", 0, TOTAL / 2).await;
    fill(&topology.shard_client("pods"), "/registry/pods/", TOTAL / 2, TOTAL / 2).await;
    four_read(&topology, "Range over shards", "/etcdserverpb.KV/Range", list("/registry/")).await;
    four_read(&topology, "RangeStream over shards", "/etcdserverpb.KV/RangeStream", list("/registry/")).await;
}

/// etcd 3.5 has no RangeStream: the proxy makes one of pages.
#[tokio::test]
async fn large_streams_over_an_old_etcd_pass_in_bounded_memory() {
    let _machine = MACHINE.lock().await;
    let topology = topology(Version::V3_5).await;
    fill(&topology.shard_client("pods"), "/registry/pods/", 0, TOTAL).await;
    four_read(&topology, "RangeStream from 3.5", "/etcdserverpb.KV/RangeStream", list("/registry/pods/"))
        .await;
}
