//! Revisions and versions between a route's virtual line, which clients see, and the raw line of the shard that serves it.
//!
//! A route that was never moved needs none of this: its two lines are the same. One that was moved shows its clients
//! `raw + offset` for what was written since, and what its *provenance* records say for keys that came with the copy. The
//! caller knows the line ([`Line`]) and reads provenance; this module knows every field of every message that carries a
//! revision or a version, and rewrites them in place: values stay parts of the message that was received.
//!
//! *Invariant:* 0 stays 0 ("there is none"), nothing is shown that lies outside the reign that is read, and what cannot be
//! translated is an error, never a guess.

mod compare;
mod guard;
mod line;
mod pair;
mod pieces;
mod reply;
mod request;
mod select;
mod txn;
mod watch;

pub use compare::KeyState;
pub use guard::Guarded;
pub use line::{Down, Line, Lookup, Outside, Provenance};
pub use pieces::Pieces;
pub use reply::{Header, Kind, reply};
pub use request::{RangeRewrite, compact, range, watch_create};
pub use select::Select;
pub use txn::{Plan, TxnRewrite, txn};

use bytes::Bytes;

use crate::field::Malformed;

/// Why a reply cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A lagging member answered, or the shard was written to by others.
    #[error(transparent)]
    Outside(#[from] Outside),
    /// The provenance of these keys, each named once and in order, must be looked up first.
    #[error("the provenance of {} keys is not known", .0.len())]
    Unread(Vec<Bytes>),
    /// The key's numbers and its provenance were not read at the same revision, or one of them was damaged.
    #[error("provenance that does not fit its key")]
    Provenance,
}

/// Why a request cannot be sent to the shard of this reign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// This virtual revision lies in another reign: a Range or a watch belongs there, a transaction nowhere.
    #[error("revision {0} belongs to another shard")]
    OtherReign(i64),
    /// Below the first reign that is known.
    #[error("revision {0} has been compacted")]
    Compacted(i64),
    /// A compare over a range of keys with a number that keys of the copy may have.
    #[error("compares of revisions or versions over a range cannot reach behind a migration")]
    RangeCompare,
    /// These keys, each named once and in order, must be read first, with their provenance.
    #[error("{} compared keys are not known", .0.len())]
    Unread(Vec<Bytes>),
    /// What was read of a compared key lies outside of the reign.
    #[error(transparent)]
    Outside(#[from] Outside),
    /// What was read of a compared key does not fit its provenance.
    #[error("provenance that does not fit its key")]
    Provenance,
}

#[cfg(test)]
mod tests;
