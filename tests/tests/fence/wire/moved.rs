//! Requests that come with an old idea of a fence.

use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_proto::etcdserverpb::{RangeRequest, TxnRequest};
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::{delete, get, mod_revision_is, op, put, txn, version_is};
use etcd_prism_tests::tools::Version;
use etcd_prism_wire::fence::Condition;
use prost::Message;
use prost::encoding::encode_varint;

use super::on_both;
use super::shard::{Call, Outcome, PODS, Shard, condition, seen};

on_both!(
    ce02_a_failure_branch_that_writes,
    ce13_a_fence_deleted_and_made_again,
    ce23_a_last_length_that_reaches_past_the_end,
    a_failure_branch_that_fails,
    several_fences,
);

const LEASES: &[u8] = b"\xffprism/fence/leases";

async fn shard(version: Version) -> Shard {
    Shard::start(EtcdBuilder::new("shard").version(version).as_shard()).await
}

/// What is appended to most transactions: the compare, and the Range of the fence.
fn appended(epoch: i64) -> TxnRequest {
    TxnRequest {
        compare: vec![mod_revision_is(PODS, epoch)],
        failure: vec![op(Op::RequestRange(get(PODS)))],
        ..Default::default()
    }
}

fn append(message: Vec<u8>, epoch: i64) -> Vec<u8> {
    [message, appended(epoch).encode_to_vec()].concat()
}

async fn ce02_a_failure_branch_that_writes(version: Version) {
    let shard = shard(version).await;
    let stale = shard.raise(PODS, "open").await;
    let epoch = shard.raise(PODS, "sealed").await;
    let write = |key: &str| TxnRequest {
        compare: vec![version_is("/a", 0)],
        success: vec![op(Op::RequestPut(put(key, "then")))],
        failure: vec![op(Op::RequestPut(put(key, "else")))],
    };
    assert!(shard.raw(&append(write("/naive").encode_to_vec(), stale)).await.is_ok());
    assert_eq!(shard.value("/naive").await, Some("else".into()), "the simple way writes past the fence");

    let got = shard.fenced(&Call::Txn(write("/ours")), &condition(stale), 140).await;
    assert_eq!(got, Outcome::Refused(vec![seen(PODS, epoch, "sealed")]));
    assert_eq!(shard.value("/ours").await, None);
    // Sent again with what was learnt it is applied, once.
    let got = shard.fenced(&Call::Txn(write("/ours")), &condition(epoch), 140).await;
    assert!(matches!(got, Outcome::Reply { .. }), "{got:?}");
    assert_eq!(shard.value("/ours").await, Some("then".into()));
}

async fn ce13_a_fence_deleted_and_made_again(version: Version) {
    let shard = shard(version).await;
    let stale = shard.raise(PODS, "open").await;
    shard.client.kv().delete_range(delete(PODS)).await.expect("a deletion");
    let gone = shard.fenced(&Call::Put(put("/ours", "x")), &condition(stale), 140).await;
    assert_eq!(gone, Outcome::Refused(vec![seen(PODS, 0, "")]));
    // An absent key has mod revision 0, and an epoch of 0 still does not hold.
    let never = shard.fenced(&Call::Put(put("/ours", "x")), &condition(0), 140).await;
    assert_eq!(never, gone);

    let epoch = shard.raise(PODS, "open").await;
    let naive =
        TxnRequest { compare: vec![version_is(PODS, 1)], ..txn([Op::RequestPut(put("/naive", "x"))]) };
    assert!(shard.raw(&naive.encode_to_vec()).await.is_ok());
    assert_eq!(shard.value("/naive").await, Some("x".into()), "versions repeat");
    let got = shard.fenced(&Call::Put(put("/ours", "x")), &condition(stale), 140).await;
    assert_eq!(got, Outcome::Refused(vec![seen(PODS, epoch, "open")]));
    assert_eq!(shard.value("/ours").await, None);
}

