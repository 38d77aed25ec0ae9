//! What is built, read back by a full decoder.

use super::*;

/// What a transaction needs of the budget of operations, as `checkTxnRequest` in etcd's `v3rpc/key.go` counts.
fn needs(txn: &pb::TxnRequest) -> usize {
    let inner = |op: &pb::RequestOp| match &op.request {
        Some(Request::RequestTxn(txn)) => needs(txn),
        _ => 0,
    };
    let most = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    most + txn.success.iter().chain(&txn.failure).map(inner).max().unwrap_or(0)
}

fn puts(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(txn)) => puts(txn),
        _ => false,
    })
}

/// Whether an operation can stay in front of the Range of the fence.
fn is_get(op: &pb::RequestOp) -> bool {
    matches!(&op.request, Some(Request::RequestRange(r)) if r.range_end.is_empty() && r.revision == 0)
}

fn marker() -> pb::RequestOp {
    op(Request::RequestPut(pb::PutRequest {
        key: MARKER.into(),
        value: b"\0"[..].into(),
        ..Default::default()
    }))
}

/// Everything that must hold of `message` fenced. `Err` if the scan refuses it.
fn check(message: &[u8], conditions: &[Condition<'_>], max_ops: usize) -> Result<(), TestCaseError> {
    let Ok(shape) = scan(message) else { return Ok(()) };
    // The scan does not look at every field that a decoder looks at; what no decoder takes, no shard runs.
    let Ok(before) = pb::TxnRequest::decode(message) else { return Ok(()) };
    prop_assert_eq!(shape.ops(), needs(&before));
    prop_assert_eq!(shape.puts, puts(&before));
    prop_assert_eq!(shape.failure_gets, before.failure.iter().all(is_get));

    let (frame, form) = txn(message, &shape, conditions, max_ops);
    let bound = conditions.iter().map(|c| GROWTH_PER_FENCE + 2 * c.key.len()).sum::<usize>() + GROWTH;
    prop_assert!(frame.len() <= PREFIX_LEN + message.len() + bound);
    let after = decode(&frame);
    let fences = compares(conditions);
    match form {
        Form::Appended => {
            prop_assert!(frame[PREFIX_LEN..].starts_with(message), "untouched");
            prop_assert_eq!(&after.compare[..before.compare.len()], &before.compare[..]);
            prop_assert_eq!(&after.compare[before.compare.len()..], &fences[..]);
            prop_assert_eq!(&after.success, &before.success);
            prop_assert_eq!(&after.failure[..before.failure.len()], &before.failure[..]);
            prop_assert_eq!(&after.failure[before.failure.len()..], &[look(conditions)]);
            prop_assert!(before.failure.iter().all(is_get) && before.failure.len() <= MAX_FAILURE_GETS);
            prop_assert!(needs(&after) <= max_ops);
        }
        Form::Nested { marker: marked } => {
            let at = frame.len() - PREFIX_LEN - message.len();
            prop_assert!((0..=at).any(|at| frame[PREFIX_LEN + at..].starts_with(message)), "untouched");
            prop_assert_eq!(marked, puts(&before));
            let failure: Vec<_> = marked.then(marker).into_iter().chain([look(conditions)]).collect();
            prop_assert_eq!(&after.compare, &fences);
            prop_assert_eq!(&after.success, &[op(Request::RequestTxn(before))]);
            prop_assert_eq!(&after.failure, &failure);
        }
        Form::Put | Form::DeleteRange | Form::Range => prop_assert!(false, "{form:?}"),
    }
    Ok(())
}

/// A field that no version of etcd knows, with any content.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    (20u32..1000, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(number, content)| {
        crate::patch::wrap(number, &content, &crate::patch::Patch::new()).to_vec()
    })
}

/// Bytes that are a transaction, or nearly.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop_oneof![
        4 => Just(None),
        3 => any::<(prop::sample::Index, u8)>().prop_map(|(at, xor)| Some((at, Some(xor)))),
        1 => any::<prop::sample::Index>().prop_map(|at| Some((at, None))),
    ];
    (txn_request(), prop::option::of(unknown()), prop::option::of(unknown()), damage).prop_map(
        |(txn, front, back, damage)| {
            let mut bytes =
                [front.unwrap_or_default(), txn.encode_to_vec(), back.unwrap_or_default()].concat();
            match damage {
                Some((at, Some(xor))) if !bytes.is_empty() => {
                    let at = at.index(bytes.len());
                    bytes[at] ^= xor;
                }
                Some((at, None)) if !bytes.is_empty() => bytes.truncate(at.index(bytes.len())),
                _ => {}
            }
            bytes
        },
    )
}

fn max_ops() -> impl Strategy<Value = usize> {
    prop_oneof![Just(128), Just(140), 0usize..16]
}

