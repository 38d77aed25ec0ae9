//! What the proxy must know of a request: its keys, its leases, whether it writes. Values are skipped, never read.
//!
//! Every function here is a *strict scan*: it accepts a message only if the lengths at every level fit exactly, so that
//! whatever is appended to the message afterwards is a field of its outermost level.

use crate::field::{Field, Fields, Malformed};
use crate::keys::KeyRange;

/// Deepest nesting of transactions that is looked into. etcd's budget of operations gives each level at least one
/// operation less than the level above, so with its default of 128 nothing deeper is valid.
pub(crate) const MAX_TXN_DEPTH: usize = 160;

/// A RangeRequest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range<'a> {
    pub keys: KeyRange<'a>,
    /// Most pairs to return; 0 or below: all.
    pub limit: i64,
    /// Revision to read at; 0 or below: the latest.
    pub revision: i64,
    /// 0 none, 1 ascending, 2 descending.
    pub sort_order: i64,
    /// 0 key, 1 version, 2 create revision, 3 mod revision, 4 value.
    pub sort_target: i64,
    pub serializable: bool,
    pub keys_only: bool,
    pub count_only: bool,
    /// Whether a bound on mod or create revisions is set.
    pub filtered: bool,
}

impl Range<'_> {
    /// Whether order and target are ones that exist. etcd 3.5 crashes on others, so no shard may see them.
    pub fn sort_exists(&self) -> bool {
        (0..=2).contains(&self.sort_order) && (0..=4).contains(&self.sort_target)
    }

    /// Sorted other than by ascending key.
    pub fn is_sorted(&self) -> bool {
        // As in etcd: a target without an order means ascending by that target.
        self.sort_order == 2 || self.sort_target != 0
    }
}

/// Scans a RangeRequest.
pub fn range(message: &[u8]) -> Result<Range<'_>, Malformed> {
    let mut out = Range::default();
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => out.keys.key = field.bytes()?,
            2 => out.keys.range_end = field.bytes()?,
            3 => out.limit = field.int64()?,
            4 => out.revision = field.int64()?,
            5 => out.sort_order = field.int64()?,
            6 => out.sort_target = field.int64()?,
            7 => out.serializable = field.bool()?,
            8 => out.keys_only = field.bool()?,
            9 => out.count_only = field.bool()?,
            10..=13 => out.filtered |= field.int64()? != 0,
            _ => {}
        }
    }
    Ok(out)
}

/// A PutRequest, without its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Put<'a> {
    pub key: &'a [u8],
    /// 0: none.
    pub lease: i64,
}

/// Scans a PutRequest.
pub fn put(message: &[u8]) -> Result<Put<'_>, Malformed> {
    let mut out = Put::default();
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => out.key = field.bytes()?,
            2 => drop(field.bytes()?),
            3 => out.lease = field.int64()?,
            4..=6 => drop(field.bool()?),
            _ => {}
        }
    }
    Ok(out)
}

/// Scans a DeleteRangeRequest for its keys.
pub fn delete_range(message: &[u8]) -> Result<KeyRange<'_>, Malformed> {
    let mut out = KeyRange::default();
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => out.key = field.bytes()?,
            2 => out.range_end = field.bytes()?,
            3 => drop(field.bool()?),
            _ => {}
        }
    }
    Ok(out)
}

/// How a transaction uses keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Compare,
    /// A Range; at this revision if it is above 0.
    Read {
        revision: i64,
    },
    /// A Put; with this lease if it is not 0.
    Put {
        lease: i64,
    },
    Delete,
}

impl Use {
    pub fn writes(self) -> bool {
        matches!(self, Use::Put { .. } | Use::Delete)
    }
}

/// Why a transaction is refused by the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// More operations than etcd's `--max-txn-ops` allows, counted as etcd counts them.
    #[error("too many operations")]
    TooManyOps,
    /// A Range with a sort order or target that does not exist.
    #[error("invalid sort option")]
    InvalidSort,
}

/// The outline of a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TxnShape {
    /// Some operation, at any depth and in either branch, writes.
    pub writes: bool,
    /// The failure branch writes, at any depth.
    pub failure_writes: bool,
    /// Some operation, at any depth and in either branch, is a Put: what makes a store grow.
    pub puts: bool,
    /// No compare and no operation at all.
    pub is_empty: bool,
    /// Compares of the outermost level.
    pub compares: usize,
    /// Operations in the success branch of the outermost level.
    pub success_ops: usize,
    /// Operations in the failure branch of the outermost level.
    pub failure_ops: usize,
    /// The most that a transaction inside this one needs of the budget of operations, counted as etcd counts.
    pub nested_ops: usize,
    /// The failure branch only reads single keys as they are now: its reply is small, and no state of the store makes it
    /// an error. A Range at a revision can fail, for being compacted or in the future.
    pub failure_gets: bool,
}

impl TxnShape {
    /// What the transaction needs of the budget of operations (etcd's `--max-txn-ops`): the largest count of its
    /// outermost level, and what the neediest transaction inside takes of the rest.
    pub fn ops(&self) -> usize {
        self.compares.max(self.success_ops).max(self.failure_ops) + self.nested_ops
    }
}

/// Scans a TxnRequest and reports every key it names, at any depth, to `visit`.
///
/// `max_ops` bounds the largest of compares, success and failure operations of a level; a nested transaction has what its
/// parent left over.
pub fn txn<'a>(
    message: &'a [u8],
    max_ops: usize,
    visit: &mut dyn FnMut(Use, KeyRange<'a>),
) -> Result<TxnShape, TxnError> {
    level(message, max_ops, MAX_TXN_DEPTH, visit)
}

