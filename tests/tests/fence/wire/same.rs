//! Under a fence that holds, a reply is what etcd says without one: byte for byte, but for the header's cluster and term.

use etcd_prism_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    CompactionRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
    TxnResponse,
};
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::{
    delete, delete_prefix, get, list, mod_revision_is, op, put, txn, version_is,
};
use etcd_prism_tests::tools::Version;
use etcd_prism_wire::fence::MARKER;
use prost::Message;

use super::on_both;
use super::shard::{Call, Outcome, PODS, Shard, condition, seen};

on_both!(replies_are_etcds_own, refused_with_the_fence_as_it_is, a_marker_beside_the_clients_operations);

const LEASE: i64 = 7;

/// A request, and whether etcd takes it at all: one that is wrong in itself is refused before any fence is looked at.
struct Case(&'static str, Call, Valid);

#[derive(PartialEq)]
enum Valid {
    Yes,
    No,
}

fn prev(request: PutRequest) -> Call {
    Call::Put(PutRequest { prev_kv: true, ..request })
}

fn pods(change: impl FnOnce(&mut RangeRequest)) -> Call {
    let mut request = list("/pods/");
    change(&mut request);
    Call::Range(request)
}

/// `If version(/pods/a) == version Then success Else failure`.
fn on_version(version: i64, success: Vec<Op>, failure: Vec<Op>) -> Call {
    Call::Txn(TxnRequest {
        compare: vec![version_is("/pods/a", version)],
        success: success.into_iter().map(op).collect(),
        failure: failure.into_iter().map(op).collect(),
    })
}

fn reads(serializable: bool) -> Vec<Op> {
    vec![Op::RequestRange(RangeRequest { serializable, ..get("/pods/a") })]
}

fn write(key: &str, value: &str) -> Op {
    Op::RequestPut(PutRequest { prev_kv: true, ..put(key, value) })
}

/// Every kind of request, on a store that has seen those before it. `/pods/a` has version 3 when it is compared.
fn cases() -> Vec<Case> {
    use Valid::{No, Yes};
    let with_lease = |lease| PutRequest { lease, ..put("/pods/l", "x") };
    let big = "x".repeat(100_000);
    let mut out = vec![
        Case("put", Call::Put(put("/pods/a", "1")), Yes),
        Case("put over", prev(put("/pods/a", "2")), Yes),
        Case("put with a lease", prev(with_lease(LEASE)), Yes),
        Case("put of a large value", prev(put("/pods/big", &big)), Yes),
        Case("put without a value", Call::Put(PutRequest { ignore_value: true, ..put("/pods/a", "") }), Yes),
        Case(
            "put without a value to keep",
            Call::Put(PutRequest { ignore_value: true, ..put("/no", "") }),
            Yes,
        ),
        Case("put with a lease that is not", Call::Put(with_lease(99)), Yes),
        Case("put without a key", Call::Put(put("", "x")), No),
        Case("get", Call::Range(get("/pods/a")), Yes),
        Case("get nothing", Call::Range(get("/no")), Yes),
        Case("get without a key", Call::Range(get("")), No),
        Case("list", pods(|_| {}), Yes),
        Case("list some", pods(|r| r.limit = 2), Yes),
        Case("list keys", pods(|r| r.keys_only = true), Yes),
        Case("count", pods(|r| r.count_only = true), Yes),
        Case("list a local copy", pods(|r| r.serializable = true), Yes),
        Case("list by filter", pods(|r| r.min_mod_revision = 3), Yes),
        Case(
            "list sorted",
            pods(|r| {
                r.sort_order = SortOrder::Descend.into();
                r.sort_target = SortTarget::Mod.into();
            }),
            Yes,
        ),
        Case("list the past", pods(|r| r.revision = 5), Yes),
        Case("list before the past", pods(|r| r.revision = -3), Yes),
        Case("list what is compacted", pods(|r| r.revision = 2), Yes),
        Case("list the future", pods(|r| r.revision = 1_000_000), Yes),
        Case("txn without compares", Call::Txn(txn([write("/pods/t", "1")])), Yes),
        Case("txn of nothing", Call::Txn(TxnRequest::default()), Yes),
        Case("txn as Kubernetes', held", on_version(3, vec![write("/pods/b", "1")], reads(false)), Yes),
        Case("txn as Kubernetes', failed", on_version(9, vec![write("/pods/b", "1")], reads(false)), Yes),
        Case(
            "txn with three gets, failed",
            {
                let failure = ["/no", "/pods/big", "/pods/a"].map(|key| Op::RequestRange(get(key)));
                on_version(9, vec![write("/pods/b", "1")], failure.to_vec())
            },
            Yes,
        ),
        Case(
            "txn with a list, failed",
            on_version(9, vec![write("/pods/b", "1")], vec![Op::RequestRange(list("/pods/"))]),
            Yes,
        ),
    ];
    for (held, version) in [("held", 3), ("failed", 9)] {
        let both = |ops: fn() -> Vec<Op>| on_version(version, ops(), ops());
        let name = |what: &str| &*format!("txn {what}, {held}").leak();
        out.extend([
            Case(name("of reads"), both(|| reads(false)), Yes),
            Case(name("of local reads"), both(|| reads(true)), Yes),
            Case(name("with writes in both branches"), both(|| vec![write("/pods/c", "1")]), Yes),
            // The revision in the header of a Range depends on what was written before it.
            Case(
                name("with reads around a write"),
                both(|| {
                    let list = || Op::RequestRange(list("/pods/"));
                    vec![list(), write("/pods/d", "1"), list(), Op::RequestDeleteRange(delete("/no"))]
                }),
                Yes,
            ),
            Case(
                name("with transactions within"),
                both(|| {
                    let inner = TxnRequest {
                        compare: vec![version_is("/pods/a", 3)],
                        success: vec![op(write("/pods/e", "1")), op(Op::RequestTxn(txn(reads(false))))],
                        failure: vec![op(write("/pods/f", "1"))],
                    };
                    vec![Op::RequestTxn(inner), write("/pods/g", "1")]
                }),
                Yes,
            ),
            Case(
                name("with deletions in both branches"),
                both(|| vec![Op::RequestDeleteRange(delete("/pods/g"))]),
                Yes,
            ),
            Case(name("with a key twice"), both(|| vec![write("/x", "1"), write("/x", "2")]), No),
            Case(
                name("with a lease that is not"),
                both(|| vec![Op::RequestPut(PutRequest { lease: 99, ..put("/x", "1") })]),
                Yes,
            ),
            Case(
                name("at a revision that is compacted"),
                both(|| vec![Op::RequestRange(RangeRequest { revision: 2, ..get("/pods/a") })]),
                Yes,
            ),
        ]);
    }
    let no_operation = TxnRequest { success: vec![RequestOp::default()], ..Default::default() };
    out.extend([
        Case("txn with an operation that is none", Call::Txn(no_operation), No),
        Case("delete", Call::Delete(delete("/pods/a")), Yes),
        Case("delete nothing", Call::Delete(delete("/no")), Yes),
        Case(
            "delete a range that is none",
            {
                let mut request = delete("/pods/z");
                request.range_end = "/pods/a".into();
                Call::Delete(request)
            },
            Yes,
        ),
        Case(
            "delete many",
            {
                let mut request = delete_prefix("/pods/");
                request.prev_kv = true;
                Call::Delete(request)
            },
            Yes,
        ),
        Case("delete without a key", Call::Delete(delete("")), No),
    ]);
    out
}

/// A shard on which revisions up to 3 are compacted, and the lease is there. Gives the fence's epoch.
async fn prepare(shard: &Shard) -> i64 {
    shard.raise(PODS, "old").await;
    let epoch = shard.raise(PODS, "open").await;
    let grant = LeaseGrantRequest { ttl: 3600, id: LEASE };
    shard.client.lease().lease_grant(grant).await.expect("a lease");
    let compaction = CompactionRequest { revision: epoch, physical: true };
    shard.client.kv().compact(compaction).await.expect("a compaction");
    epoch
}

async fn replies_are_etcds_own(version: Version) {
    let plain = Shard::start(EtcdBuilder::new("plain").version(version)).await;
    let fenced = Shard::start(EtcdBuilder::new("fenced").version(version).as_shard()).await;
    let epoch = prepare(&fenced).await;
    assert_eq!(prepare(&plain).await, epoch, "both stores go in step");
    for Case(name, call, _) in cases() {
        let want = plain.plain(&call).await;
        let got = fenced.fenced(&call, &condition(epoch), 140).await;
        assert_eq!(got, want, "{name}");
    }
    assert_eq!(plain.revision().await, fenced.revision().await);
}

async fn refused_with_the_fence_as_it_is(version: Version) {
    let shard = Shard::start(EtcdBuilder::new("shard").version(version).as_shard()).await;
    let epoch = prepare(&shard).await;
    shard.client.kv().put(put("/pods/a", "mine")).await.expect("a put");
    let everything = Call::Range(RangeRequest { range_end: "\u{7f}".into(), ..get("\0") });
    let rest = |outcome: Outcome| match outcome {
        Outcome::Reply { rest, .. } => rest,
        other => panic!("{other:?}"),
    };
    let before = rest(shard.plain(&everything).await);
    for Case(name, call, valid) in cases() {
        for stale in [epoch - 1, epoch + 1_000, 0, -1] {
            let got = shard.fenced(&call, &condition(stale), 140).await;
            if valid == Valid::Yes {
                assert_eq!(got, Outcome::Refused(vec![seen(PODS, epoch, "open")]), "{name} at {stale}");
            } else {
                assert!(matches!(got, Outcome::Status(3, _)), "{name} at {stale}: {got:?}");
            }
        }
    }
    assert_eq!(rest(shard.plain(&everything).await), before, "nothing was written");
}

/// A marker in the branch with the client's operations is a write that the client can see: a Range that comes first shows
/// what was before, under the revision of what comes after. In the other branch it is not written.
async fn a_marker_beside_the_clients_operations(version: Version) {
    let shard = Shard::start(EtcdBuilder::new("shard").version(version).as_shard()).await;
    let epoch = shard.raise(PODS, "open").await;
    let client = TxnRequest {
        compare: vec![mod_revision_is("/none", 77)],
        failure: vec![op(Op::RequestRange(list("/"))), op(write("/a", "1"))],
        ..Default::default()
    };
    let naive = txn([Op::RequestPut(put(MARKER, "\0")), Op::RequestTxn(client.clone())]);
    let reply = shard.raw(&naive.encode_to_vec()).await.message();
    let reply = TxnResponse::decode(&reply[..]).expect("a reply");
    let Some(Response::ResponseTxn(inner)) = reply.responses[1].response.clone() else { panic!("{reply:?}") };
    let Some(Response::ResponseRange(range)) = inner.responses[0].response.clone() else {
        panic!("{inner:?}")
    };
    let revision = |header: Option<ResponseHeader>| header.expect("a header").revision;
    assert!(range.kvs.is_empty(), "the list is older than the write");
    assert_eq!(
        revision(range.header),
        revision(reply.header),
        "a watch from the list on would miss the write"
    );

    // Where ours writes nothing the revision stays; where the fence does not hold, the marker moves it.
    let idle = TxnRequest { failure: vec![op(Op::RequestRange(list("/")))], ..client };
    let idle = Call::Txn(TxnRequest { success: vec![op(write("/a", "1"))], ..idle });
    let before = shard.revision().await;
    assert_eq!(shard.fenced(&idle, &condition(epoch), 140).await, shard.plain(&idle).await);
    assert_eq!(shard.revision().await, before);
    let refused = shard.fenced(&idle, &condition(epoch - 1), 140).await;
    assert_eq!(refused, Outcome::Refused(vec![seen(PODS, epoch, "open")]));
    assert_eq!(shard.revision().await, before + 1);
}
