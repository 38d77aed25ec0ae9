//! Requests as large as etcd takes them: fenced they are larger, so a shard has to take more than clients may send.

use etcd_prism_proto::etcdserverpb::TxnRequest;
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::{get, op, put, txn, version_is};
use etcd_prism_tests::tools::Version;
use prost::Message;

use super::on_both;
use super::shard::{Call, Outcome, PODS, Shard, condition, seen};

on_both!(ce16_the_largest_requests);

/// etcd's `--max-request-bytes`.
const LIMIT: usize = 3 << 19;

fn many(n: usize) -> impl Iterator<Item = String> {
    (0..n).map(|n| format!("/pods/{n}"))
}

fn puts(n: usize) -> TxnRequest {
    txn(many(n).map(|key| Op::RequestPut(put(&key, "x"))))
}

/// A Put whose message has `len` bytes.
fn put_of(len: usize) -> Call {
    let value = |len: usize| put("/pods/large", &vec![b'x'; len]);
    let rest = value(len).encoded_len() - len;
    Call::Put(value(len - rest))
}

/// Each is accepted by an etcd as it comes, and with a fence by one that has the room which shards are asked to have, but
/// not by one that has not: there the refusal is etcd's, and nothing was applied.
async fn ce16_the_largest_requests(version: Version) {
    let small = Shard::start(EtcdBuilder::new("small").version(version)).await;
    let roomy = Shard::start(EtcdBuilder::new("roomy").version(version).as_shard()).await;
    let small_epoch = small.raise(PODS, "open").await;
    let epoch = roomy.raise(PODS, "open").await;

    let compares = TxnRequest { compare: many(128).map(|key| version_is(&key, 0)).collect(), ..puts(1) };
    let wrapped = TxnRequest { failure: vec![op(Op::RequestPut(put("/pods/0", "x")))], ..puts(128) };
    let nested = txn([Op::RequestTxn(TxnRequest { compare: vec![version_is("/no", 0)], ..puts(127) })]);
    let too_many = (3, "etcdserver: too many operations in txn request");
    let too_large = (3, "etcdserver: request is too large");
    let largest = [
        ("128 compares", Call::Txn(compares), Some(too_many)),
        ("128 operations and a failure branch that writes", Call::Txn(wrapped), Some(too_many)),
        // Appending takes no operation here: 128 of them are one more compare's equals.
        ("128 operations", Call::Txn(puts(128)), None),
        ("128 operations on two levels", Call::Txn(nested), None),
        ("a put 18 bytes below the limit", put_of(LIMIT - 18), Some(too_large)),
        ("a put 60 bytes below the limit", put_of(LIMIT - 60), Some(too_large)),
    ];
    for (name, call, refusal) in largest {
        // Before, so that compares hold; nothing else is changed.
        let reply = roomy.fenced(&call, &condition(epoch - 1), 140).await;
        assert_eq!(reply, Outcome::Refused(vec![seen(PODS, epoch, "open")]), "{name}");
        let reply = roomy.fenced(&call, &condition(epoch), 140).await;
        assert!(matches!(reply, Outcome::Reply { .. }), "{name}: {reply:?}");

        let before = small.revision().await;
        let reply = small.fenced(&call, &condition(small_epoch), 128).await;
        match refusal {
            Some((code, text)) => {
                assert_eq!(reply, Outcome::Status(code, text.to_owned()), "{name}");
                assert_eq!(small.revision().await, before, "{name}: not applied");
            }
            None => assert!(matches!(reply, Outcome::Reply { .. }), "{name}: {reply:?}"),
        }
        let reply = small.plain(&call).await;
        assert!(matches!(reply, Outcome::Reply { .. }), "{name}: {reply:?}");
    }
    let get = roomy.fenced(&Call::Range(get("/pods/large")), &condition(epoch), 140).await;
    assert!(matches!(get, Outcome::Reply { ref rest, .. } if rest.len() > LIMIT - 200), "read back");
}
