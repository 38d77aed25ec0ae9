//! A migration: the moving of one route from the shard that owns it to another one, and back.
//!
//! What counts is in the two fences. Each step ([`rows`]) is one Txn on the mod revision of one fence; what it takes from
//! the other shard may be old, and only facts that never change again are taken. The commit point is the flip, on the
//! target's fence. The [`Record`] holds what is not decided by fences: options, checkpoints, who drives, what is wanted.
//!
//! [`Driver`] says what is due, from what was read; all IO is its caller's. Whoever wants to bring a seal or a flip that
//! nobody drives to rest runs one with [`Goal::Settle`], which needs no lock and raises nothing.

mod driver;
mod reason;
mod record;
pub mod rows;
mod view;

pub use driver::{Bound, Command, Driver, Goal, Lists, Outcome, Purge, Stream, Waiting};
pub use reason::{Abort, Reason};
pub use record::{
    Checkpoint, CopyPoint, Counts, DriverClaim, Edit, Event, HexKey, Options, Phase, Record, Throttle,
    Timings, VerifyPoint, Want,
};
pub use view::{Standing, View};

#[cfg(test)]
mod tests;
