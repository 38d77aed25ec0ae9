//! Put, DeleteRange and Txn, with every kind of compare.

use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{Compare, DeleteRangeRequest, PutRequest, TxnRequest, TxnResponse};
use etcd_prism_tests::request::{delete, get, mod_revision_is, op, put};

use crate::rig::{PODS, Rig};

async fn txn(rig: &Rig, txn: TxnRequest) -> TxnResponse {
    rig.client.kv().txn(txn.clone()).await.unwrap_or_else(|e| panic!("{txn:?}: {e}")).into_inner()
}

fn compare(key: &[u8], target: CompareTarget, result: CompareResult, number: i64) -> Compare {
    let target_union = Some(match target {
        CompareTarget::Create => TargetUnion::CreateRevision(number),
        CompareTarget::Mod => TargetUnion::ModRevision(number),
        _ => TargetUnion::Version(number),
    });
    Compare {
        key: key.to_vec().into(),
        target: target.into(),
        result: result.into(),
        target_union,
        ..Compare::default()
    }
}

/// Every compare of every key's numbers, and of those around them, decides as one etcd would.
async fn check_compares(rig: &Rig) {
    let mut keys: Vec<_> = rig.oracle.now().values().cloned().collect();
    keys.push(etcd_prism_proto::mvccpb::KeyValue {
        key: [PODS, "none"].concat().into(),
        ..Default::default()
    });
    for kv in keys {
        for (target, number) in [
            (CompareTarget::Create, kv.create_revision),
            (CompareTarget::Mod, kv.mod_revision),
            (CompareTarget::Version, kv.version),
        ] {
            for other in [number - 1, number, number + 1, 0].into_iter().filter(|n| *n >= 0) {
                for (result, expected) in [
                    (CompareResult::Equal, number == other),
                    (CompareResult::Greater, number > other),
                    (CompareResult::Less, number < other),
                    (CompareResult::NotEqual, number != other),
                ] {
                    let compare = vec![compare(&kv.key, target, result, other)];
                    let success = vec![op(Request::RequestRange(get(&kv.key)))];
                    let reply = txn(rig, TxnRequest { compare, success, failure: vec![] }).await;
                    assert_eq!(reply.succeeded, expected, "{target:?} {number} {result:?} {other} of {kv:?}");
                    if let Some(Response::ResponseRange(found)) =
                        reply.responses.into_iter().next().and_then(|op| op.response)
                    {
                        assert_eq!(found.kvs.first(), rig.oracle.now().get(&kv.key));
                    }
                }
            }
        }
    }
}

/// An update as an API server makes it: `If mod == known Then Put Else Range`.
async fn update(rig: &mut Rig, key: &str, known: i64) -> bool {
    let compare = vec![mod_revision_is(key, known)];
    let success = vec![op(Request::RequestPut(put(key, "updated")))];
    let failure = vec![op(Request::RequestRange(get(key)))];
    let reply = txn(rig, TxnRequest { compare, success, failure }).await;
    let revision = reply.header.expect("a header").revision;
    if reply.succeeded {
        rig.oracle.put(key, b"updated", 0, revision);
    } else if let Some(Response::ResponseRange(found)) =
        reply.responses.into_iter().next().and_then(|o| o.response)
    {
        assert_eq!(found.kvs.first(), rig.oracle.now().get(key.as_bytes()));
    }
    reply.succeeded
}

#[tokio::test]
async fn compares_and_updates_of_a_moved_route() {
    let mut rig = Rig::start().await;
    for (round, shard) in ["b", "a", "c"].into_iter().enumerate() {
        rig.churn(round).await;
        rig.move_to(shard).await;
        check_compares(&rig).await;
        let known: Vec<_> = rig.oracle.now().values().cloned().collect();
        for kv in known.iter().step_by(2) {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            assert!(update(&mut rig, &key, kv.mod_revision).await);
            assert!(!update(&mut rig, &key, kv.mod_revision).await);
        }
        check_compares(&rig).await;
    }
}

#[tokio::test]
async fn writes_tell_what_was_there_before() {
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    rig.move_to("b").await;
    let keys: Vec<_> = rig.oracle.now().values().cloned().collect();
    let (first, second) = (&keys[0], &keys[1]);
    let request = PutRequest { prev_kv: true, ..put(&first.key, "again") };
    let reply = rig.client.kv().put(request).await.expect("a put").into_inner();
    assert_eq!(reply.prev_kv.as_ref(), Some(first));
    let key = String::from_utf8_lossy(&first.key).into_owned();
    rig.oracle.put(&key, b"again", 0, reply.header.expect("a header").revision);
    let request = DeleteRangeRequest { prev_kv: true, ..delete(&second.key) };
    let reply = rig.client.kv().delete_range(request).await.expect("a deletion").into_inner();
    assert_eq!((reply.deleted, reply.prev_kvs.first()), (1, Some(second)));
    let key = String::from_utf8_lossy(&second.key).into_owned();
    rig.oracle.delete(&key, reply.header.expect("a header").revision);
    // Created anew: nothing of its earlier life is left.
    let reply = rig.client.kv().put(put(&key, "new")).await.expect("a put").into_inner();
    rig.oracle.put(&key, b"new", 0, reply.header.expect("a header").revision);
    check_compares(&rig).await;
}
