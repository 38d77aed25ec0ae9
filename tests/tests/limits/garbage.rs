//! Bytes that are no HTTP/2, and HTTP/2 that nobody needs: that connection ends, and no other notices.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::raw::{RawConnection, frame, request};
use etcd_prism_tests::request::{get, put};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use h2::Reason;
use http::HeaderValue;
use prost::Message;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The proxy may grow by this much while it is abused, and no more.
const ROOM: u64 = 48 << 20;

/// Frame types of HTTP/2.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A header block of a gRPC request, uncompressed: literals without indexing.
fn header_block(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("content-type", "application/grpc"),
    ];
    for (name, value) in fields {
        out.push(0);
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.push(value.len() as u8);
        out.extend_from_slice(value.as_bytes());
    }
    out
}

/// Preface, settings, and what a test adds.
fn opened(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    out.extend(frame_of(SETTINGS, 0, 0, &[]));
    frames.iter().for_each(|frame| out.extend_from_slice(frame));
    out
}

/// Sends `bytes` and waits until the proxy closes the connection. Panics if it does not.
async fn closes_after(address: &str, what: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // The proxy may close before it has read all.
    stream.write_all(bytes).await.ok();
    let mut buffer = vec![0; 64 * 1024];
    let end = tokio::time::timeout(wait::DEADLINE, async {
        while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    });
    end.await.unwrap_or_else(|_| panic!("{what}: the connection stays open"));
}

async fn works(client: &Client, what: &str) {
    client
        .kv()
        .put(put("/registry/pods/a", what))
        .await
        .unwrap_or_else(|status| panic!("after {what}: {status}"));
}

#[tokio::test]
async fn malformed_frames_end_their_connection_only() {
    let topology = Topology::four_shards().await;
    let (client, address) = (topology.client(), topology.proxy.endpoint().replace("http://", ""));
    works(&client, "nothing").await;
    let request = frame_of(HEADERS, 4, 1, &header_block("/etcdserverpb.KV/Range"));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello".to_vec()),
        ("a wrong preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
        ("HTTP/1 nonsense", b"PUT\r\n\r\n\r\n".to_vec()),
        ("a frame above the limit", opened(&[frame_of(DATA, 0, 1, &vec![0; 70_000])])),
        ("a frame that declares 16 MiB", opened(&[vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]])),
        ("data on no stream", opened(&[frame_of(DATA, 0, 0, b"x")])),
        ("data on a stream that never was", opened(&[frame_of(DATA, 0, 5, b"x")])),
        ("headers on an even stream", opened(&[frame_of(HEADERS, 4, 2, &header_block("/a/b"))])),
        ("headers that cannot be decoded", opened(&[frame_of(HEADERS, 4, 1, &[0xff; 32])])),
        ("a continuation of nothing", opened(&[frame_of(CONTINUATION, 4, 1, b"")])),
        (
            "another frame within headers",
            opened(&[frame_of(HEADERS, 0, 1, &header_block("/a/b")), frame_of(PING, 0, 0, &[0; 8])]),
        ),
        ("settings of a strange size", opened(&[frame_of(SETTINGS, 0, 0, &[0; 5])])),
        ("settings on a stream", opened(&[frame_of(SETTINGS, 0, 1, &[])])),
        ("an impossible window", opened(&[frame_of(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])])),
        ("a ping of a strange size", opened(&[frame_of(PING, 0, 0, &[0; 7])])),
        ("a window grown by nothing", opened(&[frame_of(WINDOW_UPDATE, 0, 0, &[0; 4])])),
        (
            "a window grown too far",
            opened(&[
                frame_of(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
                frame_of(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ]),
        ),
        ("a promise by a client", opened(&[frame_of(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])])),
        ("a reset of no stream", opened(&[frame_of(RST_STREAM, 0, 0, &[0; 4])])),
        (
            "a stream number that goes back",
            opened(&[frame_of(HEADERS, 4, 7, &header_block("/a/b")), request]),
        ),
    ];
    for (what, bytes) in &cases {
        closes_after(&address, what, bytes).await;
        works(&client, what).await;
    }
    println!("{} connections ended, and only those", cases.len());
}

/// Random bytes, behind a preface and without one. A seed that fails is printed.
#[tokio::test]
async fn random_bytes_do_no_harm() {
    const ROUNDS: u64 = 300;
    let topology = Topology::four_shards().await;
    let (client, address) = (topology.client(), topology.proxy.endpoint().replace("http://", ""));
    works(&client, "nothing").await;
    let before = topology.proxy.rss();
    for seed in 0..ROUNDS {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let mut bytes = vec![0; random.random_range(1..4096)];
        random.fill(&mut bytes[..]);
        if seed % 3 > 0 {
            // Frames with sane lengths get further.
            let frames: Vec<Vec<u8>> = bytes
                .chunks(random.random_range(1..200))
                .map(|payload| {
                    frame_of(random.random_range(0..12), random.random(), random.random_range(0..9), payload)
                })
                .collect();
            bytes = opened(&frames);
        }
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        stream.write_all(&bytes).await.ok();
        stream.shutdown().await.ok();
        let mut end = Vec::new();
        let read = tokio::time::timeout(wait::DEADLINE, stream.read_to_end(&mut end)).await;
        assert!(read.is_ok(), "seed {seed}: the connection stays open after the client's end");
        works(&client, &format!("seed {seed}")).await;
    }
    let grown = topology.proxy.rss().saturating_sub(before);
    println!("{ROUNDS} connections of random bytes, the proxy grew by {} KiB", grown >> 10);
    assert!(grown < ROOM);
}

