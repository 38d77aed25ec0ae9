//! Keys that begin with 0xFF are the proxy's own: clients neither see them nor touch them.

use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
    RangeStreamResponse, TxnRequest, WatchCreateRequest,
};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{delete, list_all, op, put, txn};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::watch_stream::WatchStream;
use tonic::Code;

const HIDDEN: [&[u8]; 3] = [b"\xff", b"\xffprism/other", b"\xff\xff\xff"];
/// The largest key that a client can have.
const LAST: &[u8] = b"\xfe\xff\xff\xff";
const SHARDS: [&str; 4] = ["events", "leases", "pods", "rest"];

/// Ranges that reach over the border in every way there is.
fn ranges() -> Vec<(&'static [u8], &'static [u8])> {
    vec![
        (b"\0", b"\0"),
        (b"a", b"\0"),
        (b"\xfe", b"\0"),
        (b"\xfe", b"\xff"),
        (b"\xfe", b"\xff\x01"),
        (b"\xfe", b"\xff\xff\xff\xff"),
        (b"/registry/pods/", b"\xff\xff"),
        (b"\xff", b"\0"),
        (b"\xff", b""),
        (b"\xffprism/", b"\xffprism0"),
        (b"\xffprism/other", b""),
        (b"\xff\xff", b"\xff"),
    ]
}

fn range(key: &'static [u8], end: &'static [u8]) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

/// Hidden keys on every shard, and a visible one on each.
async fn site() -> (Topology, Client) {
    let topology = Topology::four_shards().await;
    for name in SHARDS {
        for key in HIDDEN {
            topology.shard_client(name).kv().put(put(key, name)).await.expect("a hidden key");
        }
    }
    let client = topology.client();
    for key in ["/registry/events/a", "/registry/leases/a", "/registry/pods/a", "/registry/configmaps/a"] {
        client.kv().put(put(key, "1")).await.expect("a visible key");
    }
    client.kv().put(put(LAST, "1")).await.expect("the last visible key");
    (topology, client)
}

fn is_hidden(key: &[u8]) -> bool {
    key.first() == Some(&0xff)
}

#[tokio::test]
async fn reads_do_not_show_them() {
    let (_topology, client) = site().await;
    for (key, end) in ranges() {
        let request = range(key, end);
        let found = client.kv().range(request.clone()).await.expect("a range").into_inner();
        let what = format!("[{key:x?}, {end:x?})");
        assert!(found.kvs.iter().all(|kv| !is_hidden(&kv.key)), "{what}: {found:?}");
        assert_eq!(found.count, found.kvs.len() as i64, "{what}");
        assert!(found.header.is_some_and(|header| header.revision > 0), "{what}");
        let counted =
            client.kv().range(RangeRequest { count_only: true, ..request.clone() }).await.expect("a count");
        assert_eq!(counted.into_inner().count, found.count, "{what}");
        let sorted = RangeRequest { sort_order: 2, sort_target: 0, limit: 1, ..request.clone() };
        let sorted = client.kv().range(sorted).await.expect("a sorted range").into_inner();
        assert_eq!(sorted.count, found.count, "{what}");
        assert!(sorted.kvs.iter().all(|kv| !is_hidden(&kv.key)), "{what}: {sorted:?}");
        assert_eq!(sorted.more, found.count > 1, "{what}");
        let mut stream = client.kv().range_stream(request).await.expect("a stream").into_inner();
        let mut streamed = Vec::new();
        while let Some(RangeStreamResponse { range_response }) = stream.message().await.expect("a chunk") {
            streamed.extend(range_response.expect("a response").kvs);
        }
        assert_eq!(streamed, found.kvs, "{what}");
    }
    let everything = client.kv().range(list_all()).await.expect("everything").into_inner();
    assert_eq!(everything.kvs.last().expect("keys").key, LAST);
    assert_eq!(everything.count, 5);
}

