//! Replies, from the raw line to the virtual one.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::line::{Line, Numbers, shown};
use super::pair::{Body, Pair};
use super::pieces::{Pieces, Writer};
use super::select::Select;
use super::txn::{Operation, Plan};
use super::{Outside, ReplyError};
use crate::field::{Field, Malformed};
use crate::request::MAX_TXN_DEPTH;

/// What a message is.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// Any reply with nothing but a header that has revisions: of Compact and of the lease methods.
    Header,
    /// A RangeResponse.
    Range,
    /// A RangeResponse to a request from which filters, order or limit were taken.
    Selected(&'a Select),
    RangeStream,
    Put,
    DeleteRange,
    /// A TxnResponse, with what was taken from its Ranges.
    Txn(&'a Plan),
    Watch,
}

/// What headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The revision that the shard named. Outside of the reign it is an error: a lagging member answered.
    Exact,
    /// The nearest revision within the reign: for watches, whose shard may lag behind its beginning or go on behind its end.
    Within,
    /// This virtual revision: for reads of the past, which show the owner's present one.
    At(i64),
}

/// Rewrites a reply. The cost is that of walking over its pairs; what is in their values is never looked at.
///
/// # Errors
/// [`ReplyError::Unread`] names all keys whose provenance is missing; nothing else is lost by asking again.
pub fn reply(
    kind: Kind<'_>,
    message: &Bytes,
    line: &impl Line,
    header: Header,
) -> Result<Pieces, ReplyError> {
    let mut reply = Reply { line, header, out: Writer::new(message), unread: BTreeSet::new() };
    let body = Body::new(message);
    match kind {
        Kind::Header => reply.pairs(body, None)?,
        Kind::Range => reply.pairs(body, RANGE_PAIRS)?,
        Kind::Selected(select) => reply.selected(body, select)?,
        Kind::RangeStream => reply.within(body, |reply, inner, field| match field {
            CHUNK => reply.pairs(inner, RANGE_PAIRS),
            _ => reply.keep(inner),
        })?,
        Kind::Put => reply.pairs(body, PUT_PAIRS)?,
        Kind::DeleteRange => reply.pairs(body, DELETED_PAIRS)?,
        Kind::Txn(plan) => reply.txn(body, Some(plan), MAX_TXN_DEPTH)?,
        Kind::Watch => reply.watch(body)?,
    }
    if !reply.unread.is_empty() {
        let unread = reply.unread.into_iter();
        return Err(ReplyError::Unread(unread.map(|key| message.slice_ref(key)).collect()));
    }
    Ok(reply.out.finish())
}

/// The header's field in every reply, and the revision's in a header.
pub(super) const HEADER: u32 = 1;
const REVISION: u32 = 3;

/// The fields of replies that hold KeyValues.
const RANGE_PAIRS: Option<u32> = Some(2);
const PUT_PAIRS: Option<u32> = Some(2);
const DELETED_PAIRS: Option<u32> = Some(3);

/// The RangeResponse in a RangeStreamResponse.
const CHUNK: u32 = 1;

/// The fields of TxnResponse and of ResponseOp.
const SUCCEEDED: u32 = 2;
const RESPONSES: u32 = 3;
const RANGE: u32 = 1;
const PUT: u32 = 2;
const DELETE_RANGE: u32 = 3;
const TXN: u32 = 4;

pub(super) struct Reply<'a, L> {
    pub(super) line: &'a L,
    header: Header,
    pub(super) out: Writer<'a>,
    /// Keys whose provenance must be looked up first.
    unread: BTreeSet<&'a [u8]>,
}

impl<'a, L: Line> Reply<'a, L> {
    /// A message with a header, and with KeyValues in the field `pairs`.
    fn pairs(&mut self, body: Body<'a>, pairs: Option<u32>) -> Result<(), ReplyError> {
        for field in body.fields() {
            let field = field?;
            if field.number == HEADER {
                self.header(body.inner(&field)?)?;
            } else if Some(field.number) == pairs {
                self.pair(body, &field)?;
            } else {
                self.out.keep(body.record(&field));
            }
        }
        Ok(())
    }

