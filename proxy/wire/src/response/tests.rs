use etcd_prism_proto::{etcdserverpb as pb, mvccpb};
use prost::Message;

use super::*;

fn event(key: &str, revision: i64) -> mvccpb::Event {
    mvccpb::Event {
        kv: Some(mvccpb::KeyValue {
            key: key.to_owned().into_bytes().into(),
            mod_revision: revision,
            value: vec![7; 300].into(),
            ..Default::default()
        }),
        prev_kv: Some(mvccpb::KeyValue { mod_revision: 1, ..Default::default() }),
        ..Default::default()
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

#[test]
fn watch_responses() {
    let reply = pb::WatchResponse {
        header: header(40),
        watch_id: 3,
        events: vec![event("a", 10), event("b", 12)],
        fragment: true,
        ..Default::default()
    };
    let bytes = reply.encode_to_vec();
    let got = watch(&bytes).unwrap();
    assert_eq!((got.revision, got.watch_id, got.events), (40, 3, 2));
    assert_eq!((got.first_mod_revision, got.last_mod_revision), (10, 12));
    assert!(got.fragment && !got.is_progress());

    let (left, count) = filter_events(&bytes, &mut |key, revision| key == b"b" && revision > 11).unwrap();
    assert_eq!(count, 1);
    let kept = pb::WatchResponse { events: vec![event("b", 12)], ..reply };
    assert_eq!(pb::WatchResponse::decode(&left[..]).unwrap(), kept);

    let progress =
        pb::WatchResponse { header: header(41), watch_id: -1, ..Default::default() }.encode_to_vec();
    let got = watch(&progress).unwrap();
    assert!(got.is_progress());
    assert_eq!(got.watch_id, -1);
}

#[test]
fn range_responses() {
    let kv = |key: &str| mvccpb::KeyValue { key: key.to_owned().into_bytes().into(), ..Default::default() };
    let reply = pb::RangeResponse { header: header(9), kvs: vec![kv("a"), kv("b")], more: true, count: 5 };
    let bytes = reply.encode_to_vec();
    let got = range(&bytes).unwrap();
    assert_eq!((got.revision, got.more, got.count, got.kvs.len()), (9, true, 5, 2));
    assert_eq!(key_value(got.kvs[1].1).unwrap().key, b"b");
    assert_eq!(revision(&bytes), Ok(9));
}