/// Reads within a transaction, of one shard.
#[tokio::test]
async fn transactions_do_not_show_them() {
    let (_topology, client) = site().await;
    for (key, end) in ranges().into_iter().filter(|(key, _)| *key >= b"\xfe".as_slice()) {
        let nested = txn([Op::RequestRange(range(key, end))]);
        let reads = [Op::RequestRange(range(key, end)), Op::RequestTxn(nested)];
        let reply = client.kv().txn(txn(reads)).await.expect("a transaction").into_inner();
        let what = format!("[{key:x?}, {end:x?})");
        for response in reply.responses {
            let found = match response.response.expect("a response") {
                Response::ResponseRange(found) => found,
                Response::ResponseTxn(inner) => {
                    match inner.responses.into_iter().next().and_then(|r| r.response) {
                        Some(Response::ResponseRange(found)) => found,
                        other => panic!("{what}: {other:?}"),
                    }
                }
                other => panic!("{what}: {other:?}"),
            };
            assert!(found.kvs.iter().all(|kv| !is_hidden(&kv.key)), "{what}: {found:?}");
            assert_eq!(found.count, found.kvs.len() as i64, "{what}");
        }
    }
}

/// A compare over a range holds if it holds for every key of it, so a hidden key must not make it fail, nor must an
/// absent one be found.
#[tokio::test]
async fn compares_do_not_see_them() {
    let (_topology, client) = site().await;
    let compare = |key: &'static [u8], end: &'static [u8], union| Compare {
        key: key.into(),
        range_end: end.into(),
        result: CompareResult::Equal.into(),
        target: match union {
            TargetUnion::Value(_) => CompareTarget::Value.into(),
            _ => CompareTarget::Version.into(),
        },
        target_union: Some(union),
    };
    let holds = async |compare: Compare| {
        let request = TxnRequest { compare: vec![compare], ..Default::default() };
        client.kv().txn(request).await.expect("a transaction").into_inner().succeeded
    };
    // The last visible key has the value 1; the hidden ones have others.
    for end in [b"\0".as_slice(), b"\xff\xff\xff\xff", b"\xff\x01"] {
        assert!(holds(compare(b"\xfe", end, TargetUnion::Value("1".into()))).await, "{end:x?}");
        assert!(!holds(compare(b"\xfe", end, TargetUnion::Value("2".into()))).await, "{end:x?}");
    }
    // A single hidden key is absent: its version is 0.
    assert!(holds(compare(b"\xffprism/other", b"", TargetUnion::Version(0))).await);
    assert!(!holds(compare(b"\xffprism/other", b"", TargetUnion::Version(1))).await);
}

#[tokio::test]
async fn writes_are_refused() {
    let (topology, client) = site().await;
    let nested = |request: Op| Op::RequestTxn(txn([request]));
    for key in HIDDEN {
        let refusals = [
            client.kv().put(put(key, "x")).await.map(drop),
            client.kv().delete_range(delete(key)).await.map(drop),
            client.kv().txn(txn([Op::RequestPut(put(key, "x"))])).await.map(drop),
            client.kv().txn(txn([nested(Op::RequestPut(put(key, "x")))])).await.map(drop),
            client.kv().txn(txn([nested(Op::RequestDeleteRange(delete(key)))])).await.map(drop),
            client
                .kv()
                .txn(TxnRequest { failure: vec![op(Op::RequestPut(put(key, "x")))], ..Default::default() })
                .await
                .map(drop),
        ];
        for refusal in refusals {
            let status = refusal.expect_err("a refusal");
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            assert!(status.message().contains("reserved"), "{status:?}");
        }
    }
    for name in SHARDS {
        let found = topology.shard_client(name).kv().range(list_all()).await.expect("a list").into_inner();
        let hidden: Vec<_> = found.kvs.iter().filter(|kv| HIDDEN.contains(&&kv.key[..])).collect();
        assert_eq!(hidden.len(), HIDDEN.len(), "{name}");
        assert!(hidden.iter().all(|kv| kv.value == name && kv.version == 1), "{name}: {hidden:?}");
    }
}

