//! Builds fenced requests. What a client sent is copied once, into the frame that leaves.

use bytes::{BufMut, Bytes, BytesMut};

use super::{ALL, Condition, Form, MARKER, PUT, RANGE};
use crate::frame;
use crate::patch::{Patch, RANGE_KEYS};
use crate::request::{self, TxnShape};
use crate::varint;

/// What fencing adds to a message, at most and in bytes, besides [`GROWTH_PER_FENCE`] and twice the length of each
/// fence's key.
pub const GROWTH: usize = 96;

/// What each condition adds to a message, at most and in bytes, besides its key.
pub const GROWTH_PER_FENCE: usize = 32;

/// Most operations of a failure branch behind which the fence is read. When the transaction fails its reply has to be
/// held whole to see why, and each of these can be as long as a value.
pub const MAX_FAILURE_GETS: usize = 8;

/// The fields of TxnRequest.
const COMPARE: u32 = 1;
const SUCCESS: u32 = 2;
const FAILURE: u32 = 3;

/// Fences a TxnRequest that [`request::txn`] accepted with this `shape`, and that reaches no reserved key
/// ([`crate::patch::clamp_txn`]). Gives a frame for `KV/Txn`, prefix included.
///
/// `max_ops` is the shard's `--max-txn-ops`. A transaction that fits it in neither form is given as it is when wrapped:
/// the shard refuses it with etcd's error.
pub fn txn(message: &[u8], shape: &TxnShape, conditions: &[Condition<'_>], max_ops: usize) -> (Bytes, Form) {
    if can_be_appended_to(shape, conditions.len(), max_ops) {
        let tail = Patch::new().bytes(FAILURE, look(conditions).as_slice());
        let frame = frame::encode(&[message, compares(conditions).as_slice(), tail.as_slice()]);
        return (frame, Form::Appended);
    }
    let form = Form::Nested { marker: shape.puts };
    (wrap(form, message, &Patch::new(), conditions), form)
}

/// Fences a PutRequest that [`request::put`] accepted. Gives a frame for `KV/Txn`; its form is [`Form::Put`].
pub fn put(message: &[u8], conditions: &[Condition<'_>]) -> Bytes {
    wrap(Form::Put, message, &Patch::new(), conditions)
}

/// Fences a DeleteRangeRequest that [`request::delete_range`] accepted. Gives a frame for `KV/Txn`; its form is
/// [`Form::DeleteRange`].
pub fn delete_range(message: &[u8], conditions: &[Condition<'_>]) -> Bytes {
    wrap(Form::DeleteRange, message, &Patch::new(), conditions)
}

/// Fences a RangeRequest that [`request::range`] accepted. Gives a frame for `KV/Txn`; its form is [`Form::Range`]. The
/// read is linearizable, also where the client asked for less.
pub fn range(message: &[u8], conditions: &[Condition<'_>]) -> Bytes {
    // etcd takes a revision below 0 as the present in a Range, and as compacted in a transaction.
    let past = request::range(message).is_ok_and(|range| range.revision < 0);
    let patch = if past { Patch::new().int64(4, 0) } else { Patch::new() };
    wrap(Form::Range, message, &patch, conditions)
}

/// The client's failure branch runs also when it was the fence that did not hold. So it may be left where it is only if
/// it cannot write, cannot fail, and answers little.
fn can_be_appended_to(shape: &TxnShape, conditions: usize, max_ops: usize) -> bool {
    let ops = (shape.compares + conditions.max(1)).max(shape.success_ops).max(shape.failure_ops + 1);
    shape.failure_gets && shape.failure_ops <= MAX_FAILURE_GETS && ops + shape.nested_ops <= max_ops
}

/// `If conditions Then [client's request] Else [marker, look]`.
fn wrap(form: Form, message: &[u8], patch: &Patch, conditions: &[Condition<'_>]) -> Bytes {
    let member = form.member();
    let len = message.len() + patch.as_slice().len();
    let compares = compares(conditions);
    let mut head = BytesMut::with_capacity(compares.as_slice().len() + 2 * (1 + varint::MAX_LEN));
    head.put_slice(compares.as_slice());
    open(&mut head, SUCCESS, 1 + varint::len(len as u64) + len);
    open(&mut head, member, len);
    let mut tail = Patch::new();
    if form == (Form::Nested { marker: true }) {
        // etcd judges both branches. In this one it is written only when the fence does not hold; beside the client's
        // operations it would move the revisions that the client is shown.
        let put = Patch::new().bytes(1, MARKER).bytes(2, b"\0");
        tail = tail.bytes(FAILURE, Patch::new().bytes(PUT, put.as_slice()).as_slice());
    }
    let tail = tail.bytes(FAILURE, look(conditions).as_slice());
    frame::encode(&[&head, message, patch.as_slice(), tail.as_slice()])
}

/// Tag and length of a field whose content follows.
fn open(out: &mut BytesMut, number: u32, len: usize) {
    varint::put(out, u64::from(number) << 3 | 2);
    varint::put(out, len as u64);
}

/// The conditions as fields of a TxnRequest.
fn compares(conditions: &[Condition<'_>]) -> Patch {
    /// No key has it.
    const NEVER: i64 = -1;
    const NONE: [Condition<'_>; 1] = [Condition { key: ALL.key, epoch: NEVER }];
    let conditions = if conditions.is_empty() { &NONE } else { conditions };
    conditions.iter().fold(Patch::new(), |patch, condition| {
        let epoch = if condition.epoch > 0 { condition.epoch } else { NEVER };
        // EQUAL is result 0, MOD is target 2.
        let compare = Patch::new().varint(2, 2).bytes(3, condition.key).int64(6, epoch);
        patch.bytes(COMPARE, compare.as_slice())
    })
}

/// The RequestOp that reads the fences. It is not serializable, and so the transaction is not.
fn look(conditions: &[Condition<'_>]) -> Patch {
    let range = match conditions {
        [condition] => Patch::new().bytes(RANGE_KEYS.0, condition.key),
        _ => Patch::new().keys(RANGE_KEYS, ALL),
    };
    Patch::new().bytes(RANGE, range.as_slice())
}
