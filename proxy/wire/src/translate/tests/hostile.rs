//! Bytes that no shard and no client should send: always an error or an answer, never a panic.

use proptest::prelude::*;

use super::*;
use crate::field::Malformed;

fn plan() -> Plan {
    let request = pb::RangeRequest { key: "k".into(), sort_target: 3, limit: 1, ..Default::default() };
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(request)) };
    let request = pb::TxnRequest { success: vec![op.clone()], failure: vec![op], ..Default::default() };
    txn(&bytes(&request), &Returned::new(), &HashMap::new()).unwrap().plan
}

fn select() -> Select {
    let request = pb::RangeRequest {
        key: "k".into(),
        sort_target: 1,
        limit: 1,
        min_mod_revision: 7,
        ..Default::default()
    };
    range(&bytes(&request), &Returned::new()).unwrap().select.unwrap()
}

fn every_way(message: &Bytes) -> Vec<Result<Bytes, ReplyError>> {
    let (plan, select) = (plan(), select());
    let kinds = [
        Kind::Header,
        Kind::Range,
        Kind::Selected(&select),
        Kind::RangeStream,
        Kind::Put,
        Kind::DeleteRange,
        Kind::Txn(&plan),
        Kind::Watch,
    ];
    let line = Returned { last: 150, ..Returned::new() };
    let headers = [Header::Exact, Header::Within, Header::At(-1)];
    let all = kinds.iter().flat_map(|kind| headers.map(|header| (*kind, header)));
    all.map(|(kind, header)| reply(kind, message, &line, header).map(Pieces::into_bytes)).collect()
}

fn requests(message: &Bytes) -> Vec<RequestError> {
    let known = HashMap::from([(
        Bytes::from("copied"),
        KeyState { create_revision: 90, mod_revision: 95, version: 4 },
    )]);
    let line = Returned::new();
    let txn = txn(message, &line, &known).err();
    [txn, range(message, &line).err(), compact(message, &line).err()].into_iter().flatten().collect()
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), 0..400_i64, Just(i64::MAX), Just(i64::MIN)]
}

fn any_kv() -> impl Strategy<Value = mvccpb::KeyValue> {
    let key = prop_oneof![Just("copied"), Just("old"), Just("again"), Just("x"), Just("")];
    (key, number(), number(), number())
        .prop_map(|(key, create, modified, version)| kv(key, create, modified, version))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_bytes(message in prop::collection::vec(any::<u8>(), 0..200)) {
        let message = Bytes::from(message);
        every_way(&message);
        requests(&message);
        let _ = Guarded::read(&message);
    }

    #[test]
    fn any_numbers(kvs in prop::collection::vec(any_kv(), 0..4), revision in number(), compacted in number()) {
        let events = kvs.iter().map(|kv| mvccpb::Event { kv: Some(kv.clone()), prev_kv: Some(kv.clone()), ..Default::default() });
        let watch = pb::WatchResponse { header: header(revision), compact_revision: compacted, events: events.collect(), ..Default::default() };
        let range = pb::RangeResponse { header: header(revision), kvs, ..Default::default() };
        for message in [bytes(&watch), bytes(&range)] {
            every_way(&message);
        }
    }

    #[test]
    fn cut_off(at in 0.0..1.0_f64, flip in 0..8_u8, where_to in 0.0..1.0_f64) {
        let (raw, _) = pairs();
        let message = pb::RangeResponse { header: header(120), kvs: raw, count: 5, more: true }.encode_to_vec();
        let whole = Bytes::from(message.clone());
        let cut = (message.len() as f64 * at) as usize;
        let inside = !is_boundary(&message, cut);
        let got = reply(Kind::Range, &whole.slice(..cut), &Returned::new(), Header::Exact);
        prop_assert_eq!(matches!(got, Err(ReplyError::Malformed(_))), inside);
        let mut flipped = message;
        let i = (flipped.len() as f64 * where_to) as usize;
        flipped[i] ^= 1 << flip;
        every_way(&flipped.into());
    }
}

/// Whether a message that is cut here consists of whole fields.
fn is_boundary(message: &[u8], at: usize) -> bool {
    at == 0 || crate::Fields::new(message).any(|field| field.unwrap().end == at)
}

#[test]
fn wrong_wire_types() {
    for (field, inner) in [(1, 3), (2, 2), (2, 3), (2, 4)] {
        let inner = crate::patch::Patch::new().bytes(inner, b"text");
        let message = crate::patch::Patch::new().bytes(field, inner.as_slice()).into_bytes();
        let got = reply(Kind::Range, &message, &Returned::new(), Header::Exact);
        assert!(matches!(got, Err(ReplyError::Malformed(Malformed::WireType(_)))), "{got:?}");
    }
    let number = crate::patch::Patch::new().varint(2, 7).into_bytes();
    let got = reply(Kind::Range, &number, &Returned::new(), Header::Exact);
    assert!(matches!(got, Err(ReplyError::Malformed(Malformed::WireType(2)))));
}

#[test]
fn nested_without_end() {
    let (mut request, mut response) = (Bytes::new(), Bytes::new());
    for _ in 0..1000 {
        let nest = |inner: &Bytes, branch| {
            let op = crate::patch::Patch::new().bytes(4, inner);
            crate::patch::Patch::new().bytes(branch, op.as_slice()).into_bytes()
        };
        (request, response) = (nest(&request, 2), nest(&response, 3));
    }
    let got = txn(&request, &Returned::new(), &HashMap::new());
    assert_eq!(got.unwrap_err(), RequestError::Malformed(Malformed::Depth));
    let got = reply(Kind::Txn(&Plan::default()), &response, &Returned::new(), Header::Exact);
    assert_eq!(got.unwrap_err(), ReplyError::Malformed(Malformed::Depth));
}
