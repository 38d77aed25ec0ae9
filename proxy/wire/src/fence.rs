//! Requests that a shard applies only under a fence, and what their replies say.
//!
//! A fence is a key of the proxy on each shard, one per route; its mod revision is the route's epoch there. Every request
//! built here is a Txn that compares that mod revision, in one transaction with what the client asked for, so a proxy
//! with an old idea of who owns a route changes nothing, whatever its clock says.
//!
//! Two ways lead there. Most transactions get the compare *appended*, and behind their failure branch one Range that
//! reads the fence: after a success the reply is the client's, byte for byte. Where that would be wrong the client's
//! request is *wrapped* as the success branch of a transaction of our own, and its reply lies inside ours.
//!
//! *Invariant:* a fence that does not hold means that nothing of the client's request had an effect, and that the reply
//! shows the fence as it is; one that holds, that the request had its own effect and no other. What is built from no condition, or from an epoch that no key can have, never passes.

mod reply;
mod request;

pub use reply::{BadReply, START, SeenFence, Start, Verdict, start, verdict};
pub use request::{GROWTH, GROWTH_PER_FENCE, MAX_FAILURE_GETS, delete_range, put, range, txn};

use crate::keys::KeyRange;

/// Every key of a fence begins with it: `\xffprism/fence/<route>`.
pub const PREFIX: &[u8] = b"\xffprism/fence/";

/// All fences of a shard.
pub const ALL: KeyRange<'static> = KeyRange { key: PREFIX, range_end: b"\xffprism/fence0" };

/// The key that a wrapped transaction with Puts would write where its fence does not hold. Releases of etcd from before
/// July 2026 (etcd-io/etcd#22134; 3.5.30, 3.6.8 and 3.7.0 among them) do not look into nested transactions when they judge
/// whether a request makes a full store grow: there a Put at the outermost level, in either branch, is refused in place of
/// those inside.
pub const MARKER: &[u8] = b"\xffprism/marker";

/// `mod_revision(key) == epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition<'a> {
    /// The fence's key.
    pub key: &'a [u8],
    /// The mod revision it must have. Above 0: every key that is absent has mod revision 0, so a condition of 0 or below
    /// is turned into one that never holds.
    pub epoch: i64,
}

/// How a request was fenced, which is how its reply must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A client's transaction with a compare and a failure operation more.
    Appended,
    /// A client's transaction within one of ours.
    Nested {
        /// [`MARKER`] is in its failure branch.
        marker: bool,
    },
    /// A client's Put within a transaction.
    Put,
    /// A client's DeleteRange within a transaction.
    DeleteRange,
    /// A client's Range within a transaction.
    Range,
}

impl Form {
    /// The field of the client's request in RequestOp, which is that of its reply in ResponseOp.
    fn member(self) -> u32 {
        match self {
            Form::Range => RANGE,
            Form::Put => PUT,
            Form::DeleteRange => DELETE_RANGE,
            Form::Appended | Form::Nested { .. } => TXN,
        }
    }
}

/// The members of RequestOp and of ResponseOp.
const RANGE: u32 = 1;
const PUT: u32 = 2;
const DELETE_RANGE: u32 = 3;
const TXN: u32 = 4;

#[cfg(test)]
mod tests;
