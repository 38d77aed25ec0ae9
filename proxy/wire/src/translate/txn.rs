//! TxnRequests, from the virtual line to the raw one.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::RequestError;
use super::compare::{KeyState, Rewrite, compare};
use super::guard::{self, Guard};
use super::line::Line;
use super::pair::Body;
use super::pieces::Writer;
use super::request::{RangeRewrite, range};
use super::select::Select;
use crate::field::{Field, Malformed};
use crate::patch::Patch;
use crate::request::{MAX_TXN_DEPTH, union_member};

/// What was taken from the Ranges of a transaction, and is to be done with its reply ([`super::Kind::Txn`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// By operation, up to the last from which something was taken.
    success: Vec<Operation>,
    failure: Vec<Operation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Plain,
    Range(Select),
    Txn(Plan),
}

impl Plan {
    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.success.is_empty() && self.failure.is_empty()
    }

    pub(super) fn operation(&self, succeeded: bool, i: usize) -> Option<&Operation> {
        if succeeded { self.success.get(i) } else { self.failure.get(i) }
    }
}

/// A transaction for the shard of this reign.
#[derive(Debug, Clone)]
pub struct TxnRewrite {
    /// To be scanned again ([`crate::request::txn`]) before it is fenced: it may have more operations now.
    pub message: Bytes,
    pub plan: Plan,
    /// The reply must be read with [`super::Guarded::read`].
    pub is_guarded: bool,
}

/// Translates a TxnRequest that passed [`crate::request::txn`]. It must be sent under the fence of this reign: what is
/// translated here means something else in another.
///
/// `seen` holds what was read of keys within the reign; it may be kept for as long, for the keys that [`Guarded::Missed`]
/// does not make stale. A transaction that needs none of it and has no revision of another reign comes back as it was.
///
/// [`Guarded::Missed`]: super::Guarded::Missed
///
/// # Errors
/// [`RequestError::Unread`] names all keys which must be read first, with their provenance, at one revision. A Range at a
/// revision of another reign is refused, in whichever branch.
pub fn txn(
    message: &Bytes,
    line: &impl Line,
    seen: &HashMap<Bytes, KeyState>,
) -> Result<TxnRewrite, RequestError> {
    let mut txn = Txn {
        line,
        seen,
        out: Writer::new(message),
        unread: BTreeSet::new(),
        guards: BTreeSet::new(),
        puts: false,
    };
    let plan = txn.level(Body::new(message), MAX_TXN_DEPTH)?;
    if !txn.unread.is_empty() {
        let unread = txn.unread.into_iter();
        return Err(RequestError::Unread(unread.map(|key| message.slice_ref(key)).collect()));
    }
    let rewritten = txn.out.finish().into_bytes();
    let guards: Vec<_> = txn.guards.into_iter().collect();
    let is_guarded = !guards.is_empty();
    let message = if is_guarded { guard::wrap(&rewritten, &guards, txn.puts) } else { rewritten };
    Ok(TxnRewrite { message, plan, is_guarded })
}

/// The fields of TxnRequest, and the members of RequestOp.
const COMPARE: u32 = 1;
const SUCCESS: u32 = 2;
const FAILURE: u32 = 3;
const RANGE: u32 = 1;
const PUT: u32 = 2;
const TXN: u32 = 4;

struct Txn<'a, L> {
    line: &'a L,
    seen: &'a HashMap<Bytes, KeyState>,
    out: Writer<'a>,
    /// Keys that must be read first.
    unread: BTreeSet<&'a [u8]>,
    guards: BTreeSet<Guard<'a>>,
    puts: bool,
}

impl<'a, L: Line> Txn<'a, L> {
    fn level(&mut self, body: Body<'a>, depth: usize) -> Result<Plan, RequestError> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
        let mut plan = Plan::default();
        for field in body.fields() {
            let field = field?;
            match field.number {
                COMPARE => {
                    let inner = body.inner(&field)?;
                    let patch = self.compare(inner)?;
                    self.patched(body, &field, &patch)?;
                }
                SUCCESS => plan.success.push(self.operation(body, &field, depth)?),
                FAILURE => plan.failure.push(self.operation(body, &field, depth)?),
                _ => self.out.keep(body.record(&field)),
            }
        }
        for branch in [&mut plan.success, &mut plan.failure] {
            let last = branch.iter().rposition(|operation| *operation != Operation::Plain);
            branch.truncate(last.map_or(0, |last| last + 1));
        }
        Ok(plan)
    }

    fn compare(&mut self, body: Body<'a>) -> Result<Patch, RequestError> {
        Ok(match compare(body.bytes, self.line, self.seen)? {
            Rewrite::Patch(patch) => patch,
            Rewrite::Guarded(patch, guard) => {
                self.guards.insert(guard);
                patch
            }
            Rewrite::Read(key) => {
                self.unread.insert(key);
                Patch::new()
            }
        })
    }

    /// A field of a message, with a patch at the end of its content.
    fn patched(&mut self, body: Body<'a>, field: &Field<'a>, patch: &Patch) -> Result<(), Malformed> {
        if patch.is_empty() {
            self.out.keep(body.record(field));
        } else {
            let inner = body.inner(field)?;
            self.out.head(field.number, inner.bytes.len() + patch.as_slice().len());
            self.out.keep(inner.all());
            self.out.put(patch.as_slice());
        }
        Ok(())
    }

    /// A RequestOp in a field of its transaction.
    fn operation(
        &mut self,
        txn: Body<'a>,
        field: &Field<'a>,
        depth: usize,
    ) -> Result<Operation, RequestError> {
        let operation = txn.inner(field)?;
        let member = union_member(operation.bytes, TXN)?;
        let rewrite = match member {
            Some(member) if member.number == RANGE => range(member.bytes()?, self.line)?,
            _ => RangeRewrite::default(),
        };
        let is_txn = member.is_some_and(|member| member.number == TXN);
        self.puts |= member.is_some_and(|member| member.number == PUT);
        if !is_txn && rewrite.patch.is_empty() {
            self.out.keep(txn.record(field));
            return Ok(Operation::Plain);
        }
        let mut plan = rewrite.select.map_or(Operation::Plain, Operation::Range);
        let mark = self.out.open(field.number);
        for field in operation.fields() {
            let field = field?;
            match field.number {
                RANGE => self.patched(operation, &field, &rewrite.patch)?,
                TXN => {
                    let mark = self.out.open(TXN);
                    let inner = self.level(operation.inner(&field)?, depth)?;
                    self.out.close(mark);
                    if !inner.is_empty() {
                        plan = Operation::Txn(inner);
                    }
                }
                _ => self.out.keep(operation.record(&field)),
            }
        }
        self.out.close(mark);
        Ok(plan)
    }
}