async fn ce23_a_last_length_that_reaches_past_the_end(version: Version) {
    let shard = shard(version).await;
    let stale = shard.raise(PODS, "open").await;
    shard.raise(PODS, "sealed").await;
    let mut message = txn([Op::RequestPut(put("/naive", "x"))]).encode_to_vec();
    // A field that etcd does not know, whose content is to be what follows.
    encode_varint(100 << 3 | 2, &mut message);
    encode_varint(appended(stale).encoded_len() as u64, &mut message);

    assert!(!shard.raw(&message).await.is_ok(), "refused by etcd alone");
    assert_eq!(shard.value("/naive").await, None);
    assert!(shard.raw(&append(message.clone(), stale)).await.is_ok());
    assert_eq!(shard.value("/naive").await, Some("x".into()), "the simple way writes past the fence");
    assert!(
        etcd_prism_wire::request::txn(&message, 128, &mut |_, _| {}).is_err(),
        "never fenced, never sent"
    );
}

/// Revisions are a shard's own: one that does not own the route may call future, or compacted, what its owner can read.
async fn a_failure_branch_that_fails(version: Version) {
    let shard = shard(version).await;
    let stale = shard.raise(PODS, "open").await;
    let epoch = shard.raise(PODS, "retired").await;
    let read = RangeRequest { revision: 1_000_000, ..get("/a") };
    let client = TxnRequest {
        compare: vec![version_is("/a", 0)],
        failure: vec![op(Op::RequestRange(read))],
        ..Default::default()
    };
    let naive = shard.raw(&append(client.encode_to_vec(), stale)).await;
    assert_eq!(naive.status().map(|(code, _)| code), Some(11), "a client would believe it: {naive:?}");
    let got = shard.fenced(&Call::Txn(client), &condition(stale), 140).await;
    assert_eq!(got, Outcome::Refused(vec![seen(PODS, epoch, "retired")]));
}

async fn several_fences(version: Version) {
    let shard = shard(version).await;
    let pods = shard.raise(PODS, "open").await;
    let leases = shard.raise(LEASES, "open").await;
    shard.raise(b"\xffprism/fence/other", "open").await;
    let on = |pods, leases| [Condition { key: PODS, epoch: pods }, Condition { key: LEASES, epoch: leases }];
    let write = |version| {
        Call::Txn(TxnRequest {
            compare: vec![version_is("/a", version)],
            success: vec![op(Op::RequestPut(put("/a", "x"))), op(Op::RequestPut(put("/b", "x")))],
            failure: vec![op(Op::RequestRange(get("/a")))],
        })
    };
    let fences = Outcome::Refused(vec![seen(PODS, pods, "open"), seen(LEASES, leases, "open")]);
    for conditions in [on(pods - 1, leases), on(pods, leases - 1), on(leases, pods)] {
        assert_eq!(shard.fenced(&write(0), &conditions, 140).await, fences, "{conditions:?}");
        assert_eq!(
            shard.fenced(&Call::Put(put("/a", "x")), &conditions, 140).await,
            fences,
            "{conditions:?}"
        );
    }
    let absent = [Condition { key: PODS, epoch: pods }, Condition { key: b"\xffprism/fence/new", epoch: 9 }];
    let got = shard.fenced(&write(0), &absent, 140).await;
    assert_eq!(got, Outcome::Refused(vec![seen(PODS, pods, "open"), seen(b"\xffprism/fence/new", 0, "")]));
    assert_eq!(shard.value("/a").await, None);

    let held = on(pods, leases);
    let failed = shard.fenced(&write(5), &held, 140).await;
    assert_eq!(failed, shard.plain(&write(5)).await, "the client's own compare failed");
    assert!(matches!(shard.fenced(&write(0), &held, 140).await, Outcome::Reply { .. }));
    assert_eq!(shard.value("/b").await, Some("x".into()));
}
