//! Transactions that mean what they should only while some keys live the life in which they were seen.

use bytes::{Bytes, BytesMut};

use crate::fence::MARKER;
use crate::field::{Fields, Malformed};
use crate::patch::Patch;
use crate::request::union_member;
use crate::varint;

/// `create_revision(key) == create_revision`, raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guard<'a> {
    pub(super) key: &'a [u8],
    pub(super) create_revision: i64,
}

/// The fields of TxnRequest and TxnResponse, and of RequestOp and ResponseOp.
const COMPARE: u32 = 1;
const SUCCESS: u32 = 2;
const FAILURE: u32 = 3;
const HEADER: u32 = 1;
const SUCCEEDED: u32 = 2;
const RESPONSES: u32 = 3;
const PUT: u32 = 2;
const TXN: u32 = 4;

/// `If guards Then [message] Else [marker]`. The marker, where the message puts, is for shards that are full: see
/// [`crate::fence::MARKER`].
pub(super) fn wrap(message: &[u8], guards: &[Guard<'_>], puts: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 64 * (guards.len() + 1));
    for guard in guards {
        // EQUAL is result 0, CREATE is target 1.
        let compare = Patch::new().varint(2, 1).bytes(3, guard.key).int64(5, guard.create_revision);
        out.extend_from_slice(Patch::new().bytes(COMPARE, compare.as_slice()).as_slice());
    }
    let len = message.len();
    open(&mut out, SUCCESS, 1 + varint::len(len as u64) + len);
    open(&mut out, TXN, len);
    out.extend_from_slice(message);
    if puts {
        let put = Patch::new().bytes(1, MARKER).bytes(2, b"\0");
        let put = Patch::new().bytes(PUT, put.as_slice());
        out.extend_from_slice(Patch::new().bytes(FAILURE, put.as_slice()).as_slice());
    }
    out.freeze()
}

fn open(out: &mut BytesMut, number: u32, len: usize) {
    varint::put(out, u64::from(number) << 3 | 2);
    varint::put(out, len as u64);
}

/// What the reply to a guarded transaction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// Nothing was done: a key is not what it was. Forget what was seen of the compared keys, and read them again.
    Missed,
    /// The client's own reply, raw. Its header is empty: `revision` and `raft_term` are the outer header's.
    Passed { reply: Bytes, revision: i64, raft_term: u64 },
}

impl Guarded {
    /// Reads the reply to a transaction that was wrapped in guards ([`super::TxnRewrite::is_guarded`]).
    pub fn read(message: &Bytes) -> Result<Self, Malformed> {
        let (mut revision, mut raft_term, mut succeeded, mut response) = (0, 0, false, None);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                HEADER => {
                    let header = field.bytes()?;
                    revision = crate::request::int64_field(header, 3)?;
                    raft_term = crate::request::int64_field(header, 4)? as u64;
                }
                SUCCEEDED => succeeded = field.bool()?,
                RESPONSES => response = Some(field.bytes()?),
                _ => {}
            }
        }
        if !succeeded {
            return Ok(Self::Missed);
        }
        let inner = response.map(|response| union_member(response, 4)).transpose()?.flatten();
        let Some(inner) = inner.filter(|inner| inner.number == TXN) else { return Err(Malformed::Union) };
        Ok(Self::Passed { reply: message.slice_ref(inner.bytes()?), revision, raft_term })
    }
}
