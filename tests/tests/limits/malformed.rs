//! Replies that no etcd sends: an error to that client, never a panic, and the next request works.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, WatchRequest, watch_request::RequestUnion};
use etcd_prism_tests::fake_shard::{FakeCall, empty_range, end, send};
use etcd_prism_tests::raw::{Answer, frame, request};
use etcd_prism_tests::request::{get, list, put, txn, watch_prefix};
use h2::Reason;
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use prost::Message;

use crate::rig::Rig;

type Reply = fn(&mut FakeCall);

/// Replies by name.
const REPLIES: &[(&str, Reply)] = &[
    ("a status that is no number", |call| refuse_with(call, "grpc-status", "what")),
    ("a status without meaning", |call| refuse_with(call, "grpc-status", "99")),
    ("an empty status", |call| refuse_with(call, "grpc-status", "")),
    ("headers and nothing else", |call| refuse_with(call, "x-other", "1")),
    ("HTTP 503", |call| http_answer(call, StatusCode::SERVICE_UNAVAILABLE, "text/plain", b"gone")),
    ("HTTP 200, HTML", |call| {
        http_answer(call, StatusCode::OK, "text/html", b"<html>\n<body>hello</body></html>")
    }),
    ("a message and no trailers", |call| {
        let mut body = call.head(HeaderMap::new());
        body.send_data(frame(&empty_range(5)), true).ok();
    }),
    ("a message and trailers without a status", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, frame(&empty_range(5)));
        end(&mut body, &[("x-other", "1")]);
    }),
    ("trailers without a status and no message", |call| {
        let mut body = call.head(HeaderMap::new());
        end(&mut body, &[("x-other", "1")]);
    }),
    ("success without a message", |call| {
        let mut body = call.head(HeaderMap::new());
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("a message cut off, success", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, prefix(0, 1000, b"only a part"));
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("a large message cut off by a reset", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, prefix(0, 8 << 20, &vec![b'x'; 100_000]));
        body.send_reset(Reason::INTERNAL_ERROR);
    }),
    ("a large message cut off, success", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, prefix(0, 8 << 20, &vec![b'x'; 100_000]));
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("more than one message", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, [&frame(&empty_range(5))[..], &frame(&empty_range(6))[..]].concat().into());
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("a second message later", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, frame(&empty_range(5)));
        send(&mut body, frame(&empty_range(6)));
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("a message longer than any", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, prefix(0, u32::MAX, b"x"));
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("a compressed message", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, prefix(1, 4, b"gzip"));
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("half a prefix", |call| {
        let mut body = call.head(HeaderMap::new());
        send(&mut body, Bytes::from_static(&[0, 0]));
        end(&mut body, &[("grpc-status", "0")]);
    }),
    ("a reset in place of an answer", |call| call.respond.send_reset(Reason::REFUSED_STREAM)),
];

/// Replies whose bytes are no protobuf. A reply that is only passed on is the client's to judge; what the proxy has to
/// read it has to refuse.
const GARBAGE: Reply = |call| call.reply(&[0xff; 64]);

fn refuse_with(call: &mut FakeCall, name: &'static str, value: &str) {
    let response = Response::builder().header("content-type", "application/grpc").header(name, value);
    call.respond.send_response(response.body(()).expect("a response"), true).ok();
}

fn http_answer(call: &mut FakeCall, status: StatusCode, content_type: &str, body: &'static [u8]) {
    let response = Response::builder().status(status).header("content-type", content_type);
    if let Ok(mut stream) = call.respond.send_response(response.body(()).expect("a response"), false) {
        stream.send_data(Bytes::from_static(body), true).ok();
    }
}

fn prefix(flag: u8, len: u32, data: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(flag);
    out.put_u32(len);
    out.put_slice(data);
    out.freeze()
}

/// A shard that answers as it is told, and sanely while it is told nothing.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<Reply>>>);

async fn rig(told: &Told) -> Rig {
    let told = told.clone();
    Rig::plain(move |mut call| {
        let told = told.clone();
        async move {
            let reply = *told.0.lock();
            match reply {
                Some(reply) => reply(&mut call),
                None => call.reply(&empty_range(5)),
            }
        }
    })
    .await
}