fn level<'a>(
    message: &'a [u8],
    max_ops: usize,
    depth: usize,
    visit: &mut dyn FnMut(Use, KeyRange<'a>),
) -> Result<TxnShape, TxnError> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let mut counts = [0usize; 3];
    for field in Fields::new(message) {
        let field = field?;
        if let 1..=3 = field.number {
            field.bytes()?;
            counts[field.number as usize - 1] += 1;
        }
    }
    let [compares, success_ops, failure_ops] = counts;
    let mut shape =
        TxnShape { compares, success_ops, failure_ops, failure_gets: true, ..TxnShape::default() };
    let left = max_ops.checked_sub(shape.ops()).ok_or(TxnError::TooManyOps)?;
    shape.is_empty = shape.ops() == 0;
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => visit(Use::Compare, compare(field.bytes()?)?),
            2 => shape.add(operation(field.bytes()?, left, depth, visit)?),
            3 => {
                let operation = operation(field.bytes()?, left, depth, visit)?;
                shape.failure_writes |= operation.writes;
                shape.failure_gets &= operation.is_get;
                shape.add(operation);
            }
            _ => {}
        }
    }
    Ok(shape)
}

/// The outline of one operation.
#[derive(Default)]
struct Operation {
    writes: bool,
    puts: bool,
    /// A Range of one key, as it is now.
    is_get: bool,
    /// What a transaction needs of the budget of operations.
    ops: usize,
}

impl TxnShape {
    fn add(&mut self, operation: Operation) {
        self.writes |= operation.writes;
        self.puts |= operation.puts;
        self.nested_ops = self.nested_ops.max(operation.ops);
    }
}

fn compare(message: &[u8]) -> Result<KeyRange<'_>, Malformed> {
    let mut out = KeyRange::default();
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 | 2 | 4..=6 | 8 => drop(field.varint()?),
            3 => out.key = field.bytes()?,
            7 => drop(field.bytes()?),
            64 => out.range_end = field.bytes()?,
            _ => {}
        }
    }
    Ok(out)
}

/// Scans a RequestOp.
fn operation<'a>(
    message: &'a [u8],
    max_ops: usize,
    depth: usize,
    visit: &mut dyn FnMut(Use, KeyRange<'a>),
) -> Result<Operation, TxnError> {
    let Some(member) = union_member(message, 4)? else { return Ok(Operation::default()) };
    let body = member.bytes()?;
    Ok(match member.number {
        1 => {
            let range = range(body)?;
            // etcd looks at the key first.
            if !range.sort_exists() && !range.keys.key.is_empty() {
                return Err(TxnError::InvalidSort);
            }
            visit(Use::Read { revision: range.revision }, range.keys);
            Operation { is_get: range.keys.is_single() && range.revision == 0, ..Operation::default() }
        }
        2 => {
            let put = put(body)?;
            visit(Use::Put { lease: put.lease }, KeyRange::single(put.key));
            Operation { writes: true, puts: true, ..Operation::default() }
        }
        3 => {
            visit(Use::Delete, delete_range(body)?);
            Operation { writes: true, ..Operation::default() }
        }
        _ => {
            let inner = level(body, max_ops, depth, visit)?;
            Operation { writes: inner.writes, puts: inner.puts, ops: inner.ops(), is_get: false }
        }
    })
}

/// The one member that is set of a union whose members are the fields `1..=last`. Two members, or one member twice, are
/// refused: parsers disagree on whether they merge.
pub(crate) fn union_member(message: &[u8], last: u32) -> Result<Option<Field<'_>>, Malformed> {
    let mut member = None;
    for field in Fields::new(message) {
        let field = field?;
        if field.number <= last && member.replace(field).is_some() {
            return Err(Malformed::Union);
        }
    }
    Ok(member)
}

/// A WatchCreateRequest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchCreate<'a> {
    pub keys: KeyRange<'a>,
    pub start_revision: i64,
    /// 0: the server chooses.
    pub watch_id: i64,
    pub fragment: bool,
    /// The message itself, to be sent on with what is appended.
    pub message: &'a [u8],
}

/// A message that a client sends on a watch stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch<'a> {
    Create(WatchCreate<'a>),
    Cancel {
        watch_id: i64,
    },
    Progress,
    /// Nothing the proxy knows; etcd ignores such messages, and so does the proxy.
    Unknown,
}

/// Scans a WatchRequest.
pub fn watch(message: &[u8]) -> Result<Watch<'_>, Malformed> {
    let Some(member) = union_member(message, 3)? else { return Ok(Watch::Unknown) };
    let body = member.bytes()?;
    Ok(match member.number {
        1 => Watch::Create(watch_create(body)?),
        2 => {
            let mut watch_id = 0;
            for field in Fields::new(body) {
                let field = field?;
                if field.number == 1 {
                    watch_id = field.int64()?;
                }
            }
            Watch::Cancel { watch_id }
        }
        _ => Watch::Progress,
    })
}

fn watch_create(message: &[u8]) -> Result<WatchCreate<'_>, Malformed> {
    let mut out = WatchCreate { message, ..WatchCreate::default() };
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => out.keys.key = field.bytes()?,
            2 => out.keys.range_end = field.bytes()?,
            3 => out.start_revision = field.int64()?,
            4 | 6 => drop(field.bool()?),
            7 => out.watch_id = field.int64()?,
            8 => out.fragment = field.bool()?,
            _ => {}
        }
    }
    Ok(out)
}

/// Reads one field of type `bytes` from a message: the lock's or election's name, the key to unlock.
pub fn bytes_field(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut out: &[u8] = b"";
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            out = field.bytes()?;
        }
    }
    Ok(out)
}

/// Reads one field of type `int64`.
pub fn int64_field(message: &[u8], number: u32) -> Result<i64, Malformed> {
    let mut out = 0;
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            out = field.int64()?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
