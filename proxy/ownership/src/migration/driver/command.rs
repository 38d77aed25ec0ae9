//! What a driver is asked for, and what it asks for.

use super::super::{Abort, Options, Reason};
use crate::drain::SessionList;
use crate::id::{ProxyId, ShardUid};
use crate::txn::Txn;

#[cfg(doc)]
use super::Driver;

/// What the driver is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Claim the route if nobody has, then as [`Self::Follow`].
    Create(Options),
    /// The standby is made and kept up to date.
    Follow,
    /// The route is owned by this shard, one of the two. `switch` and `reverse` are the same.
    Switch { to: ShardUid },
    /// The standby of a route that was switched ends. `abandon`: even if it cannot be reached; it is then left as it is.
    Complete { abandon: bool },
    /// The standby of a route that was never switched, or was switched back, ends.
    Cancel { abandon: bool },
    /// What nobody drives comes to rest: a seal is aborted, a flip made or made impossible. Needs no lock.
    Settle,
}

/// What to do next; one at a time. The same command is due until its outcome is told. Whatever a command needs of a shard
/// that does not answer: [`Driver::unreachable`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Read the route linearizably on one shard, then [`Driver::read`] or [`Driver::unreachable`].
    Read(ShardUid),
    /// Then [`Driver::answered`].
    Write(Txn),
    /// Delete everything of the route on the shard, rate-limited, each page on the condition that the fence has this mod
    /// revision; then [`Driver::purged`]. A page that is refused: [`Driver::refused`].
    Purge(Purge),
    /// Copy from the checkpoint on ([`Driver::stream`]) and tell [`Driver::progress`], until the copy is done.
    Copy,
    /// List the sessions of both shards linearizably, then [`Driver::listed`]. `waiting` names those who are not ready.
    ListFollowers { waiting: Vec<(ProxyId, String)> },
    /// Check what speaks against a switch: lag, verification, leases, a test write on the standby under this epoch; then
    /// [`Driver::proved`] or, if that is not to be waited for, [`Driver::give_up`].
    Prove { standby: ShardUid, epoch: i64 },
    /// List the sessions of the sealed shard linearizably, then [`Driver::drained`].
    ListSessions { shard: ShardUid, seal: i64, waiting: Vec<(ProxyId, String)> },
    /// Read the header revision of the sealed shard linearizably, with the stream stopped; then [`Driver::revision`].
    ReadRevision { shard: ShardUid, seal: i64 },
    /// Bring the standby to exactly this raw revision of the sealed shard, then [`Driver::caught_up`].
    CatchUp { seal: i64, raw: i64 },
    /// Make a test write on the standby under this epoch, read it as [`Self::Read`] does, then [`Driver::probed`] with both
    /// or [`Driver::unreachable`].
    Probe { standby: ShardUid, seal: i64, epoch: i64 },
    /// See to it that what the former owner has of leases counts for nothing any more, as far as it is of this route's keys;
    /// then [`Driver::demoted`].
    Demote { standby: ShardUid },
    /// See to it that no record of a copy of a lease on this shard names the route any more; then [`Driver::released`].
    Release { standby: ShardUid },
    /// The table on the arbiter says that the route lives on this shard; then [`Driver::relocated`].
    Relocate { to: ShardUid },
    /// Nothing to do until something changes: [`Driver::look_again`] then, and from time to time.
    Wait(Waiting),
    /// The goal is reached.
    Done(Outcome),
    /// This driver does no more.
    Stop(Reason),
}

/// A purge of everything of the route on a shard, under this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Purge {
    pub shard: ShardUid,
    pub epoch: i64,
}

/// Why there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// The standby is kept up to date ([`Driver::stream`]). `aborted` tells of the switch that was asked for last.
    Following {
        aborted: Option<Abort>,
    },
    Paused,
    Unreachable(ShardUid),
}

/// What was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The shard owns the route; the other one follows it.
    Switched {
        owner: ShardUid,
    },
    Completed,
    Cancelled,
    /// Nothing is sealed or flipping.
    Settled,
}

/// The sessions of owner and standby.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lists {
    pub owner: SessionList,
    pub standby: SessionList,
}
