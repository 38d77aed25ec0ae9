//! What goes wrong when it is done simply. Each shows the simple way fail, and ours not.

use super::*;

const CONDITION: [Condition<'static>; 1] = [Condition { key: PODS, epoch: 7 }];

fn put_op(key: &'static str) -> pb::RequestOp {
    op(Request::RequestPut(pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() }))
}

/// The two constant strings that fence most transactions.
fn tail() -> Vec<u8> {
    let fence = pb::TxnRequest {
        compare: compares(&CONDITION),
        failure: vec![look(&CONDITION)],
        ..Default::default()
    };
    fence.encode_to_vec()
}

/// Appending to any transaction leaves a failure branch that writes in front of the fence's Range: it runs whenever the
/// fence does not hold.
#[test]
fn ce02_a_failure_branch_that_writes_is_wrapped() {
    let message = pb::TxnRequest { failure: vec![put_op("k")], ..Default::default() }.encode_to_vec();
    let naive = pb::TxnRequest::decode(&[message.clone(), tail()].concat()[..]).unwrap();
    assert_eq!(naive.failure[0], put_op("k"), "runs when the fence does not hold");
    let (fenced, form) = fenced(&message, &CONDITION, 128).unwrap();
    assert_eq!(form, Form::Nested { marker: true });
    assert_eq!(fenced.failure[1..], [look(&CONDITION)]);
    assert!(!fenced.failure.contains(&put_op("k")));

    // At any depth.
    let inner = pb::TxnRequest { failure: vec![put_op("k")], ..Default::default() };
    let deep = pb::TxnRequest { failure: vec![op(Request::RequestTxn(inner))], ..Default::default() };
    assert_eq!(
        super::fenced(&deep.encode_to_vec(), &CONDITION, 128).unwrap().1,
        Form::Nested { marker: true }
    );
}

/// A failure branch that reads at a revision fails on a shard that is not the owner, for a state that is not the route's.
#[test]
fn a_failure_branch_that_can_fail_is_wrapped() {
    let read = pb::RangeRequest { key: "k".into(), revision: 1_000_000, ..Default::default() };
    let message = pb::TxnRequest { failure: vec![op(Request::RequestRange(read))], ..Default::default() };
    assert_eq!(fenced(&message.encode_to_vec(), &CONDITION, 128).unwrap().1, Form::Nested { marker: false });
}

/// A last length that reaches past the end swallows what is appended: decoders then find no fence.
#[test]
fn ce23_a_last_length_that_reaches_past_the_end_is_refused() {
    let mut message = pb::TxnRequest { success: vec![put_op("k")], ..Default::default() }.encode_to_vec();
    // An unknown field, number 100, whose content is to be what follows.
    let mut open = Vec::new();
    crate::varint::put(&mut open, 100 << 3 | 2);
    crate::varint::put(&mut open, tail().len() as u64);
    message.extend_from_slice(&open);

    assert!(pb::TxnRequest::decode(&message[..]).is_err(), "refused by etcd alone");
    let naive = pb::TxnRequest::decode(&[message.clone(), tail()].concat()[..]).unwrap();
    assert_eq!(naive.compare, [], "the fence is gone");
    assert_eq!(naive.success, [put_op("k")]);
    assert_eq!(fenced(&message, &CONDITION, 128), Err(TxnError::Malformed(crate::Malformed::Length)));
}

/// A Put in a transaction in a transaction, in which the `open` outermost lengths count what is appended as theirs.
fn reaching_out(open: usize) -> Vec<u8> {
    // success, request_txn, success, request_put, value
    let path = [2, 4, 2, 2, 2];
    let mut content = b"v".to_vec();
    for (level, number) in path.into_iter().enumerate().rev() {
        let more = if level < open { tail().len() } else { 0 };
        let mut field = Vec::new();
        crate::varint::put(&mut field, number << 3 | 2);
        crate::varint::put(&mut field, (content.len() + more) as u64);
        field.append(&mut content);
        content = field;
    }
    content
}

/// The same with the lengths of known fields: of an operation, a request, a transaction within, a value.
#[test]
fn ce23_at_every_level() {
    assert!(fenced(&reaching_out(0), &CONDITION, 128).unwrap().0.compare == compares(&CONDITION));
    let mut swallowed = 0;
    for open in 1..=5 {
        let message = reaching_out(open);
        let naive = pb::TxnRequest::decode(&[message.clone(), tail()].concat()[..]);
        swallowed += usize::from(naive.is_ok_and(|txn| txn.compare.is_empty()));
        assert_eq!(fenced(&message, &CONDITION, 128), Err(TxnError::Malformed(crate::Malformed::Length)));
    }
    assert!(swallowed >= 2, "in the value and in the transaction within: {swallowed}");
}

/// What etcd before July 2026 takes a transaction to cost a store: Puts of its outermost level only (`costTxn` in
/// `storage/quota.go` of 3.7.0). A full store refuses what costs more than nothing.
fn shallow_cost(txn: &pb::TxnRequest) -> usize {
    let cost = |branch: &[pb::RequestOp]| -> usize {
        let puts = branch.iter().filter_map(|op| match &op.request {
            Some(Request::RequestPut(put)) => Some(256 + put.key.len() + put.value.len()),
            _ => None,
        });
        puts.sum()
    };
    cost(&txn.success).max(cost(&txn.failure))
}

/// The cost that later versions see, in which nested transactions count.
fn cost(txn: &pb::TxnRequest) -> usize {
    let one = |op: &pb::RequestOp| match &op.request {
        Some(Request::RequestPut(put)) => 256 + put.key.len() + put.value.len(),
        Some(Request::RequestTxn(txn)) => cost(txn),
        _ => 0,
    };
    let branch = |ops: &[pb::RequestOp]| ops.iter().map(one).sum::<usize>();
    branch(&txn.success).max(branch(&txn.failure))
}

#[test]
fn ce34_wrapping_hides_no_put_from_the_quota() {
    let client = pb::TxnRequest { failure: vec![put_op("k")], ..Default::default() };
    let naive =
        pb::TxnRequest { success: vec![op(Request::RequestTxn(client.clone()))], ..Default::default() };
    assert!(shallow_cost(&client) > 0 && shallow_cost(&naive) == 0, "a full store takes it");
    let (fenced, _) = fenced(&client.encode_to_vec(), &CONDITION, 128).unwrap();
    assert!(shallow_cost(&fenced) > 0);
}

proptest! {
    /// A full store refuses a fenced transaction where it refuses the client's own, and no other: deletions make room.
    #[test]
    fn ce34_a_full_store_judges_the_same(txn in txn_request(), conditions in conditions()) {
        let (fenced, _) = fenced(&txn.encode_to_vec(), &borrow(&conditions), 128).unwrap();
        prop_assert_eq!(cost(&fenced) > 0, cost(&txn) > 0);
        prop_assert!(shallow_cost(&fenced) > 0 || shallow_cost(&txn) == 0);
    }
}
