use etcd_prism_proto::etcdserverpb as pb;
use proptest::prelude::*;
use prost::Message;

use super::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..6)
}

fn range_request() -> impl Strategy<Value = pb::RangeRequest> {
    (key(), key(), any::<i64>(), any::<i64>(), 0..3i32, 0..5i32, any::<[bool; 3]>(), any::<[i64; 4]>())
        .prop_map(|(key, end, limit, revision, sort_order, sort_target, flags, bounds)| pb::RangeRequest {
            key: key.into(),
            range_end: end.into(),
            limit,
            revision,
            sort_order,
            sort_target,
            serializable: flags[0],
            keys_only: flags[1],
            count_only: flags[2],
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
        })
}

fn operation() -> impl Strategy<Value = pb::RequestOp> {
    use pb::request_op::Request;
    let leaf =
        prop_oneof![
            range_request().prop_map(Request::RequestRange),
            (key(), key(), any::<i64>()).prop_map(|(key, value, lease)| Request::RequestPut(
                pb::PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() }
            )),
            (key(), key()).prop_map(|(key, end)| Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: key.into(),
                range_end: end.into(),
                prev_kv: true,
            })),
        ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        (prop::collection::vec(inner.clone(), 0..3), prop::collection::vec(inner, 0..3)).prop_map(|(s, f)| {
            let op = |request| pb::RequestOp { request: Some(request) };
            Request::RequestTxn(pb::TxnRequest {
                compare: vec![],
                success: s.into_iter().map(op).collect(),
                failure: f.into_iter().map(op).collect(),
            })
        })
    })
    .prop_map(|request| pb::RequestOp { request: Some(request) })
}

fn txn_request() -> impl Strategy<Value = pb::TxnRequest> {
    let compare = (key(), key()).prop_map(|(key, end)| pb::Compare {
        key: key.into(),
        range_end: end.into(),
        target_union: Some(pb::compare::TargetUnion::Value(b"v".to_vec().into())),
        target: 3,
        ..Default::default()
    });
    (
        prop::collection::vec(compare, 0..3),
        prop::collection::vec(operation(), 0..4),
        prop::collection::vec(operation(), 0..4),
    )
        .prop_map(|(compare, success, failure)| pb::TxnRequest { compare, success, failure })
}

/// The reference: what a full decode says a transaction uses.
fn reference(txn: &pb::TxnRequest, out: &mut Vec<(Use, Vec<u8>, Vec<u8>)>) {
    use pb::request_op::Request;
    for compare in &txn.compare {
        out.push((Use::Compare, compare.key.to_vec(), compare.range_end.to_vec()));
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op.request.as_ref().unwrap() {
            Request::RequestRange(r) => {
                out.push((Use::Read { revision: r.revision }, r.key.to_vec(), r.range_end.to_vec()))
            }
            Request::RequestPut(p) => out.push((Use::Put { lease: p.lease }, p.key.to_vec(), vec![])),
            Request::RequestDeleteRange(d) => out.push((Use::Delete, d.key.to_vec(), d.range_end.to_vec())),
            Request::RequestTxn(t) => reference(t, out),
        }
    }
}

type Uses = Vec<(Use, Vec<u8>, Vec<u8>)>;

fn scan(message: &[u8], max_ops: usize) -> Result<(TxnShape, Uses), TxnError> {
    let mut uses = Vec::new();
    let shape =
        txn(message, max_ops, &mut |u, keys| uses.push((u, keys.key.to_vec(), keys.range_end.to_vec())))?;
    Ok((shape, uses))
}

