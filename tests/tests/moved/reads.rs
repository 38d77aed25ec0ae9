//! Range and RangeStream.

use etcd_prism_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_prism_proto::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_tests::request::{get, list};

use crate::rig::{PODS, Rig, at, key};

async fn range(rig: &Rig, request: RangeRequest) -> RangeResponse {
    rig.client.kv().range(request.clone()).await.unwrap_or_else(|e| panic!("{request:?}: {e}")).into_inner()
}

fn revision(reply: &RangeResponse) -> i64 {
    reply.header.as_ref().expect("a header").revision
}

/// Everything that a client can read of the route is what one etcd would show.
async fn check(rig: &Rig) {
    let oracle = &rig.oracle;
    let now: Vec<KeyValue> = oracle.now().values().cloned().collect();
    let reply = range(rig, list(PODS)).await;
    assert_eq!(reply.kvs, now);
    assert_eq!(reply.count, now.len() as i64);
    let present = revision(&reply);
    assert!(present >= oracle.revision());
    let serializable = range(rig, RangeRequest { serializable: true, ..list(PODS) }).await;
    assert_eq!(serializable.kvs, now);
    // At every revision that there ever was.
    for event in oracle.since(0) {
        let then = event.kv.expect("a key").mod_revision;
        for revision in [then - 1, then] {
            let reply = range(rig, RangeRequest { revision, ..at(revision) }).await;
            assert_eq!(reply.kvs, oracle.at(revision), "at {revision}");
            assert!(self::revision(&reply) >= present, "the header shows the present");
        }
    }
    pages(rig, present, &now).await;
    sorted(rig, &now).await;
    let counted = range(rig, RangeRequest { count_only: true, ..list(PODS) }).await;
    assert_eq!((counted.count, counted.kvs.len()), (now.len() as i64, 0));
    let keys = range(rig, RangeRequest { keys_only: true, ..list(PODS) }).await;
    let bare: Vec<KeyValue> =
        now.iter().map(|kv| KeyValue { value: Default::default(), ..kv.clone() }).collect();
    assert_eq!(keys.kvs, bare);
    let future = range_error(rig, at(present + 1_000)).await;
    assert!(future.message().contains("required revision is a future revision"), "{future}");
}

async fn range_error(rig: &Rig, request: RangeRequest) -> tonic::Status {
    rig.client.kv().range(request).await.expect_err("an error")
}

/// Pages of three at one revision, as an API server lists.
async fn pages(rig: &Rig, revision: i64, all: &[KeyValue]) {
    let mut found = Vec::new();
    let mut request = RangeRequest { limit: 3, ..at(revision) };
    loop {
        let reply = range(rig, request.clone()).await;
        let last = reply.kvs.last().map(|kv| kv.key.clone());
        assert_eq!(reply.count as usize, all.len() - found.len());
        found.extend(reply.kvs);
        match last {
            Some(key) if reply.more => request.key = [&key[..], b"\0"].concat().into(),
            _ => break,
        }
    }
    assert_eq!(found, all);
}

async fn sorted(rig: &Rig, now: &[KeyValue]) {
    type By = fn(&KeyValue) -> i64;
    let by: [(SortTarget, By); 3] = [
        (SortTarget::Mod, |kv| kv.mod_revision),
        (SortTarget::Create, |kv| kv.create_revision),
        (SortTarget::Version, |kv| kv.version),
    ];
    for (target, by) in by {
        for (order, sign) in [(SortOrder::Ascend, 1), (SortOrder::Descend, -1)] {
            let request =
                RangeRequest { sort_target: target.into(), sort_order: order.into(), limit: 5, ..list(PODS) };
            let found: Vec<i64> = range(rig, request).await.kvs.iter().map(by).collect();
            let mut expected: Vec<i64> = now.iter().map(by).collect();
            expected.sort_by_key(|number| number * sign);
            expected.truncate(5);
            assert_eq!(found, expected, "{target:?} {order:?}");
        }
    }
    let middle = now[now.len() / 2].mod_revision;
    let newer = range(rig, RangeRequest { min_mod_revision: middle, ..list(PODS) }).await;
    let expected: Vec<_> = now.iter().filter(|kv| kv.mod_revision >= middle).cloned().collect();
    assert_eq!(newer.kvs, expected);
}

#[tokio::test]
async fn a_moved_route_reads_as_one_etcd() {
    let mut rig = Rig::start().await;
    for (round, shard) in ["b", "a", "c", "b"].into_iter().enumerate() {
        rig.churn(round).await;
        check(&rig).await;
        rig.move_to(shard).await;
        check(&rig).await;
    }
    rig.churn(7).await;
    check(&rig).await;
    assert_eq!(range(&rig, get(&key("none"))).await.kvs, []);
}

/// A range over several routes, of which two live on one shard and have different lines.
#[tokio::test]
async fn a_range_over_moved_and_other_routes() {
    let mut rig = Rig::start().await;
    for key in ["/bees/1", "/cats/1", "/zoo"] {
        rig.client.kv().put(etcd_prism_tests::request::put(key, "x")).await.expect("a put");
    }
    rig.churn(0).await;
    rig.move_to("b").await;
    rig.churn(1).await;
    let reply = range(&rig, RangeRequest { range_end: "0".into(), ..get("/") }).await;
    let mut found: Vec<_> = reply.kvs.iter().map(|kv| kv.key.clone()).collect();
    let mut expected: Vec<_> = rig.oracle.now().keys().cloned().collect();
    expected.extend(["/bees/1".into(), "/cats/1".into(), "/zoo".into()]);
    expected.sort();
    found.retain(|key| key != "/elsewhere");
    assert_eq!(found, expected);
    let pods: Vec<_> = reply.kvs.into_iter().filter(|kv| kv.key.starts_with(PODS.as_bytes())).collect();
    assert_eq!(pods, rig.oracle.now().values().cloned().collect::<Vec<_>>());
}
