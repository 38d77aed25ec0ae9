//! Changes to messages: fields that are appended, ranges that are cut.

use bytes::{BufMut, Bytes, BytesMut};

use crate::field::{Fields, Malformed};
use crate::keys::{CLIENT_END, KeyRange};
use crate::varint;

/// Fields to append to a message. Appending overrides scalars and merges into embedded messages.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    bytes: BytesMut,
}

impl Patch {
    pub fn new() -> Self {
        Self::default()
    }

    /// A varint field. Zero is written too: it has to override.
    pub fn varint(mut self, number: u32, value: u64) -> Self {
        self.tag(number, 0);
        varint::put(&mut self.bytes, value);
        self
    }

    pub fn int64(self, number: u32, value: i64) -> Self {
        self.varint(number, value as u64)
    }

    /// A varint field that always takes the same room: the size is known before the value is.
    pub fn int64_fixed_width(mut self, number: u32, value: i64) -> Self {
        self.tag(number, 0);
        varint::put_padded(&mut self.bytes, value as u64, varint::MAX_LEN);
        self
    }

    pub fn bytes(mut self, number: u32, value: &[u8]) -> Self {
        self.tag(number, 2);
        varint::put(&mut self.bytes, value.len() as u64);
        self.bytes.put_slice(value);
        self
    }

    /// The `key` and `range_end` fields of a request.
    pub fn keys(self, fields: (u32, u32), keys: KeyRange<'_>) -> Self {
        self.bytes(fields.0, keys.key).bytes(fields.1, keys.range_end)
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        varint::put(&mut self.bytes, u64::from(number) << 3 | wire_type);
    }
}

/// The header fields of every reply that are the proxy's own, as a patch: `ResponseHeader{cluster_id, member_id}` merges
/// into the shard's header and leaves its revision and term.
pub fn header(cluster_id: u64, member_id: u64) -> Patch {
    let inner = Patch::new().varint(1, cluster_id).varint(2, member_id);
    Patch::new().bytes(1, inner.as_slice())
}

/// A patch of a whole `ResponseHeader`, for a message that has none.
pub fn header_of(cluster_id: u64, member_id: u64, revision: i64, raft_term: u64) -> Patch {
    let ids = Patch::new().varint(1, cluster_id).varint(2, member_id);
    Patch::new().bytes(1, ids.int64(3, revision).varint(4, raft_term).as_slice())
}

/// A patch of `ResponseHeader{cluster_id, member_id, revision}`, always of the same size.
pub fn header_at(cluster_id: u64, member_id: u64, revision: i64) -> Patch {
    let inner = Patch::new().varint(1, cluster_id).varint(2, member_id).int64_fixed_width(3, revision);
    Patch::new().bytes(1, inner.as_slice())
}

/// The fields `(key, range_end)` of RangeRequest, DeleteRangeRequest and WatchCreateRequest.
pub const RANGE_KEYS: (u32, u32) = (1, 2);
/// The fields `(key, range_end)` of Compare.
const COMPARE_KEYS: (u32, u32) = (3, 64);

/// What a range that clients may not see is turned into: it holds no key on any shard.
pub const NOTHING: KeyRange<'static> = KeyRange { key: CLIENT_END, range_end: CLIENT_END };

/// The patch that keeps a range away from reserved keys; `None` if it does not reach them.
pub fn clamp(fields: (u32, u32), keys: KeyRange<'_>) -> Option<Patch> {
    keys.touches_reserved().then(|| Patch::new().keys(fields, keys.clamped().unwrap_or(NOTHING)))
}

/// Rewrites a TxnRequest so that none of its compares and ranges, at any depth, reaches reserved keys. Fields that are
/// unknown are kept. The message must have passed [`crate::request::txn`], and no operation may write reserved keys.
pub fn clamp_txn(message: &[u8]) -> Result<Bytes, Malformed> {
    let mut out = BytesMut::with_capacity(message.len() + 16);
    rewrite(message, &mut out, &mut |number, body, out| match number {
        1 => append_clamp(COMPARE_KEYS, body, out),
        2 | 3 => rewrite(body, out, &mut |number, body, out| match number {
            1 | 3 => append_clamp(RANGE_KEYS, body, out),
            4 => {
                out.extend_from_slice(&clamp_txn(body)?);
                Ok(())
            }
            _ => {
                out.extend_from_slice(body);
                Ok(())
            }
        }),
        _ => {
            out.extend_from_slice(body);
            Ok(())
        }
    })?;
    Ok(out.freeze())
}

fn append_clamp(fields: (u32, u32), body: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
    let keys = KeyRange::new(
        crate::request::bytes_field(body, fields.0)?,
        crate::request::bytes_field(body, fields.1)?,
    );
    out.extend_from_slice(body);
    if let Some(patch) = clamp(fields, keys) {
        out.extend_from_slice(patch.as_slice());
    }
    Ok(())
}

type Edit<'e> = &'e mut dyn FnMut(u32, &[u8], &mut BytesMut) -> Result<(), Malformed>;

/// Copies a message, giving the body of every length-delimited field to `edit`.
fn rewrite(message: &[u8], out: &mut BytesMut, edit: Edit<'_>) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        match field.bytes() {
            Ok(body) => {
                let mut edited = BytesMut::with_capacity(body.len() + 16);
                edit(field.number, body, &mut edited)?;
                varint::put(out, u64::from(field.number) << 3 | 2);
                varint::put(out, edited.len() as u64);
                out.extend_from_slice(&edited);
            }
            Err(_) => out.extend_from_slice(&message[field.start..field.end]),
        }
    }
    Ok(())
}

/// Wraps a message as field `number` of an outer message, with a patch appended to it.
pub fn wrap(number: u32, message: &[u8], patch: &Patch) -> Bytes {
    let len = message.len() + patch.as_slice().len();
    let mut out = BytesMut::with_capacity(len + 16);
    varint::put(&mut out, u64::from(number) << 3 | 2);
    varint::put(&mut out, len as u64);
    out.extend_from_slice(message);
    out.extend_from_slice(patch.as_slice());
    out.freeze()
}

#[cfg(test)]
mod tests;
