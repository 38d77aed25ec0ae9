mod counterexamples;
mod replies;
mod requests;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb as pb;
use pb::request_op::Request;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::frame::PREFIX_LEN;
use crate::request::{TxnError, TxnShape};

const PODS: &[u8] = b"\xffprism/fence/pods";
const LEASES: &[u8] = b"\xffprism/fence/leases";

/// A condition that owns its key.
#[derive(Debug, Clone)]
struct Owned(Vec<u8>, i64);

fn borrow(conditions: &[Owned]) -> Vec<Condition<'_>> {
    conditions.iter().map(|Owned(key, epoch)| Condition { key, epoch: *epoch }).collect()
}

fn conditions() -> impl Strategy<Value = Vec<Owned>> {
    let names = prop::collection::btree_set("[a-z]{1,40}", 1..4);
    (names, any::<[u64; 4]>()).prop_map(|(names, epochs)| {
        let key = |name: String| [PREFIX, name.as_bytes()].concat();
        let epoch = |epoch: u64| (epoch >> 1).max(2) as i64;
        names.into_iter().zip(epochs).map(|(name, e)| Owned(key(name), epoch(e))).collect()
    })
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(1u8..0xff, 0..4).prop_map(Bytes::from)
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn get() -> impl Strategy<Value = pb::RequestOp> {
    let revision = prop_oneof![8 => Just(0), 1 => any::<i64>()];
    let end = prop_oneof![8 => Just(Bytes::new()), 1 => key()];
    (key(), end, revision).prop_map(|(key, range_end, revision)| {
        op(Request::RequestRange(pb::RangeRequest { key, range_end, revision, ..Default::default() }))
    })
}

fn operation() -> impl Strategy<Value = pb::RequestOp> {
    let put = (key(), key(), any::<i64>()).prop_map(|(key, value, lease)| {
        op(Request::RequestPut(pb::PutRequest { key, value, lease, ..Default::default() }))
    });
    let delete = (key(), key()).prop_map(|(key, range_end)| {
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: true }))
    });
    prop_oneof![3 => get(), 2 => put, 1 => delete].prop_recursive(3, 12, 3, |inner| {
        let branch = || prop::collection::vec(inner.clone(), 0..3);
        (branch(), branch()).prop_map(|(success, failure)| {
            op(Request::RequestTxn(pb::TxnRequest { compare: vec![], success, failure }))
        })
    })
}

/// What clients send: about half of it has a failure branch of gets, as Kubernetes' transactions have.
fn txn_request() -> impl Strategy<Value = pb::TxnRequest> {
    let compare = (key(), key(), any::<i64>()).prop_map(|(key, range_end, revision)| pb::Compare {
        key,
        range_end,
        target: 2,
        target_union: Some(pb::compare::TargetUnion::ModRevision(revision)),
        ..Default::default()
    });
    let failure = prop_oneof![prop::collection::vec(get(), 0..11), prop::collection::vec(operation(), 0..4)];
    (prop::collection::vec(compare, 0..4), prop::collection::vec(operation(), 0..4), failure)
        .prop_map(|(compare, success, failure)| pb::TxnRequest { compare, success, failure })
}

fn scan(message: &[u8]) -> Result<TxnShape, TxnError> {
    crate::request::txn(message, 10_000, &mut |_, _| {})
}

/// Fences what the scan accepts, and decodes it.
fn fenced(
    message: &[u8],
    conditions: &[Condition<'_>],
    max_ops: usize,
) -> Result<(pb::TxnRequest, Form), TxnError> {
    let (frame, form) = txn(message, &scan(message)?, conditions, max_ops);
    Ok((decode(&frame), form))
}

fn decode(frame: &[u8]) -> pb::TxnRequest {
    let (prefix, message) = frame.split_first_chunk::<PREFIX_LEN>().unwrap();
    assert_eq!(*prefix, crate::frame::prefix(message.len()));
    pb::TxnRequest::decode(message).unwrap()
}

/// What the conditions are, decoded.
fn compares(conditions: &[Condition<'_>]) -> Vec<pb::Compare> {
    let compare = |c: &Condition<'_>| pb::Compare {
        key: Bytes::copy_from_slice(c.key),
        target: pb::compare::CompareTarget::Mod.into(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(c.epoch)),
        ..Default::default()
    };
    conditions.iter().map(compare).collect()
}

/// The operation that reads the fences, decoded.
fn look(conditions: &[Condition<'_>]) -> pb::RequestOp {
    let keys = if let [one] = conditions { KeyRange::single(one.key) } else { ALL };
    op(Request::RequestRange(pb::RangeRequest {
        key: Bytes::copy_from_slice(keys.key),
        range_end: Bytes::copy_from_slice(keys.range_end),
        ..Default::default()
    }))
}