/// A deletion that reaches over the border ends before it.
#[tokio::test]
async fn deletions_of_ranges_end_before_them() {
    let (topology, client) = site().await;
    for end in [b"\0".as_slice(), b"\xff\xff\xff\xff", b"\xff"] {
        client.kv().put(put(LAST, "1")).await.expect("the last visible key");
        let request =
            DeleteRangeRequest { key: b"\xfe".as_slice().into(), range_end: end.into(), prev_kv: true };
        let reply = client.kv().delete_range(request.clone()).await.expect("a deletion").into_inner();
        assert_eq!((reply.deleted, reply.prev_kvs.len()), (1, 1), "{end:x?}: {reply:?}");
        client.kv().put(put(LAST, "1")).await.expect("the last visible key");
        let reply = client
            .kv()
            .txn(txn([Op::RequestDeleteRange(request)]))
            .await
            .expect("a transaction")
            .into_inner();
        let Some(Response::ResponseDeleteRange(reply)) = reply.responses[0].response.clone() else {
            panic!("{reply:?}")
        };
        assert_eq!((reply.deleted, reply.prev_kvs.len()), (1, 1), "{end:x?}: {reply:?}");
    }
    for name in SHARDS {
        let found = topology.shard_client(name).kv().range(list_all()).await.expect("a list").into_inner();
        let hidden = found.kvs.iter().filter(|kv| HIDDEN.contains(&&kv.key[..])).count();
        assert_eq!(hidden, HIDDEN.len(), "{name}");
    }
}

/// Watches over everything, over the end, and on a hidden key alone: no hidden event, and nothing empty in its place.
#[tokio::test]
async fn watches_do_not_show_them() {
    let (topology, client) = site().await;
    let mut streams = Vec::new();
    for (key, end) in [
        (b"\0".as_slice(), b"\0".as_slice()),
        (b"\xfe", b"\0"),
        (b"\xfe", b"\xff\xff"),
        (b"\xff", b"\0"),
        (b"\xffprism/other", b""),
    ] {
        let mut stream = WatchStream::open(&client);
        let request = WatchCreateRequest {
            key: key.into(),
            range_end: end.into(),
            prev_kv: true,
            ..Default::default()
        };
        let created = stream.create(request).await;
        let sees = key < b"\xff".as_slice();
        // Where a client can see nothing there is nothing to watch, and etcd refuses an empty range.
        assert_eq!(created.canceled, !sees, "[{key:x?}, {end:x?}): {created:?}");
        streams.push((stream, sees));
    }
    let rest = topology.shard_client("rest");
    for round in 0..20 {
        for key in HIDDEN {
            rest.kv().put(put(key, &round.to_string())).await.expect("a hidden write");
        }
        // One revision with both kinds of keys.
        let both = [Op::RequestPut(put(b"\xffprism/x", "1")), Op::RequestPut(put(LAST, &round.to_string()))];
        rest.kv().txn(txn(both)).await.expect("a write of both kinds");
    }
    for (stream, sees) in &mut streams {
        let mut seen = 0;
        while *sees && seen < 20 {
            let response = stream.next().await;
            assert!(!response.events.is_empty(), "an empty response looks like progress: {response:?}");
            for event in &response.events {
                assert_eq!(event.kv.as_ref().expect("a key").key, LAST);
                seen += 1;
            }
        }
        let more = stream.try_next(std::time::Duration::from_millis(100)).await;
        assert!(more.is_err(), "{more:?}");
    }
}

#[tokio::test]
async fn leases_do_not_show_them() {
    let (topology, client) = site().await;
    let lease = client
        .lease()
        .lease_grant(LeaseGrantRequest { id: 0, ttl: 600 })
        .await
        .expect("a lease")
        .into_inner()
        .id;
    client.kv().put(PutRequest { lease, ..put("/registry/pods/leased", "1") }).await.expect("a leased key");
    // Wherever the lease is by now, a hidden key hangs on it there.
    let mut hung = 0;
    for name in SHARDS {
        let put = PutRequest { lease, ..put(b"\xffprism/leased", "1") };
        hung += usize::from(topology.shard_client(name).kv().put(put).await.is_ok());
    }
    assert!(hung > 0, "the lease is on a shard");
    let request = LeaseTimeToLiveRequest { id: lease, keys: true };
    let reply = client.lease().lease_time_to_live(request).await.expect("the lease").into_inner();
    assert_eq!(reply.keys, ["/registry/pods/leased"], "{reply:?}");
}