/// Frames that cost the sender nothing: the connection ends or the proxy keeps up, with bounded memory.
#[tokio::test]
async fn floods_cost_little() {
    const COUNT: usize = 50_000;
    let topology = Topology::four_shards().await;
    let (client, address) = (topology.client(), topology.proxy.endpoint().replace("http://", ""));
    // h2 says so once per connection that it ends for this.
    topology.proxy.expect_log("pending-accept streams reached limit");
    works(&client, "nothing").await;
    let block = header_block("/etcdserverpb.KV/Range");
    let resets = (0..COUNT as u32).flat_map(|index| {
        let stream = 2 * index + 1;
        [frame_of(HEADERS, 4, stream, &block), frame_of(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    let empty = frame_of(DATA, 0, 1, &[]).repeat(COUNT);
    let continuations = frame_of(CONTINUATION, 0, 1, &[0, 1, b'a', 1, b'b']).repeat(COUNT);
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("pings", opened(&[frame_of(PING, 0, 0, &[7; 8]).repeat(COUNT)])),
        ("settings", opened(&[frame_of(SETTINGS, 0, 0, &[]).repeat(COUNT)])),
        ("resets of streams just opened", opened(&[resets.collect()])),
        ("empty data", opened(&[frame_of(HEADERS, 4, 1, &block), empty])),
        ("headers without an end", opened(&[frame_of(HEADERS, 0, 1, &block), continuations])),
        ("window updates", opened(&[frame_of(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(COUNT)])),
    ];
    for (what, bytes) in floods {
        let before = topology.proxy.rss();
        let (mut reader, mut writer) = TcpStream::connect(&address).await.expect("a connection").into_split();
        // What the proxy answers is read, so that it is the proxy's own doing if it stops.
        let answers = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let sent = tokio::time::timeout(wait::DEADLINE, writer.write_all(&bytes))
            .await
            .expect("the proxy reads on or hangs up");
        works(&client, what).await;
        drop(writer);
        tokio::time::timeout(wait::DEADLINE, answers)
            .await
            .expect("the connection ends")
            .expect("its reader")
            .ok();
        let grown = topology.proxy.rss().saturating_sub(before);
        let end = if sent.is_ok() { "took them" } else { "hung up" };
        println!(
            "{COUNT} {what} ({} KiB): the proxy {end}, and grew by {} KiB",
            bytes.len() >> 10,
            grown >> 10
        );
        assert!(grown < ROOM, "{what}");
    }
}

/// A request whose headers are too long is refused, or its connection where they go on and on.
#[tokio::test]
async fn huge_headers_are_refused() {
    let topology = Topology::four_shards().await;
    let address = topology.proxy.endpoint().replace("http://", "");
    let body = || frame(&get("/registry/pods/a").encode_to_vec());
    let others = RawConnection::connect(&address).await;
    for (one, count) in [(100 << 10, 1), (1 << 10, 70), (1 << 10, 200), (16, 20_000)] {
        let mut huge = request("/etcdserverpb.KV/Range");
        for index in 0..count {
            let name = http::HeaderName::from_bytes(format!("x-{index}").as_bytes()).expect("a header name");
            huge.headers_mut()
                .insert(name, HeaderValue::from_bytes(&vec![b'h'; one]).expect("a header value"));
        }
        let connection = RawConnection::connect(&address).await;
        let refused = connection.exchange(huge, body()).await;
        assert!(!refused.is_ok(), "{count} headers of {one} bytes: {refused:?}");
        println!("{count} headers of {one} bytes: {:?} {:?}", refused.http, refused.error);
        if refused.error.is_none() {
            // One stream failed; the connection goes on.
            assert!(connection.exchange(request("/etcdserverpb.KV/Range"), body()).await.is_ok());
        }
        let next = others.exchange(request("/etcdserverpb.KV/Range"), body()).await;
        assert!(next.is_ok(), "after {count} headers of {one} bytes: {next:?}");
    }
    // As large as a client with a long token has them.
    let mut long = request("/etcdserverpb.KV/Range");
    long.headers_mut()
        .insert("authorization", HeaderValue::from_bytes(&vec![b't'; 16 << 10]).expect("a header value"));
    assert!(others.exchange(long, body()).await.is_ok());
}

/// A client that goes away with a reset in the middle of a thousand requests leaves nothing behind.
#[tokio::test]
async fn requests_given_up_leave_nothing_behind() {
    let topology = Topology::four_shards().await;
    let (client, address) = (topology.client(), topology.proxy.endpoint().replace("http://", ""));
    works(&client, "nothing").await;
    let connection = RawConnection::connect(&address).await;
    for round in 0..20 {
        let mut streams = Vec::new();
        for _ in 0..100 {
            let mut stream = connection.open(request("/etcdserverpb.KV/Range")).await.expect("a stream");
            let mut body = BytesMut::new();
            body.put_slice(&frame(&get("/registry/pods/a").encode_to_vec()));
            // Half of them are cut off in the middle of the message.
            let end = if round % 2 == 0 { body.len() } else { body.len() / 2 };
            stream.send(body.split_to(end).freeze(), round % 2 == 0);
            stream.sender.send_reset(Reason::CANCEL);
            streams.push(stream);
        }
        drop(streams);
        works(&client, "a hundred resets").await;
    }
    let metrics = topology.proxy.metrics().await;
    let in_flight = |line: &&str| line.contains("in_flight") && !line.starts_with('#');
    wait::until_within(Duration::from_secs(10), "no request in flight", async || {
        let metrics = topology.proxy.metrics().await;
        let busy: Vec<String> = metrics
            .lines()
            .filter(in_flight)
            .filter(|line| !line.ends_with(" 0"))
            .map(str::to_owned)
            .collect();
        if busy.is_empty() { Ok(()) } else { Err(busy) }
    })
    .await;
    assert!(metrics.lines().any(|line| in_flight(&line)), "there is such a metric");
}
