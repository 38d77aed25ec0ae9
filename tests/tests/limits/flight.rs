//! Requests in flight: who cancels whom, who waits how long, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{WatchRequest, watch_request::RequestUnion};
use etcd_prism_tests::fake_shard::{FakeCall, empty_range, send};
use etcd_prism_tests::raw::{RawConnection, frame, request};
use etcd_prism_tests::request::{get, list, put, watch_prefix};
use etcd_prism_tests::wait;
use h2::{Reason, SendStream};
use http::HeaderMap;
use prost::Message;
use tokio::sync::mpsc;

use crate::rig::Rig;

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TIMED_OUT: Option<(u32, &str)> = Some((14, "etcdserver: request timed out"));

/// What the shard saw: a call that arrived, and how it ended.
#[derive(Debug, PartialEq)]
enum Seen {
    Arrived(String),
    Cancelled(String, Reason),
}

/// Which calls the tests make; everything else is the proxy's own.
fn is_ours(message: &[u8]) -> bool {
    message.windows(5).any(|window| window == b"/ours")
}

/// Never answers our calls and reports what becomes of them. `start` may begin an answer.
async fn silent(
    shard: &str,
    start: fn(&mut FakeCall) -> Option<SendStream<Bytes>>,
) -> (Rig, mpsc::UnboundedReceiver<Seen>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let rig = Rig::start(
        shard,
        |builder| builder,
        move |mut call: FakeCall| {
            let sender = sender.clone();
            async move {
                let path = call.path().to_owned();
                if path.ends_with("Watch") {
                    sender.send(Seen::Arrived(path.clone())).ok();
                } else {
                    let message = call.message().await;
                    if !is_ours(&message) {
                        return call.reply(&empty_range(5));
                    }
                    sender.send(Seen::Arrived(path.clone())).ok();
                }
                let reason = match start(&mut call) {
                    None => call.cancelled().await,
                    Some(mut body) => std::future::poll_fn(|cx| body.poll_reset(cx)).await.expect("a reset"),
                };
                sender.send(Seen::Cancelled(path, reason)).ok();
            }
        },
    )
    .await;
    (rig, receiver)
}

async fn next(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    tokio::time::timeout(wait::DEADLINE, seen.recv())
        .await
        .expect("the shard sees something")
        .expect("the shard lives")
}

fn create() -> Bytes {
    let create = watch_prefix("/registry/pods/ours");
    let create = etcd_prism_proto::etcdserverpb::WatchCreateRequest { start_revision: 3, ..create };
    frame(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec())
}

/// A client that resets its stream, and one that is gone with its connection: the shard is told at once.
#[tokio::test]
async fn a_cancelled_request_is_cancelled_at_the_shard() {
    let calls = [
        (RANGE, frame(&get("/registry/pods/ours").encode_to_vec())),
        (RANGE, frame(&list("/registry/pods/ours").encode_to_vec())),
        ("/etcdserverpb.KV/RangeStream", frame(&list("/registry/pods/ours").encode_to_vec())),
        (PUT, frame(&put("/registry/pods/ours", "1").encode_to_vec())),
        ("/etcdserverpb.Watch/Watch", create()),
    ];
    let (rig, mut seen) = silent("request_timeout = \"5m\"", |_| None).await;
    for (path, body) in calls {
        for whole_connection in [false, true] {
            let (connection, task) = RawConnection::connect_with(&rig.address(), 1 << 20).await;
            let mut stream = connection.open(request(path)).await.expect("a stream");
            stream.send(body.clone(), false);
            assert_eq!(next(&mut seen).await, Seen::Arrived(path.to_owned()));
            match whole_connection {
                true => task.abort(),
                false => drop(stream),
            }
            assert_eq!(next(&mut seen).await, Seen::Cancelled(path.to_owned(), Reason::CANCEL), "{path}");
        }
    }
}

