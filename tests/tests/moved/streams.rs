//! RangeStream, and lists that are longer than what is read of provenance at once.

use etcd_prism_proto::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_tests::request::list;

use crate::rig::{PODS, Rig, at};

/// All chunks as one reply.
async fn stream(rig: &Rig, request: RangeRequest) -> RangeResponse {
    let mut chunks = rig.client.kv().range_stream(request).await.expect("a stream").into_inner();
    let mut whole = RangeResponse::default();
    while let Some(chunk) = chunks.message().await.expect("a chunk") {
        let chunk = chunk.range_response.expect("a range");
        whole.kvs.extend(chunk.kvs);
        whole.header = chunk.header.or(whole.header);
        (whole.more, whole.count) = (chunk.more, chunk.count);
    }
    whole
}

#[tokio::test]
async fn a_moved_route_streams_as_one_etcd() {
    let mut rig = Rig::start().await;
    for (round, shard) in ["b", "a"].into_iter().enumerate() {
        rig.churn(round).await;
        let (then, pinned) = (rig.oracle.now().clone(), rig.oracle.revision());
        rig.move_to(shard).await;
        rig.churn(round + 5).await;
        let now: Vec<KeyValue> = rig.oracle.now().values().cloned().collect();
        let reply = stream(&rig, list(PODS)).await;
        assert_eq!((reply.kvs, reply.count, reply.more), (now.clone(), now.len() as i64, false));
        let present = reply.header.expect("a header").revision;
        assert!(present >= rig.oracle.revision());
        let reply = stream(&rig, RangeRequest { limit: 11, ..list(PODS) }).await;
        assert_eq!((&reply.kvs[..], reply.count, reply.more), (&now[..11], now.len() as i64, true));
        let reply = stream(&rig, at(pinned)).await;
        assert_eq!(reply.kvs, then.into_values().collect::<Vec<_>>());
        assert!(reply.header.expect("a header").revision >= present);
    }
}

/// More keys than a page of records has, of which first all are copies and then few.
#[tokio::test]
async fn a_long_list_of_copied_keys() {
    const KEYS: usize = 2_300;
    let mut rig = Rig::start().await;
    for i in 0..KEYS {
        rig.put(&format!("{i:05}"), "x").await;
    }
    rig.move_to("b").await;
    let read = async |rig: &Rig| {
        let now: Vec<KeyValue> = rig.oracle.now().values().cloned().collect();
        let reply = rig.client.kv().range(list(PODS)).await.expect("a range").into_inner();
        assert_eq!(reply.kvs.len(), KEYS);
        let wrong = reply.kvs.iter().zip(&now).find(|(found, expected)| found != expected);
        assert_eq!(wrong, None);
    };
    read(&rig).await;
    // The records of those that are deleted and created anew are of no use to anybody.
    for i in (0..KEYS).filter(|i| i % 20 != 0) {
        rig.delete(&format!("{i:05}")).await;
        rig.put(&format!("{i:05}"), "y").await;
    }
    read(&rig).await;
    let proxy = rig.another_proxy().await;
    let reply = proxy.client().kv().range(list(PODS)).await.expect("a range").into_inner();
    assert_eq!(reply.kvs, rig.oracle.now().values().cloned().collect::<Vec<_>>());
}

/// Lists so long that they are translated in parts: with what is known of their keys, without, and with a part of it.
#[tokio::test]
async fn a_long_list_is_translated_in_parts() {
    const KEYS: usize = 400;
    let mut rig = Rig::start().await;
    for i in 0..KEYS {
        let len = if i % 100 == 50 { 400_000 } else { 100 + i * 17 % 5_000 };
        rig.put(&format!("{i:05}"), &"x".repeat(len)).await;
    }
    let (then, pinned) = (rig.oracle.now().clone(), rig.oracle.revision());
    rig.move_to("b").await;
    for i in (0..KEYS).step_by(7) {
        rig.put(&format!("{i:05}"), "y").await;
    }
    let then: Vec<KeyValue> = then.into_values().collect();
    let now: Vec<KeyValue> = rig.oracle.now().values().cloned().collect();
    let same = |reply: RangeResponse, expected: &[KeyValue]| {
        assert_eq!((reply.kvs.len(), reply.count, reply.more), (expected.len(), KEYS as i64, false));
        let wrong = reply.kvs.iter().zip(expected).find(|(found, expected)| found != expected);
        assert_eq!(wrong.map(|(found, _)| &found.key), None);
        assert!(reply.header.expect("a header").revision >= pinned);
    };
    // Nothing is known, then all. Below the move it is another shard's.
    for request in [list(PODS), list(PODS), at(pinned), at(pinned)] {
        let expected = if request.revision > 0 { &then } else { &now };
        same(rig.client.kv().range(request).await.expect("a range").into_inner(), expected);
    }
    // Proxies that know the first half only, and all but the last.
    for known in [KEYS / 2, KEYS - 3] {
        let proxy = rig.another_proxy().await;
        let page = RangeRequest { limit: known as i64, ..list(PODS) };
        let reply = proxy.client().kv().range(page).await.expect("a page").into_inner();
        assert_eq!((reply.kvs == now[..known], reply.more), (true, true));
        same(proxy.client().kv().range(list(PODS)).await.expect("a range").into_inner(), &now);
    }
}
