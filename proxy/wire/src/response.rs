//! What the proxy must know of a reply.

use bytes::{Bytes, BytesMut};

use crate::field::{Fields, Malformed};

/// `ResponseHeader.revision` of any reply (its header is field 1 everywhere). 0 if there is none.
pub fn revision(message: &[u8]) -> Result<i64, Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 1 {
            return header_revision(field.bytes()?);
        }
    }
    Ok(0)
}

fn header_revision(header: &[u8]) -> Result<i64, Malformed> {
    crate::request::int64_field(header, 3)
}

/// A KeyValue, in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    pub key: &'a [u8],
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub value: &'a [u8],
}

/// Reads a KeyValue.
pub fn key_value(message: &[u8]) -> Result<KeyValue<'_>, Malformed> {
    let mut out = KeyValue::default();
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => out.key = field.bytes()?,
            2 => out.create_revision = field.int64()?,
            3 => out.mod_revision = field.int64()?,
            4 => out.version = field.int64()?,
            5 => out.value = field.bytes()?,
            _ => {}
        }
    }
    Ok(out)
}

/// A RangeResponse: the pairs as whole records (tag and length included), so that records of several replies can be put
/// one after the other.
#[derive(Debug, Clone, Default)]
pub struct RangeReply<'a> {
    pub revision: i64,
    pub more: bool,
    pub count: i64,
    /// `(record, KeyValue)` of each pair.
    pub kvs: Vec<(&'a [u8], &'a [u8])>,
    /// From the first record to the end of the last. etcd writes them one after the other.
    pub span: &'a [u8],
}

impl RangeReply<'_> {
    /// The records one after the other: a part of `message`, which this was read from, where they lie so.
    pub fn records(&self, message: &Bytes) -> Bytes {
        let len = self.kvs.iter().map(|(record, _)| record.len()).sum();
        if self.span.len() == len {
            return message.slice_ref(self.span);
        }
        let mut joined = BytesMut::with_capacity(len);
        for (record, _) in &self.kvs {
            joined.extend_from_slice(record);
        }
        joined.freeze()
    }
}

/// Reads a RangeResponse.
pub fn range(message: &[u8]) -> Result<RangeReply<'_>, Malformed> {
    let mut out = RangeReply::default();
    let mut first = None;
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => out.revision = header_revision(field.bytes()?)?,
            2 => {
                out.kvs.push((&message[field.start..field.end], field.bytes()?));
                out.span = &message[*first.get_or_insert(field.start)..field.end];
            }
            3 => out.more = field.bool()?,
            4 => out.count = field.int64()?,
            _ => {}
        }
    }
    Ok(out)
}

/// As many bytes of a RangeStreamResponse as [`chunk_starts_with_header`] needs: a tag, a length and a tag.
pub const CHUNK_START: usize = 12;

/// Whether the RangeResponse in a RangeStreamResponse begins with a header, judged by the first [`CHUNK_START`] bytes of
/// the message or by all of a shorter one. etcd writes fields in the order of their numbers, and the header is the first.
pub fn chunk_starts_with_header(start: &[u8]) -> bool {
    const FIRST_FIELD: u8 = 0x0a;
    let Some((&FIRST_FIELD, rest)) = start.split_first() else { return false };
    let length = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    rest.get(length) == Some(&FIRST_FIELD)
}

/// A WatchResponse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watch<'a> {
    pub revision: i64,
    pub watch_id: i64,
    pub created: bool,
    pub canceled: bool,
    pub compact_revision: i64,
    pub cancel_reason: &'a [u8],
    pub fragment: bool,
    pub events: usize,
    /// Mod revisions of the first and the last event; events come in order.
    pub first_mod_revision: i64,
    pub last_mod_revision: i64,
}

impl Watch<'_> {
    /// By clientv3's rule: nothing but a header with a revision.
    pub fn is_progress(&self) -> bool {
        self.events == 0
            && !self.created
            && !self.canceled
            && self.compact_revision == 0
            && self.revision != 0
    }
}

/// Reads a WatchResponse. Only the first and the last event are looked into.
pub fn watch(message: &[u8]) -> Result<Watch<'_>, Malformed> {
    let mut out = Watch::default();
    let (mut first_event, mut last_event) = (None, None);
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => out.revision = header_revision(field.bytes()?)?,
            2 => out.watch_id = field.int64()?,
            3 => out.created = field.bool()?,
            4 => out.canceled = field.bool()?,
            5 => out.compact_revision = field.int64()?,
            6 => out.cancel_reason = field.bytes()?,
            7 => out.fragment = field.bool()?,
            11 => {
                out.events += 1;
                last_event = Some(field.bytes()?);
                first_event = first_event.or(last_event);
            }
            _ => {}
        }
    }
    if let (Some(first), Some(event)) = (first_event, last_event) {
        out.first_mod_revision = event_key_value(first)?.mod_revision;
        out.last_mod_revision = event_key_value(event)?.mod_revision;
    }
    Ok(out)
}

fn event_key_value(event: &[u8]) -> Result<KeyValue<'_>, Malformed> {
    key_value(crate::request::bytes_field(event, 2)?)
}

/// Drops the events for which `keep(key, mod_revision)` is false. Gives the message without them and how many are left.
pub fn filter_events(
    message: &[u8],
    keep: &mut dyn FnMut(&[u8], i64) -> bool,
) -> Result<(bytes::BytesMut, usize), Malformed> {
    let mut out = bytes::BytesMut::with_capacity(message.len());
    let mut left = 0;
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 11 {
            let kv = event_key_value(field.bytes()?)?;
            if !keep(kv.key, kv.mod_revision) {
                continue;
            }
            left += 1;
        }
        out.extend_from_slice(&message[field.start..field.end]);
    }
    Ok((out, left))
}

#[cfg(test)]
mod tests;