/// The same in the middle of an answer that streams through.
#[tokio::test]
async fn a_request_cancelled_in_mid_answer_is_cancelled_at_the_shard() {
    let begin: fn(&mut FakeCall) -> Option<SendStream<Bytes>> = |call| {
        let mut body = call.head(HeaderMap::new());
        // 16 MiB are promised and one is sent.
        send(&mut body, Bytes::from_static(&[0, 1, 0, 0, 0]));
        send(&mut body, vec![b'x'; 1 << 20].into());
        Some(body)
    };
    let (rig, mut seen) = silent("request_timeout = \"5m\"", begin).await;
    let connection = rig.connect().await;
    let mut stream = connection.open(request(RANGE)).await.expect("a stream");
    stream.send(frame(&list("/registry/pods/ours").encode_to_vec()), true);
    assert_eq!(next(&mut seen).await, Seen::Arrived(RANGE.to_owned()));
    let (_, mut body, sender) = stream.head().await.expect("the head");
    assert!(!body.data().await.expect("data").expect("data").is_empty());
    drop((body, sender));
    assert_eq!(next(&mut seen).await, Seen::Cancelled(RANGE.to_owned(), Reason::CANCEL));
}

/// The proxy's own bound has etcd's code and words, and the shard is told that nobody waits any more.
#[tokio::test]
async fn the_bound_of_a_shard_is_etcds_timeout() {
    let (rig, mut seen) = silent("request_timeout = \"300ms\"", |_| None).await;
    let connection = rig.connect().await;
    let leased = etcd_prism_proto::etcdserverpb::PutRequest { lease: 7, ..put("/registry/pods/ours", "1") };
    let calls = [
        (RANGE, get("/registry/pods/ours").encode_to_vec()),
        (RANGE, list("/registry/pods/ours").encode_to_vec()),
        ("/etcdserverpb.KV/RangeStream", list("/registry/pods/ours").encode_to_vec()),
        (PUT, put("/registry/pods/ours", "1").encode_to_vec()),
        (PUT, leased.encode_to_vec()),
    ];
    for (path, message) in calls {
        let answer = connection.call(path, &message).await;
        let status = answer.status();
        assert_eq!(
            status.as_ref().map(|(code, text)| (*code, text.as_str())),
            TIMED_OUT,
            "{path}: {answer:?}"
        );
        assert_eq!(next(&mut seen).await, Seen::Arrived(path.to_owned()));
        assert_eq!(next(&mut seen).await, Seen::Cancelled(path.to_owned(), Reason::CANCEL));
    }
}

/// More requests than the bound wait at the shard: the next is refused in etcd's words, health probes are not, and
/// places come free again.
#[tokio::test]
async fn the_bound_on_requests_in_flight_is_etcds_too_many() {
    const PLACES: usize = 8;
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = arrived.clone();
    let rig = Rig::start(
        &format!("max_in_flight = {PLACES}"),
        |builder| builder,
        move |mut call: FakeCall| {
            let counter = counter.clone();
            async move {
                if !is_ours(&call.message().await) {
                    return call.reply(&empty_range(5));
                }
                counter.fetch_add(1, Ordering::Relaxed);
                call.cancelled().await;
            }
        },
    )
    .await;
    let connection = rig.connect().await;
    let mut waiting = Vec::new();
    for _ in 0..PLACES {
        let mut stream = connection.open(request(RANGE)).await.expect("a stream");
        stream.send(frame(&get("/registry/pods/ours").encode_to_vec()), true);
        waiting.push(stream);
    }
    wait::until("all places to be taken", async || {
        let count = arrived.load(Ordering::Relaxed);
        if count == PLACES { Ok(()) } else { Err(count) }
    })
    .await;
    let refused = connection.call(RANGE, &get("/registry/pods/ours").encode_to_vec()).await;
    assert_eq!(refused.status(), Some((8, "etcdserver: too many requests".to_owned())));
    let write = connection.call(PUT, &put("/registry/pods/ours", "1").encode_to_vec()).await;
    assert_eq!(write.status(), Some((8, "etcdserver: too many requests".to_owned())));
    assert_eq!(arrived.load(Ordering::Relaxed), PLACES, "a refused request reached the shard");
    let health = connection.call(RANGE, &get("/registry/health").encode_to_vec()).await;
    assert!(health.is_ok(), "{health:?}");
    drop(waiting);
    wait::until("a place to come free", async || {
        let answer = connection.call(RANGE, &get("/registry/pods/b").encode_to_vec()).await;
        if answer.is_ok() { Ok(()) } else { Err(answer) }
    })
    .await;
}
