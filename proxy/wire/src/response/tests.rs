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

#[test]
fn records_of_a_range_response() {
    let kv = |key: &str| mvccpb::KeyValue { key: key.to_owned().into_bytes().into(), ..Default::default() };
    let pairs = pb::RangeResponse { kvs: vec![kv("a"), kv("b")], ..Default::default() }.encode_to_vec();
    let rest = pb::RangeResponse { header: header(9), count: 2, ..Default::default() }.encode_to_vec();
    let records = |message: Vec<u8>| {
        let message = bytes::Bytes::from(message);
        range(&message).unwrap().records(&message)
    };
    assert_eq!(records([&rest[..], &pairs].concat()), pairs);
    assert_eq!(records([&pairs[..], &rest].concat()), pairs);
    // Any order of fields is a message.
    assert_eq!(records([&pairs[..], &rest, &pairs].concat()), [&pairs[..], &pairs].concat());
    assert_eq!(records(rest), "");
}

#[test]
fn chunks_with_a_header() {
    let chunk = |header, value: usize| {
        let kv = mvccpb::KeyValue { value: vec![1; value].into(), ..Default::default() };
        let response = pb::RangeResponse { header, kvs: vec![kv], ..Default::default() };
        pb::RangeStreamResponse { range_response: Some(response) }.encode_to_vec()
    };
    for value in [0, 100, 1000, 70_000, 3 << 20] {
        let (with, without) = (chunk(header(3), value), chunk(None, value));
        assert!(chunk_starts_with_header(&with[..CHUNK_START.min(with.len())]), "{value}");
        assert!(!chunk_starts_with_header(&without[..CHUNK_START.min(without.len())]), "{value}");
    }
    assert!(!chunk_starts_with_header(&[]) && !chunk_starts_with_header(&[0x0a]));
}
