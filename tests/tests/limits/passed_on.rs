//! What the proxy does not know goes through it untouched, in both directions.

use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_proto::etcdserverpb::{PutResponse, RangeResponse, TxnResponse};
use etcd_prism_tests::fake_shard::{empty_range, header};
use etcd_prism_tests::request::{get, list, put, txn};
use http::HeaderMap;
use parking_lot::Mutex;
use prost::Message;

use crate::rig::Rig;

/// Fields that no etcd has yet, of each wire type: varint, 64 bit, bytes, 32 bit.
const UNKNOWN: &[u8] = &[
    0xb8, 0x3e, 0x96, 0x01, // 999: 150
    0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8, // 1000
    0xca, 0x3e, 3, b'a', b'b', b'c', // 1001
    0xd5, 0x3e, 9, 8, 7, 6, // 1002
];

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>);

impl Seen {
    /// The call to `path`.
    fn of(&self, path: &str) -> (HeaderMap, Bytes) {
        let seen = self.0.lock();
        let (_, headers, body) = seen.iter().find(|(seen, ..)| seen == path).expect("a call to the shard");
        (headers.clone(), body.clone())
    }
}

fn with_unknown(mut message: Vec<u8>) -> Vec<u8> {
    message.extend_from_slice(UNKNOWN);
    message
}

/// A shard that notes what it is asked, and whose every reply has unknown fields.
async fn rig(seen: &Seen) -> Rig {
    let seen = seen.clone();
    Rig::plain(move |mut call| {
        let seen = seen.clone();
        async move {
            let message = call.message().await;
            let (path, headers) = (call.path().to_owned(), call.request.headers().clone());
            let reply = match path.rsplit('/').next() {
                Some("Range") => empty_range(5),
                Some("Put") => PutResponse { header: Some(header(6)), prev_kv: None }.encode_to_vec(),
                _ => TxnResponse { header: Some(header(7)), succeeded: true, responses: Vec::new() }
                    .encode_to_vec(),
            };
            // The proxy's own questions (its compaction samples) come without a deadline and are not noted.
            if headers.contains_key("grpc-timeout") {
                seen.0.lock().push((path, headers, message));
            }
            call.reply(&with_unknown(reply));
        }
    })
    .await
}

#[tokio::test]
async fn unknown_fields_reach_the_shard_and_the_client() {
    let seen = Seen::default();
    let rig = rig(&seen).await;
    let nested = txn([Op::RequestTxn(txn([Op::RequestPut(put("/registry/pods/a", "1"))]))]);
    let calls = [
        ("/etcdserverpb.KV/Range", get("/registry/pods/a").encode_to_vec()),
        ("/etcdserverpb.KV/Put", put("/registry/pods/a", "1").encode_to_vec()),
        ("/etcdserverpb.KV/Txn", nested.encode_to_vec()),
    ];
    let connection = rig.connect().await;
    for (path, message) in calls {
        let message = with_unknown(message);
        let mut request = etcd_prism_tests::raw::request(path);
        request.headers_mut().insert("grpc-timeout", "9S".parse().expect("a header value"));
        let answer = connection.exchange(request, etcd_prism_tests::raw::frame(&message)).await;
        assert!(answer.is_ok(), "{answer:?}");
        let (_, received) = seen.of(path);
        assert_eq!(received, message, "{path}: not the same bytes");
        let reply = answer.message();
        assert!(find(&reply, UNKNOWN).is_some(), "{path}: {reply:?}");
    }
}

/// A range over everything has its end replaced; the rest of it stays, the unknown included.
#[tokio::test]
async fn unknown_fields_stay_where_the_proxy_adds_some() {
    let seen = Seen::default();
    let rig = rig(&seen).await;
    let message = with_unknown(list("/registry/pods/").encode_to_vec());
    let mut all = etcd_prism_tests::request::list_all();
    all.key = Bytes::from_static(b"/s");
    let open = with_unknown(all.encode_to_vec());
    let connection = rig.connect().await;
    for message in [message, open] {
        let mut request = etcd_prism_tests::raw::request("/etcdserverpb.KV/Range");
        request.headers_mut().insert("grpc-timeout", "9S".parse().expect("a header value"));
        seen.0.lock().clear();
        let answer = connection.exchange(request, etcd_prism_tests::raw::frame(&message)).await;
        assert!(answer.is_ok(), "{answer:?}");
        let (_, received) = seen.of("/etcdserverpb.KV/Range");
        assert!(received.starts_with(&message), "the client's bytes come first: {received:?}");
        let reply = RangeResponse::decode(answer.message()).expect("a reply");
        let header = reply.header.expect("a header");
        // One header, and it is the proxy's.
        assert!(header.cluster_id != 77 && header.cluster_id != 0 && header.revision == 5, "{header:?}");
    }
}

/// Deadline, leader requirement, API version and trace context travel; credentials and encodings do not.
#[tokio::test]
async fn the_right_headers_reach_the_shard() {
    let seen = Seen::default();
    let rig = rig(&seen).await;
    let travels = [
        ("grpc-timeout", "9S"),
        ("hasleader", "true"),
        ("client-api-version", "3.7"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ("tracestate", "a=b"),
    ];
    let stays = [
        ("authorization", "Bearer secret"),
        ("token", "secret"),
        ("grpc-accept-encoding", "gzip"),
        ("x-forwarded-for", "10.0.0.1"),
        ("cookie", "secret"),
    ];
    let mut request = etcd_prism_tests::raw::request("/etcdserverpb.KV/Put");
    for (name, value) in travels.into_iter().chain(stays) {
        request.headers_mut().insert(name, value.parse().expect("a header value"));
    }
    let body = etcd_prism_tests::raw::frame(&put("/registry/pods/a", "1").encode_to_vec());
    assert!(rig.connect().await.exchange(request, body).await.is_ok());
    let (headers, _) = seen.of("/etcdserverpb.KV/Put");
    for (name, value) in travels {
        assert_eq!(headers.get(name).map(|found| found.as_bytes()), Some(value.as_bytes()), "{name}");
    }
    for (name, _) in stays {
        assert!(!headers.contains_key(name), "{name}: {headers:?}");
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
