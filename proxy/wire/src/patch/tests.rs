use etcd_prism_proto::etcdserverpb as pb;
use prost::Message;

use super::*;

#[test]
fn appended_header_merges() {
    let reply = pb::PutResponse {
        header: Some(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 77, raft_term: 5 }),
        prev_kv: None,
    };
    let mut bytes = reply.encode_to_vec();
    bytes.extend_from_slice(header(100, 200).as_slice());
    let header = pb::PutResponse::decode(&bytes[..]).unwrap().header.unwrap();
    assert_eq!(header, pb::ResponseHeader { cluster_id: 100, member_id: 200, revision: 77, raft_term: 5 });
}

#[test]
fn header_at_has_one_size() {
    assert_eq!(header_at(1, 2, 3).as_slice().len(), header_at(1, 2, i64::MAX).as_slice().len());
    let decoded = pb::PutResponse::decode(header_at(1, 2, 300).as_slice()).unwrap();
    assert_eq!(decoded.header.unwrap().revision, 300);
}

#[test]
fn txn_is_kept_away_from_reserved_keys() {
    let range = |key: &[u8], end: &[u8]| {
        let request = pb::RangeRequest {
            key: key.to_vec().into(),
            range_end: end.to_vec().into(),
            limit: 3,
            ..Default::default()
        };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(request)) }
    };
    let compare = |key: &[u8], end: &[u8]| pb::Compare {
        key: key.to_vec().into(),
        range_end: end.to_vec().into(),
        ..Default::default()
    };
    let inner = |ops| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestTxn(pb::TxnRequest {
            success: ops,
            ..Default::default()
        })),
    };
    let txn = |open: &[u8], reserved: (&[u8], &[u8])| pb::TxnRequest {
        compare: vec![compare(b"a", open), compare(b"b", b"")],
        success: vec![range(b"a", b"b"), inner(vec![range(b"\0", open)])],
        failure: vec![range(reserved.0, reserved.1)],
    };
    let before = txn(b"\0", (b"\xffprism/fence/pods", b""));
    let mut bytes = before.encode_to_vec();
    bytes.extend_from_slice(Patch::new().bytes(900, b"unknown").as_slice());
    let clamped = clamp_txn(&bytes).unwrap();
    assert_eq!(pb::TxnRequest::decode(&clamped[..]).unwrap(), txn(b"\xff", (b"\xff", b"\xff")));
    assert!(clamped.ends_with(b"unknown"));
}

#[test]
fn wrap_builds_a_request() {
    let create = pb::WatchCreateRequest { key: b"k".to_vec().into(), watch_id: 1, ..Default::default() };
    let bytes = wrap(1, &create.encode_to_vec(), &Patch::new().int64(7, 42));
    let request = pb::WatchRequest::decode(bytes).unwrap();
    let Some(pb::watch_request::RequestUnion::CreateRequest(got)) = request.request_union else { panic!() };
    assert_eq!(got, pb::WatchCreateRequest { watch_id: 42, ..create });
}