    pub(super) fn header(&mut self, body: Body<'a>) -> Result<(), ReplyError> {
        let mark = self.out.open(HEADER);
        for field in body.fields() {
            let field = field?;
            if field.number == REVISION {
                let revision = self.header_revision(field.int64()?)?;
                self.out.int64(REVISION, revision);
            } else {
                self.out.keep(body.record(&field));
            }
        }
        self.out.close(mark);
        Ok(())
    }

    fn header_revision(&self, raw: i64) -> Result<i64, Outside> {
        let span = self.line.span();
        match self.header {
            _ if raw == 0 => Ok(0),
            Header::At(revision) => Ok(revision),
            Header::Within => self.line.up(raw.clamp(*span.start(), *span.end())),
            Header::Exact if span.contains(&raw) => self.line.up(raw),
            Header::Exact => Err(Outside { raw }),
        }
    }

    /// Gives the raw mod revision.
    pub(super) fn pair(&mut self, body: Body<'a>, field: &Field<'a>) -> Result<i64, ReplyError> {
        let pair = Pair::read(body.inner(field)?, false)?;
        match self.shown(&pair)? {
            Some(numbers) if numbers != pair.numbers => pair.write(field.number, numbers, &mut self.out),
            _ => self.out.keep(body.record(field)),
        }
        Ok(pair.numbers.mod_revision)
    }

    /// `None`: the reply cannot be written yet.
    pub(super) fn shown(&mut self, pair: &Pair<'a>) -> Result<Option<Numbers>, ReplyError> {
        let raw = pair.numbers;
        // It may be older than the reign, not newer.
        if raw.mod_revision > *self.line.span().end() {
            return Err(Outside { raw: raw.mod_revision }.into());
        }
        let numbers = shown(self.line, pair.key, raw)?;
        if numbers.is_none() {
            self.unread.insert(pair.key);
        }
        Ok(numbers)
    }

    fn keep(&mut self, body: Body<'a>) -> Result<(), ReplyError> {
        self.out.keep(body.all());
        Ok(())
    }

    /// A message of nothing but messages: `write` gives the content of each, told its field.
    fn within(
        &mut self,
        body: Body<'a>,
        mut write: impl FnMut(&mut Self, Body<'a>, u32) -> Result<(), ReplyError>,
    ) -> Result<(), ReplyError> {
        for field in body.fields() {
            let field = field?;
            match body.inner(&field) {
                Ok(inner) => {
                    let mark = self.out.open(field.number);
                    write(self, inner, field.number)?;
                    self.out.close(mark);
                }
                Err(_) => self.out.keep(body.record(&field)),
            }
        }
        Ok(())
    }

    fn txn(&mut self, body: Body<'a>, plan: Option<&Plan>, depth: usize) -> Result<(), ReplyError> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
        let succeeded = crate::request::int64_field(body.bytes, SUCCEEDED)? != 0;
        let mut response = 0;
        for field in body.fields() {
            let field = field?;
            match field.number {
                HEADER => self.header(body.inner(&field)?)?,
                RESPONSES => {
                    let plan = plan.and_then(|plan| plan.operation(succeeded, response));
                    response += 1;
                    let inner = body.inner(&field)?;
                    let mark = self.out.open(RESPONSES);
                    self.within(inner, |reply, inner, member| reply.operation(inner, member, plan, depth))?;
                    self.out.close(mark);
                }
                _ => self.out.keep(body.record(&field)),
            }
        }
        Ok(())
    }

    /// A member of ResponseOp.
    fn operation(
        &mut self,
        body: Body<'a>,
        member: u32,
        plan: Option<&Operation>,
        depth: usize,
    ) -> Result<(), ReplyError> {
        match (member, plan) {
            (RANGE, Some(Operation::Range(select))) => self.selected(body, select),
            (RANGE, _) => self.pairs(body, RANGE_PAIRS),
            (PUT, _) => self.pairs(body, PUT_PAIRS),
            (DELETE_RANGE, _) => self.pairs(body, DELETED_PAIRS),
            (TXN, Some(Operation::Txn(plan))) => self.txn(body, Some(plan), depth),
            (TXN, _) => self.txn(body, None, depth),
            _ => self.keep(body),
        }
    }
}
