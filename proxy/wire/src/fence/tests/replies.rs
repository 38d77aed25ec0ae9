//! Replies, as etcd writes them, in any split.

use etcd_prism_proto::mvccpb::KeyValue;
use pb::response_op::Response;

use super::*;

const MARKED: Form = Form::Nested { marker: true };

fn response(response: Response) -> pb::ResponseOp {
    pb::ResponseOp { response: Some(response) }
}

fn inner_header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn key_value() -> impl Strategy<Value = KeyValue> {
    (key(), any::<i64>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |(key, mod_revision, value)| KeyValue {
            key,
            mod_revision,
            value: value.into(),
            ..Default::default()
        },
    )
}

fn range_response() -> impl Strategy<Value = pb::RangeResponse> {
    (prop::collection::vec(key_value(), 0..4), any::<i64>(), any::<bool>()).prop_map(
        |(kvs, revision, more)| pb::RangeResponse { header: inner_header(revision), kvs, more, count: 3 },
    )
}

/// The reply that a client's own transaction would have, but for its header.
fn client_reply() -> impl Strategy<Value = pb::TxnResponse> {
    let put = prop::option::of(key_value())
        .prop_map(|prev_kv| Response::ResponsePut(pb::PutResponse { header: inner_header(5), prev_kv }));
    let range = range_response().prop_map(Response::ResponseRange);
    let txn = range_response().prop_map(|range| {
        let responses = vec![response(Response::ResponseRange(range))];
        let header = Some(pb::ResponseHeader::default());
        Response::ResponseTxn(pb::TxnResponse { header, succeeded: false, responses })
    });
    let responses = prop::collection::vec(prop_oneof![put, range, txn].prop_map(response), 0..4);
    (responses, any::<bool>()).prop_map(|(responses, succeeded)| pb::TxnResponse {
        header: None,
        succeeded,
        responses,
    })
}

fn header() -> impl Strategy<Value = pb::ResponseHeader> {
    any::<(u64, u64, i64, u64)>().prop_map(|(cluster_id, member_id, revision, raft_term)| {
        pb::ResponseHeader { cluster_id, member_id, revision, raft_term }
    })
}

/// Feeds ever more of `message`. Every part gives `More` or the same decision, which is there in time.
fn decide(form: Form, message: &[u8]) -> Result<Start, TestCaseError> {
    let decision = start(form, message.len(), message);
    let mut decided = false;
    for len in 0..=message.len() {
        let got = start(form, message.len(), &message[..len]);
        decided |= got != Ok(Start::More);
        prop_assert!(
            !decided || got == decision,
            "{got:?} after {len} of {} bytes: {decision:?}",
            message.len()
        );
        prop_assert!(decided || len < START, "no decision in {len} bytes");
    }
    decision.map_err(|error| TestCaseError::fail(format!("{error}: {message:?}")))
}

