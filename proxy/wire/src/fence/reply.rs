//! Reads the replies to fenced requests, without decoding what is the client's.
//!
//! etcd writes fields in the order of their numbers: the header, whether the transaction succeeded, the responses. So the
//! first bytes of a reply tell where the client's part begins and ends, and the rest can be passed on as it comes.

use bytes::{Bytes, BytesMut};

use super::{ALL, Condition, Form, RANGE};
use crate::field::{Fields, Malformed};
use crate::request::union_member;
use crate::response;
use crate::varint;

/// [`start`] has decided by the time it has this many bytes of a reply.
pub const START: usize = MAX_HEADER + 8 * varint::MAX_LEN;

/// Longest header that is read, in bytes. etcd's have below 50.
const MAX_HEADER: usize = 1024;

/// The fields of TxnResponse.
const HEADER: u32 = 1;
const SUCCEEDED: u32 = 2;
const RESPONSES: u32 = 3;

/// No shard answers a fenced request like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("reply to a fenced transaction: {0}")]
    Unexpected(&'static str),
}

/// What the first bytes of a reply say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Not enough of them.
    More,
    /// The fences held. The client's own reply is `len` bytes of the message from `skip` on. What comes behind them is not
    /// the client's: nothing, with every etcd so far. In a wrapped request's reply the header names no cluster, and for a
    /// transaction it is empty: `revision` and `raft_term` are the outer header's.
    Passed { skip: usize, len: usize, revision: i64, raft_term: u64 },
    /// The transaction failed: the whole message has to be looked at, by [`verdict`].
    Failed,
}

/// Judges a reply by its first bytes. `message_len` is the length of the whole message, from its frame; `first` may be any
/// part of it from its beginning on. A decision does not change when more bytes are given.
pub fn start(form: Form, message_len: usize, first: &[u8]) -> Result<Start, BadReply> {
    let mut at = Cursor { seen: &first[..first.len().min(message_len)], at: 0, message_len };
    let Some(header) = at.record(HEADER)? else { return Ok(Start::More) };
    if header > MAX_HEADER {
        return Err(BadReply::Unexpected("header too long"));
    }
    let Some(header) = at.take(header) else { return Ok(Start::More) };
    let (revision, raft_term) = read_header(header)?;
    if at.is_at_end() {
        return Ok(Start::Failed);
    }
    let Some(tag) = at.varint()? else { return Ok(Start::More) };
    if tag == tag_of(RESPONSES, 2) {
        return Ok(Start::Failed);
    }
    if tag != tag_of(SUCCEEDED, 0) {
        return Err(BadReply::Unexpected("fields out of order"));
    }
    match at.varint()? {
        None => return Ok(Start::More),
        Some(0) => return Ok(Start::Failed),
        Some(_) => {}
    }
    if form == Form::Appended {
        return Ok(Start::Passed { skip: 0, len: message_len, revision, raft_term });
    }
    let Some(response) = at.record(RESPONSES)? else { return Ok(Start::More) };
    let end = at.at + response;
    let Some(len) = at.record(form.member())? else { return Ok(Start::More) };
    if at.at + len > end {
        return Err(Malformed::Length.into());
    }
    Ok(Start::Passed { skip: at.at, len, revision, raft_term })
}

fn tag_of(number: u32, wire_type: u64) -> u64 {
    u64::from(number) << 3 | wire_type
}

fn read_header(header: &[u8]) -> Result<(i64, u64), Malformed> {
    let (mut revision, mut raft_term) = (0, 0);
    for field in Fields::new(header) {
        let field = field?;
        match field.number {
            3 => revision = field.int64()?,
            4 => raft_term = field.varint()?,
            _ => {}
        }
    }
    Ok((revision, raft_term))
}

/// Reads a message of which only the beginning is there. `None` everywhere: more bytes are needed, and will come.
struct Cursor<'a> {
    seen: &'a [u8],
    at: usize,
    message_len: usize,
}

impl<'a> Cursor<'a> {
    fn is_at_end(&self) -> bool {
        self.at == self.message_len
    }

