//! A shard above its quota.

use etcd_prism_proto::etcdserverpb::TxnRequest;
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::{delete, get, mod_revision_is, op, put, version_is};
use etcd_prism_tests::tools::Version;
use prost::Message;

use super::on_both;
use super::shard::{Call, Outcome, PODS, Shard, condition, seen};

on_both!(ce34_wrapping_does_not_overfill_a_full_shard);

const QUOTA: u64 = 16 << 20;
const NO_SPACE: (u32, &str) = (8, "etcdserver: mvcc: database space exceeded");

/// A Put in a failure branch, so that it has to be wrapped.
fn write(key: String) -> TxnRequest {
    let value = vec![b'x'; 700_000];
    TxnRequest {
        compare: vec![version_is("/none", 1)],
        failure: vec![op(Op::RequestPut(put(&key, &value)))],
        ..Default::default()
    }
}

async fn ce34_wrapping_does_not_overfill_a_full_shard(version: Version) {
    let shard = Shard::start(EtcdBuilder::new("full").version(version).as_shard().quota(QUOTA)).await;
    let stale = shard.raise(PODS, "old").await;
    let epoch = shard.raise(PODS, "open").await;
    let full = Outcome::Status(NO_SPACE.0, NO_SPACE.1.to_owned());
    fill(&shard).await;
    let revision = shard.revision().await;
    for n in 0..40 {
        let got = shard.fenced(&Call::Txn(write(format!("/ours/{n}"))), &condition(epoch), 140).await;
        assert_eq!(got, full, "write {n}");
    }
    assert_eq!(shard.fenced(&Call::Put(put("/ours", "x")), &condition(epoch), 140).await, full);
    assert_eq!(shard.revision().await, revision);

    // Reads and deletions pass, or are refused by the fence.
    let deletion =
        TxnRequest { failure: vec![op(Op::RequestDeleteRange(delete("/no")))], ..Default::default() };
    let reads = [Call::Range(get("/junk/0")), Call::Delete(delete("/junk/0")), Call::Txn(deletion)];
    for call in reads {
        let refused = shard.fenced(&call, &condition(stale), 140).await;
        assert_eq!(refused, Outcome::Refused(vec![seen(PODS, epoch, "open")]), "{call:?}");
        let passed = shard.fenced(&call, &condition(epoch), 140).await;
        assert!(matches!(passed, Outcome::Reply { .. }), "{call:?}: {passed:?}");
    }
    // A shard that is full says so before it looks at a fence.
    assert_eq!(shard.fenced(&Call::Put(put("/ours", "x")), &condition(stale), 140).await, full);

    overfill(&shard, epoch).await;
}

/// Writes until the shard raises its alarm.
async fn fill(shard: &Shard) {
    for n in 0..400 {
        let junk = Call::Put(put(&format!("/junk/{n}"), &vec![b'x'; 100_000]));
        if shard.plain(&junk).await == Outcome::Status(NO_SPACE.0, NO_SPACE.1.to_owned()) {
            return;
        }
    }
    panic!("a shard that is never full");
}

/// Without a marker, whether a nested Put is seen is up to etcd's version: none or all of them are.
async fn overfill(shard: &Shard, epoch: i64) {
    let mut accepted = 0;
    for n in 0..40 {
        let naive = TxnRequest {
            compare: vec![mod_revision_is(PODS, epoch)],
            success: vec![op(Op::RequestTxn(write(format!("/naive/{n}"))))],
            ..Default::default()
        };
        accepted += u32::from(shard.raw(&naive.encode_to_vec()).await.is_ok());
    }
    println!("without a marker, a full shard took {accepted} of 40 nested puts of 700 kB");
    assert!([0, 40].contains(&accepted), "{accepted}");
}
