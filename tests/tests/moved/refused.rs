//! What a moved route cannot do, and what the limits on transactions leave room for.

use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{Compare, DeleteRangeRequest, TxnRequest};
use etcd_prism_tests::request::{get, mod_revision_is, op, put, version_is};
use tonic::Code;

use crate::rig::{PODS, Rig, key};

async fn refused(rig: &Rig, request: TxnRequest, text: &str) {
    let status = rig.client.kv().txn(request).await.expect_err("a refusal");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(text), "{status}");
}

#[tokio::test]
async fn what_cannot_be_translated_is_refused_with_a_reason() {
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    rig.client.kv().put(put("/bees/1", "x")).await.expect("a put");
    rig.move_to("b").await;
    let kv = rig.oracle.now().values().next().expect("a key").clone();

    let old = Request::RequestRange(etcd_prism_proto::etcdserverpb::RangeRequest {
        revision: kv.mod_revision,
        ..get(&kv.key)
    });
    // In whichever branch.
    refused(
        &rig,
        TxnRequest { failure: vec![op(old)], ..TxnRequest::default() },
        "has moved to another shard",
    )
    .await;

    let over_all = Compare {
        key: PODS.into(),
        range_end: "/pods0".into(),
        target: CompareTarget::Mod.into(),
        result: CompareResult::Less.into(),
        target_union: Some(TargetUnion::ModRevision(kv.mod_revision)),
    };
    refused(&rig, TxnRequest { compare: vec![over_all], ..TxnRequest::default() }, "over a range").await;

    // Both live on one shard now.
    let two = [put("/bees/1", "y"), put(&key("1"), "y")].map(|put| op(Request::RequestPut(put)));
    let text = "they have different lines of revisions";
    refused(&rig, TxnRequest { success: two.into(), ..TxnRequest::default() }, text).await;
    let everything = DeleteRangeRequest {
        key: "/bees/".into(),
        range_end: "/pods0".into(),
        ..DeleteRangeRequest::default()
    };
    let status = rig.client.kv().delete_range(everything).await.expect_err("a refusal");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let reply = rig.client.kv().range(get(&kv.key)).await.expect("a range").into_inner();
    assert_eq!(reply.kvs, [kv], "nothing was done");
}

#[tokio::test]
async fn the_largest_transaction_of_a_client_passes() {
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    // So that copies have other versions than the keys that they are copies of.
    rig.churn(0).await;
    rig.move_to("b").await;
    let known: Vec<_> = rig.oracle.now().values().take(2).cloned().collect();
    assert!(known[1].version > 1);
    let mut puts: Vec<_> =
        (0..128).map(|i| op(Request::RequestPut(put(&key(&format!("many-{i:03}")), "x")))).collect();
    let compare = vec![
        mod_revision_is(&known[0].key, known[0].mod_revision),
        version_is(&known[1].key, known[1].version),
    ];
    let request = TxnRequest { compare: compare.clone(), success: puts.clone(), failure: Vec::new() };
    let reply = rig.client.kv().txn(request).await.expect("a transaction").into_inner();
    assert!(reply.succeeded);
    assert_eq!(reply.responses.len(), 128);
    puts.push(op(Request::RequestPut(put(&key("one more"), "x"))));
    let request = TxnRequest { compare, success: puts, failure: Vec::new() };
    let status = rig.client.kv().txn(request).await.expect_err("a refusal");
    assert_eq!(status.message(), "etcdserver: too many operations in txn request");
}