    fn varint(&mut self) -> Result<Option<u64>, Malformed> {
        let rest = &self.seen[self.at..];
        match varint::read(rest) {
            Some((value, len)) => {
                self.at += len;
                Ok(Some(value))
            }
            None if rest.len() < varint::MAX_LEN && self.seen.len() < self.message_len => Ok(None),
            None => Err(Malformed::Varint),
        }
    }

    /// The length of the field `number`, which must be next. Its content need not be there, but must fit the message.
    fn record(&mut self, number: u32) -> Result<Option<usize>, BadReply> {
        let Some(tag) = self.varint()? else { return Ok(None) };
        if tag != tag_of(number, 2) {
            return Err(BadReply::Unexpected("another field in its place"));
        }
        let Some(len) = self.varint()? else { return Ok(None) };
        let len = usize::try_from(len).map_err(|_| Malformed::Length)?;
        if len > self.message_len - self.at { Err(Malformed::Length.into()) } else { Ok(Some(len)) }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.seen.get(self.at..self.at + len)?;
        self.at += len;
        Some(bytes)
    }
}

/// Why a transaction failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The fences held and the client's compares did not: the client's own reply.
    Client(Bytes),
    /// A fence did not hold: nothing was applied. The fences as they are, in the order of the conditions.
    Refused(Vec<SeenFence>),
}

/// A fence as a shard showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFence {
    pub key: Bytes,
    /// 0: there is none.
    pub mod_revision: i64,
    pub value: Bytes,
}

/// Judges a whole reply for which [`start`] gave [`Start::Failed`]. `conditions` are those that the request was built
/// with. Fences are copied, so that whoever remembers one does not keep the message.
pub fn verdict(form: Form, message: &Bytes, conditions: &[Condition<'_>]) -> Result<Verdict, BadReply> {
    let (mut responses, mut last) = (0usize, None);
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            SUCCEEDED if field.bool()? => return Err(BadReply::Unexpected("succeeded, said too late")),
            RESPONSES => {
                responses += 1;
                last = Some((field.start..field.end, field.bytes()?));
            }
            _ => {}
        }
    }
    let Some((record, response)) = last else { return Err(BadReply::Unexpected("no response")) };
    let ours = 1 + usize::from(form == (Form::Nested { marker: true }));
    if form != Form::Appended && responses != ours {
        return Err(BadReply::Unexpected("another number of responses"));
    }
    let fences = match union_member(response, 4)? {
        Some(member) if member.number == RANGE => seen(member.bytes()?, conditions)?,
        _ => return Err(BadReply::Unexpected("another response in place of the fence")),
    };
    let held = !conditions.is_empty()
        && conditions.iter().zip(&fences).all(|(c, fence)| c.epoch > 0 && c.epoch == fence.mod_revision);
    if !held {
        return Ok(Verdict::Refused(fences));
    }
    if form != Form::Appended {
        return Err(BadReply::Unexpected("refused by a fence that holds"));
    }
    Ok(Verdict::Client(without(message, record)))
}

/// The fences of `conditions` in a RangeResponse.
fn seen(range: &[u8], conditions: &[Condition<'_>]) -> Result<Vec<SeenFence>, BadReply> {
    let mut fences: Vec<SeenFence> = conditions
        .iter()
        .map(|c| SeenFence { key: Bytes::copy_from_slice(c.key), mod_revision: 0, value: Bytes::new() })
        .collect();
    for (_, kv) in response::range(range)?.kvs {
        let kv = response::key_value(kv)?;
        let asked = fences.iter_mut().filter(|fence| fence.key == kv.key);
        let mut known = conditions.len() != 1 && ALL.contains(kv.key);
        for fence in asked {
            known = true;
            fence.mod_revision = kv.mod_revision;
            fence.value = Bytes::copy_from_slice(kv.value);
        }
        if !known {
            return Err(BadReply::Unexpected("another key in place of the fence"));
        }
    }
    Ok(fences)
}

/// The message without one of its records; a part of it where that is the last.
fn without(message: &Bytes, record: std::ops::Range<usize>) -> Bytes {
    if record.end == message.len() {
        return message.slice(..record.start);
    }
    let mut out = BytesMut::with_capacity(message.len() - record.len());
    out.extend_from_slice(&message[..record.start]);
    out.extend_from_slice(&message[record.end..]);
    out.freeze()
}