/// The fences of a shard, some of which are those of the conditions.
fn fences(conditions: &[Condition<'_>], held: bool) -> Vec<KeyValue> {
    let fence = |key: &[u8], mod_revision| KeyValue {
        key: Bytes::copy_from_slice(key),
        mod_revision,
        value: Bytes::from_static(b"{}"),
        ..Default::default()
    };
    let mut fences: Vec<KeyValue> = conditions.iter().map(|c| fence(c.key, c.epoch)).collect();
    if !held {
        // One is absent, or has moved on.
        if conditions[0].epoch % 2 == 0 { drop(fences.remove(0)) } else { fences[0].mod_revision -= 1 }
    }
    if conditions.len() > 1 {
        fences.push(fence(b"\xffprism/fence/zzz", 9));
    }
    fences
}

fn look_response(fences: Vec<KeyValue>) -> pb::ResponseOp {
    let count = fences.len() as i64;
    response(Response::ResponseRange(pb::RangeResponse {
        header: inner_header(8),
        kvs: fences,
        count,
        more: false,
    }))
}

fn check_refused(form: Form, message: Bytes, conditions: &[Condition<'_>]) -> Result<(), TestCaseError> {
    prop_assert_eq!(decide(form, &message)?, Start::Failed);
    let Ok(Verdict::Refused(seen)) = verdict(form, &message, conditions) else {
        return Err(TestCaseError::fail("not refused"));
    };
    prop_assert_eq!(seen.len(), conditions.len());
    for (fence, condition) in seen.iter().zip(conditions) {
        prop_assert_eq!(&fence.key[..], condition.key);
        prop_assert_eq!(fence.mod_revision == 0, fence.value.is_empty());
    }
    prop_assert!(seen.iter().zip(conditions).any(|(fence, c)| fence.mod_revision != c.epoch));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn appended(reply in client_reply(), header in header(), conditions in conditions()) {
        let conditions = borrow(&conditions);
        let mut reply = reply;
        reply.header = Some(header);
        let message = Bytes::from(reply.encode_to_vec());
        if reply.succeeded {
            let whole = Start::Passed {
                skip: 0, len: message.len(), revision: header.revision, raft_term: header.raft_term,
            };
            prop_assert_eq!(decide(Form::Appended, &message)?, whole);
            return Ok(());
        }
        let with = |held| {
            let look = look_response(fences(&conditions, held));
            let responses = [reply.responses.clone(), vec![look]].concat();
            Bytes::from(pb::TxnResponse { responses, ..reply.clone() }.encode_to_vec())
        };
        let failed = with(true);
        prop_assert_eq!(decide(Form::Appended, &failed)?, Start::Failed);
        prop_assert_eq!(verdict(Form::Appended, &failed, &conditions), Ok(Verdict::Client(message)));
        check_refused(Form::Appended, with(false), &conditions)?;
    }

    #[test]
    fn wrapped(
        reply in client_reply(), range in range_response(), header in header(), marker: bool,
        unknown in prop::collection::vec(any::<u8>(), 0..20), conditions in conditions(),
    ) {
        let conditions = borrow(&conditions);
        let client = pb::TxnResponse { header: Some(pb::ResponseHeader::default()), ..reply };
        let put = pb::PutResponse { header: inner_header(3), prev_kv: range.kvs.first().cloned() };
        let delete = pb::DeleteRangeResponse { header: inner_header(3), deleted: 2, prev_kvs: range.kvs.clone() };
        let cases = [
            (Form::Nested { marker }, client.encode_to_vec(), Response::ResponseTxn(client)),
            (Form::Put, put.encode_to_vec(), Response::ResponsePut(put)),
            (Form::DeleteRange, delete.encode_to_vec(), Response::ResponseDeleteRange(delete)),
            (Form::Range, range.encode_to_vec(), Response::ResponseRange(range)),
        ];
        for (form, body, op) in cases {
            let responses = vec![response(op)];
            let outer = pb::TxnResponse { header: Some(header), succeeded: true, responses };
            // Fields that a later etcd may add.
            let more = crate::patch::wrap(99, &unknown, &crate::patch::Patch::new());
            let message = [outer.encode_to_vec(), more.to_vec()].concat();
            let Start::Passed { skip, len, revision, raft_term } = decide(form, &message)? else {
                return Err(TestCaseError::fail("not passed"));
            };
            prop_assert_eq!(&message[skip..skip + len], &body[..]);
            prop_assert_eq!((revision, raft_term), (header.revision, header.raft_term));

            let failed = |held| {
                let put = pb::PutResponse { header: inner_header(3), prev_kv: None };
                let mut responses = vec![response(Response::ResponsePut(put)); usize::from(form == MARKED)];
                responses.push(look_response(fences(&conditions, held)));
                pb::TxnResponse { header: Some(header), succeeded: false, responses }.encode_to_vec().into()
            };
            check_refused(form, failed(false), &conditions)?;
            let wrong = Err(BadReply::Unexpected("refused by a fence that holds"));
            prop_assert_eq!(verdict(form, &failed(true), &conditions), wrong);
        }
    }

    #[test]
    fn never_panics(
        message in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x0au8), Just(0x1a), 0u8..5], 0..80),
        message_len in prop_oneof![0usize..200, any::<usize>()], conditions in conditions(),
    ) {
        for form in [Form::Appended, MARKED, Form::Put, Form::DeleteRange, Form::Range] {
            let _ = start(form, message_len, &message);
            let _ = decide(form, &message);
            let _ = verdict(form, &Bytes::from(message.clone()), &borrow(&conditions));
        }
    }
}