proptest! {
    #[test]
    fn range_projection_equals_decode(request in range_request()) {
        let bytes = request.encode_to_vec();
        let got = range(&bytes).unwrap();
        prop_assert_eq!(got.keys, KeyRange::new(&request.key, &request.range_end));
        prop_assert_eq!((got.limit, got.revision), (request.limit, request.revision));
        prop_assert_eq!((got.sort_order, got.sort_target), (request.sort_order.into(), request.sort_target.into()));
        prop_assert_eq!(
            (got.serializable, got.keys_only, got.count_only),
            (request.serializable, request.keys_only, request.count_only)
        );
    }

    #[test]
    fn txn_projection_equals_decode(request in txn_request()) {
        let (shape, mut got) = scan(&request.encode_to_vec(), 10_000).unwrap();
        let mut want = Vec::new();
        reference(&request, &mut want);
        prop_assert_eq!(shape.writes, want.iter().any(|(u, ..)| u.writes()));
        // The scan visits branches in wire order, the reference in field order: the same set of uses.
        got.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
        want.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
        prop_assert_eq!(got, want);
    }

    /// Whatever the scan accepts, a field appended to it is a field of the outermost level: the full decoder sees one
    /// more compare there, and the same message otherwise.
    #[test]
    fn what_the_scan_accepts_can_be_appended_to(
        request in txn_request(),
        cut in any::<prop::sample::Index>(),
        flip in any::<(prop::sample::Index, u8)>(),
        cuts: bool,
    ) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            if cuts { bytes.truncate(cut.index(bytes.len())); }
            if !bytes.is_empty() { let at = flip.0.index(bytes.len()); bytes[at] ^= flip.1; }
        }
        if scan(&bytes, 10_000).is_ok() && let Ok(before) = pb::TxnRequest::decode(&bytes[..]) {
            let fence = pb::Compare { key: b"fence".to_vec().into(), ..Default::default() };
            let extra = pb::TxnRequest { compare: vec![fence.clone()], ..Default::default() };
            let mut longer = bytes.clone();
            longer.extend_from_slice(&extra.encode_to_vec());
            let after = pb::TxnRequest::decode(&longer[..]).unwrap();
            prop_assert_eq!(after.compare.len(), before.compare.len() + 1);
            prop_assert_eq!(after.compare.last(), Some(&fence));
            prop_assert_eq!(after.success, before.success);
            prop_assert_eq!(after.failure, before.failure);
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (scan(&bytes, 128), range(&bytes), put(&bytes), delete_range(&bytes), watch(&bytes));
    }
}

/// A transaction in a transaction in a …, built without recursion.
fn nested(levels: usize) -> Vec<u8> {
    let mut txn = bytes::Bytes::new();
    for _ in 0..levels {
        let op = crate::patch::wrap(4, &txn, &crate::patch::Patch::new());
        txn = crate::patch::wrap(2, &op, &crate::patch::Patch::new());
    }
    txn.to_vec()
}

#[test]
fn operations_are_counted_as_etcd_counts_them() {
    let put = |n: usize| {
        let request = pb::request_op::Request::RequestPut(pb::PutRequest {
            key: format!("k{n}").into_bytes().into(),
            ..Default::default()
        });
        pb::RequestOp { request: Some(request) }
    };
    let txn = |n| pb::TxnRequest { success: (0..n).map(put).collect(), ..Default::default() }.encode_to_vec();
    assert!(scan(&txn(128), 128).is_ok());
    assert_eq!(scan(&txn(129), 128), Err(TxnError::TooManyOps));
    assert!(scan(&nested(128), 128).is_ok());
    assert_eq!(scan(&nested(129), 128), Err(TxnError::TooManyOps));
    assert!(scan(&nested(5_000), 128).is_err());
}

#[test]
fn sort_options_that_do_not_exist_are_refused() {
    let txn = |key: &[u8], sort_target| {
        let range = pb::RangeRequest { key: key.to_vec().into(), sort_target, ..Default::default() };
        let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) };
        pb::TxnRequest { success: vec![op], ..Default::default() }.encode_to_vec()
    };
    assert!(scan(&txn(b"k", 4), 128).is_ok());
    assert_eq!(scan(&txn(b"k", 5), 128), Err(TxnError::InvalidSort));
    assert!(scan(&txn(b"", 5), 128).is_ok());
}

#[test]
fn last_length_past_the_end_is_refused() {
    // success { op whose length says one byte more than there is }
    assert!(scan(&[0x12, 0x03, 0x12, 0x02, 0x0a], 128).is_err());
    assert_eq!(put(&[0x0a, 0x02, b'k']), Err(Malformed::Length));
}

#[test]
fn two_union_members_are_refused() {
    // An operation that is a Range and a Put at once.
    let op = [0x12, 0x04, 0x0a, 0x00, 0x12, 0x00];
    assert_eq!(scan(&op, 128), Err(TxnError::Malformed(Malformed::Union)));
}

#[test]
fn watch_requests() {
    let create = pb::WatchCreateRequest {
        key: b"a".to_vec().into(),
        range_end: b"b".to_vec().into(),
        start_revision: 7,
        prev_kv: true,
        watch_id: 3,
        fragment: true,
        ..Default::default()
    };
    let raw = create.encode_to_vec();
    let request = |union| pb::WatchRequest { request_union: Some(union) }.encode_to_vec();
    let bytes = request(pb::watch_request::RequestUnion::CreateRequest(create));
    let expect = WatchCreate {
        keys: KeyRange::new(b"a", b"b"),
        start_revision: 7,
        watch_id: 3,
        fragment: true,
        message: &raw,
    };
    assert_eq!(watch(&bytes), Ok(Watch::Create(expect)));
    let bytes =
        request(pb::watch_request::RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 9 }));
    assert_eq!(watch(&bytes), Ok(Watch::Cancel { watch_id: 9 }));
    let bytes = request(pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    assert_eq!(watch(&bytes), Ok(Watch::Progress));
    assert_eq!(watch(&[]), Ok(Watch::Unknown));
}
