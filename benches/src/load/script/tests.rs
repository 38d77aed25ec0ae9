use std::collections::HashSet;

use etcd_prism_proto::etcdserverpb::{RangeResponse, ResponseHeader, ResponseOp, TxnRequest};
use etcd_prism_proto::mvccpb::KeyValue;

use super::*;
use crate::client::frames;

fn next(script: &mut Script) -> TxnRequest {
    TxnRequest::decode(frames::message(script.next().unwrap()).unwrap()).unwrap()
}

fn reply(succeeded: bool, revision: i64, kvs: Vec<KeyValue>) -> Bytes {
    let read = Response::ResponseRange(RangeResponse { kvs, ..RangeResponse::default() });
    let reply = TxnResponse {
        header: Some(ResponseHeader { revision, ..ResponseHeader::default() }),
        succeeded,
        responses: if succeeded { vec![] } else { vec![ResponseOp { response: Some(read) }] },
    };
    reply.encode_to_vec().into()
}

fn expected(request: &TxnRequest) -> i64 {
    use etcd_prism_proto::etcdserverpb::compare::TargetUnion;
    match request.compare[0].target_union {
        Some(TargetUnion::ModRevision(revision)) => revision,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn updates_follow_the_revisions_of_their_objects() {
    let mut script = Script::new(Call::Update, 10, 3, 0).unwrap();
    let mut keys = HashSet::new();
    for object in 0..script.rehearsal() {
        let request = next(&mut script);
        assert_eq!(expected(&request), 0);
        assert!(keys.insert(request.compare[0].key.clone()), "object {object} twice");
        // Every second one is there already, last written at 50 + object.
        let there = KeyValue { mod_revision: 50 + object as i64, ..KeyValue::default() };
        let (answer, outcome) = match object % 2 {
            0 => (reply(true, 10 + object as i64, vec![]), Outcome::Done),
            _ => (reply(false, 99, vec![there]), Outcome::Conflict),
        };
        assert_eq!(script.take(answer).unwrap(), outcome);
    }
    for object in 0..script.rehearsal() as i64 {
        let request = next(&mut script);
        assert_eq!(expected(&request), if object % 2 == 0 { 10 + object } else { 50 + object });
        assert_eq!(script.take(reply(true, 100, vec![])).unwrap(), Outcome::Done);
    }
}

#[test]
fn an_object_that_is_gone_is_created_again() {
    let mut script = Script::new(Call::Update, 10, 0, 0).unwrap();
    next(&mut script);
    assert_eq!(script.take(reply(false, 99, vec![])).unwrap(), Outcome::Conflict);
    for _ in 0..script.rehearsal() - 1 {
        next(&mut script);
        script.take(reply(true, 100, vec![])).unwrap();
    }
    assert_eq!(expected(&next(&mut script)), 0);
}

#[test]
fn created_objects_are_new() {
    let mut keys = HashSet::new();
    for (client, serial) in [(0, 0), (1, 0), (0, 1)] {
        let mut script = Script::new(Call::Create, 10, client, serial).unwrap();
        for _ in 0..100 {
            let request = next(&mut script);
            assert_eq!(expected(&request), 0);
            assert!(request.failure.is_empty());
            assert!(keys.insert(request.compare[0].key.clone()), "client {client} in run {serial}");
        }
    }
}