/// The header of the client's reply, once the proxy's is appended, is the outer one.
#[test]
fn a_nested_reply_gets_its_header_back() {
    let inner = pb::TxnResponse {
        header: Some(pb::ResponseHeader::default()),
        succeeded: true,
        responses: vec![response(Response::ResponsePut(pb::PutResponse {
            header: inner_header(41),
            prev_kv: None,
        }))],
    };
    let header = pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 41, raft_term: 6 };
    let outer = pb::TxnResponse {
        header: Some(header),
        succeeded: true,
        responses: vec![response(Response::ResponseTxn(inner.clone()))],
    };
    let message = outer.encode_to_vec();
    let Ok(Start::Passed { skip, len, revision, .. }) =
        start(Form::Nested { marker: false }, message.len(), &message)
    else {
        panic!("not passed")
    };
    let mut reply = message[skip..skip + len].to_vec();
    reply.extend_from_slice(crate::patch::header_at(100, 200, revision).as_slice());
    let reply = pb::TxnResponse::decode(&reply[..]).unwrap();
    let header = pb::ResponseHeader { cluster_id: 100, member_id: 200, revision: 41, raft_term: 0 };
    assert_eq!(reply, pb::TxnResponse { header: Some(header), ..inner });
}

#[test]
fn absurd_replies_are_errors() {
    let nested = Form::Nested { marker: false };
    let bad = |form, message: &[u8]| {
        let got = start(form, message.len(), message);
        assert!(got.is_err(), "{form:?} {message:?}: {got:?}");
    };
    bad(nested, &[]);
    // A header that reaches past the end, one that is far too long, none, one of another type.
    bad(nested, &[0x0a, 5, 0x18, 1]);
    assert!(start(nested, 1 << 30, &[0x0a, 0x81, 0x80, 0x04]).is_err());
    bad(nested, &[0x10, 1]);
    bad(nested, &[0x08, 1]);
    // Succeeded, and no response; another member; a member that reaches out of its response.
    bad(nested, &[0x0a, 0, 0x10, 1]);
    bad(nested, &[0x0a, 0, 0x10, 1, 0x1a, 2, 0x12, 0]);
    bad(nested, &[0x0a, 0, 0x10, 1, 0x1a, 2, 0x22, 1, 0]);
    // A length without an end, whatever follows.
    assert!(
        start(nested, 1000, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err()
    );
    // More bytes than the message has are not the message's.
    assert_eq!(start(nested, 2, &[0x0a, 0, 0x10, 1]), Ok(Start::Failed));

    let condition = [Condition { key: PODS, epoch: 4 }];
    let bad = |message: pb::TxnResponse| {
        let got = verdict(Form::Appended, &message.encode_to_vec().into(), &condition);
        assert!(got.is_err(), "{message:?}: {got:?}");
    };
    let responses = |responses| pb::TxnResponse { responses, ..Default::default() };
    bad(responses(vec![]));
    bad(responses(vec![pb::ResponseOp::default()]));
    bad(responses(vec![response(Response::ResponsePut(Default::default()))]));
    let other = KeyValue { key: LEASES.into(), mod_revision: 4, ..Default::default() };
    bad(responses(vec![look_response(vec![other])]));
    let two = responses(vec![look_response(vec![]), look_response(vec![])]).encode_to_vec();
    assert!(verdict(nested, &two.clone().into(), &condition).is_err());
    assert!(verdict(Form::Appended, &two.into(), &condition).is_ok());
    bad(pb::TxnResponse { succeeded: true, ..responses(vec![look_response(vec![])]) });
}