/// The calls that reach shards on different paths through the proxy.
fn calls() -> Vec<(&'static str, Vec<u8>)> {
    let leased = etcd_prism_proto::etcdserverpb::PutRequest { lease: 77, ..put("/registry/pods/a", "1") };
    vec![
        ("/etcdserverpb.KV/Range", get("/registry/pods/a").encode_to_vec()),
        ("/etcdserverpb.KV/Range", list("/registry/pods/").encode_to_vec()),
        ("/etcdserverpb.KV/RangeStream", list("/registry/pods/").encode_to_vec()),
        ("/etcdserverpb.KV/Put", put("/registry/pods/a", "1").encode_to_vec()),
        ("/etcdserverpb.KV/Put", leased.encode_to_vec()),
        ("/etcdserverpb.KV/Txn", txn([]).encode_to_vec()),
        ("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest { id: 0, ttl: 10 }.encode_to_vec()),
        ("/etcdserverpb.Lease/LeaseKeepAlive", vec![8, 77]),
        ("/etcdserverpb.Lease/LeaseTimeToLive", vec![8, 77]),
        ("/etcdserverpb.Lease/LeaseLeases", vec![]),
        ("/v3electionpb.Election/Leader", vec![0x0a, 1, b'e']),
    ]
}

fn failed(answer: &Answer) -> bool {
    answer.error.is_some() || answer.status().is_none_or(|(code, _)| code != 0)
}

#[tokio::test]
async fn every_malformed_reply_is_an_error() {
    let told = Told::default();
    let rig = rig(&told).await;
    let connection = rig.connect().await;
    let mut wrong = Vec::new();
    for (what, reply) in REPLIES {
        for (path, message) in calls() {
            *told.0.lock() = Some(*reply);
            let answer = connection.call(path, &message).await;
            *told.0.lock() = None;
            // A stream of several messages is well-formed where one is allowed to be a stream.
            let streams = ["RangeStream", "Observe"].iter().any(|name| path.ends_with(name));
            let fine = streams
                && ["more than one message", "a second message later", "success without a message"]
                    .contains(what);
            if !fine && !failed(&answer) {
                wrong.push(format!("{what}: {path}: {:?}, {} bytes", answer.status(), answer.body.len()));
            }
            let next =
                connection.call("/etcdserverpb.KV/Range", &get("/registry/pods/b").encode_to_vec()).await;
            assert!(next.is_ok(), "after {what} to {path}: {next:?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the proxy reads a reply, it refuses one that it cannot read.
#[tokio::test]
async fn replies_that_are_not_protobuf_are_errors_where_they_are_read() {
    let told = Told::default();
    let rig = rig(&told).await;
    let connection = rig.connect().await;
    for (path, message) in calls() {
        *told.0.lock() = Some(GARBAGE);
        let answer = connection.call(path, &message).await;
        *told.0.lock() = None;
        let is_read = path.contains(".Lease/") || path.ends_with("RangeStream");
        assert!(!is_read || failed(&answer), "{path}: {answer:?}");
        let next = connection.call("/etcdserverpb.KV/Range", &get("/registry/pods/b").encode_to_vec()).await;
        assert!(next.is_ok(), "after {path}: {next:?}");
    }
}

/// A watch whose shard answers nonsense goes on trying, or ends so that clients resume; other requests go on.
#[tokio::test]
async fn a_watch_survives_a_shard_that_answers_nonsense() {
    let told = Told::default();
    let rig = rig(&told).await;
    let connection = rig.connect().await;
    let create = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(
            etcd_prism_proto::etcdserverpb::WatchCreateRequest {
                start_revision: 3,
                ..watch_prefix("/registry/pods/")
            },
        )),
    };
    for (what, reply) in REPLIES.iter().chain([&("garbage", GARBAGE)]) {
        *told.0.lock() = Some(*reply);
        let mut stream = connection.open(request("/etcdserverpb.Watch/Watch")).await.expect("a stream");
        stream.send(frame(&create.encode_to_vec()), false);
        let ended = tokio::time::timeout(Duration::from_millis(300), stream.finish()).await;
        *told.0.lock() = None;
        if let Ok(answer) = ended {
            let status = answer.status();
            assert_eq!(status.as_ref().map(|(code, _)| *code), Some(14), "{what}: {answer:?}");
        }
        let next = connection.call("/etcdserverpb.KV/Range", &get("/registry/pods/b").encode_to_vec()).await;
        assert!(next.is_ok(), "after {what}: {next:?}");
    }
}