proptest! {
    #[test]
    fn what_the_scan_accepts_is_fenced_at_top_level(
        message in message(), conditions in conditions(), max_ops in max_ops(),
    ) {
        check(&message, &borrow(&conditions), max_ops)?;
    }

    /// Bytes without any plan: the few that the scan accepts are fenced too.
    #[test]
    fn any_bytes(
        message in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..0x40], 0..60), conditions in conditions(),
    ) {
        check(&message, &borrow(&conditions), 128)?;
    }

    #[test]
    fn single_requests_are_wrapped(
        key in key(), end in key(), value in prop::collection::vec(any::<u8>(), 0..300), revision: i64,
        unknown in unknown(), conditions in conditions(),
    ) {
        let conditions = borrow(&conditions);
        let put_request = pb::PutRequest { key: key.clone(), value: value.into(), ..Default::default() };
        let delete_request =
            pb::DeleteRangeRequest { key: key.clone(), range_end: end.clone(), prev_kv: true };
        let mut read = pb::RangeRequest { key, range_end: end, revision, ..Default::default() };
        let sent = |message: Vec<u8>| [message, unknown.clone()].concat();
        let frames = [
            put(&sent(put_request.encode_to_vec()), &conditions),
            delete_range(&sent(delete_request.encode_to_vec()), &conditions),
            range(&sent(read.encode_to_vec()), &conditions),
        ];
        // A transaction takes no revision below 0; a Range takes it as the present.
        read.revision = revision.max(0);
        let requests = [
            Request::RequestPut(put_request),
            Request::RequestDeleteRange(delete_request),
            Request::RequestRange(read),
        ];
        for (frame, request) in frames.into_iter().zip(requests) {
            let txn = decode(&frame);
            prop_assert_eq!(txn.compare, compares(&conditions));
            prop_assert_eq!(txn.success, vec![op(request)]);
            prop_assert_eq!(txn.failure, vec![look(&conditions)]);
            prop_assert!(frame.windows(unknown.len()).any(|part| part == unknown), "unknown fields are kept");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500_000))]
    #[test]
    #[ignore = "long"]
    fn what_the_scan_accepts_is_fenced_at_top_level_for_long(
        message in message(), conditions in conditions(), max_ops in max_ops(),
    ) {
        check(&message, &borrow(&conditions), max_ops)?;
    }
}

/// An epoch that no fence can have, and no condition at all: refused by every shard, never unfenced.
#[test]
fn what_cannot_hold_never_passes() {
    let message =
        pb::TxnRequest { success: vec![op(Request::RequestPut(Default::default()))], ..Default::default() };
    let message = message.encode_to_vec();
    let never = |txn: &pb::TxnRequest| {
        let compare = txn.compare.last().unwrap();
        compare.target == 2 && compare.target_union == Some(pb::compare::TargetUnion::ModRevision(-1))
    };
    for epoch in [0, -1, i64::MIN] {
        let conditions = [Condition { key: PODS, epoch }];
        assert!(never(&fenced(&message, &conditions, 128).unwrap().0), "{epoch}");
        assert!(never(&decode(&put(&[], &conditions))), "{epoch}");
    }
    assert!(never(&fenced(&message, &[], 128).unwrap().0));
    assert!(never(&decode(&range(&[], &[]))));
}

#[test]
fn forms_by_what_fits() {
    let condition = [Condition { key: PODS, epoch: 7 }];
    let gets = |n: usize| {
        let get = op(Request::RequestRange(pb::RangeRequest { key: "k".into(), ..Default::default() }));
        vec![get; n]
    };
    let form = |txn: pb::TxnRequest, max_ops| fenced(&txn.encode_to_vec(), &condition, max_ops).unwrap().1;
    let nested = Form::Nested { marker: false };
    let failure = |n| pb::TxnRequest { failure: gets(n), ..Default::default() };
    assert_eq!(form(failure(0), 128), Form::Appended);
    assert_eq!(form(failure(8), 128), Form::Appended);
    assert_eq!(form(failure(9), 128), nested);
    let compares = |n| pb::TxnRequest { compare: vec![pb::Compare::default(); n], ..Default::default() };
    assert_eq!(form(compares(127), 128), Form::Appended);
    assert_eq!(form(compares(128), 128), nested);
    assert_eq!(form(compares(128), 140), Form::Appended);
    let success = |n| pb::TxnRequest { success: gets(n), ..Default::default() };
    assert_eq!(form(success(128), 128), Form::Appended);
    // One level takes what the level above leaves: here one compare more would be one too many.
    let inner = op(Request::RequestTxn(success(127)));
    let deep = |compares| pb::TxnRequest {
        compare: vec![pb::Compare::default(); compares],
        success: vec![inner.clone()],
        ..Default::default()
    };
    assert_eq!(form(deep(0), 128), Form::Appended);
    assert_eq!(form(deep(1), 128), nested);
}
