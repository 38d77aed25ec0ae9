//! Why a change does not happen.

use crate::value::{TableError, ValueError};

/// In words that name what to do. Shards and routes by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    #[error("no change is under way")]
    Nothing,
    #[error("the change that was under way has been ended")]
    Ended,
    #[error("given up: {0}")]
    GivenUp(String),
    #[error("somebody else has given the change up: run the command again to begin anew")]
    GivenUpElsewhere,
    #[error("the shards have no table yet: start a proxy while every shard can be reached")]
    NoTable,
    #[error("the first table is not on shard {shard} yet: start a proxy while every shard can be reached")]
    FirstStart { shard: String },
    #[error("shard {shard} is the arbiter of the table and cannot be taken out of it")]
    ArbiterGone { shard: String },
    #[error("shard {shard} is to be taken out but still has route {route}: move the route first")]
    ShardInUse { shard: String, route: String },
    #[error(
        "the arbiter {arbiter} is behind shard {shard}: it was restored from a backup; run `etcd-prism shard accept`"
    )]
    Restored { arbiter: String, shard: String },
    #[error("shard {shard} names another arbiter than the others: it belongs to another set of shards")]
    OtherArbiter { shard: String },
    #[error("shard {shard}: {error}")]
    Unreadable { shard: String, error: ValueError },
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(
        "another change is under way: finish it with `etcd-prism route apply` and its configuration, or end it with \
         `etcd-prism route abort`"
    )]
    Other,
    #[error("route {route} is {found} on shard {shard}, not open there as the table says")]
    NotOpen { route: String, shard: String, found: String },
    #[error("route {route} is being migrated: finish or cancel that first")]
    Migrating { route: String },
    #[error(
        "route {route} was moved with `etcd-prism migrate` and has a line of revisions of its own: which keys it owns cannot \
         be changed"
    )]
    Moved { route: String },
    #[error("the fence of route {route} on shard {shard} has another definition than the table")]
    Definition { route: String, shard: String },
    #[error("route {route} is already {found} on shard {shard}")]
    Occupied { route: String, shard: String, found: &'static str },
    #[error(
        "shard {shard} holds keys that would change shards (such as {key:?}): move them with `etcd-prism migrate`, or \
         delete them"
    )]
    Keys { shard: String, key: String },
    #[error(
        "clients have seen revision {seen} of keys that would go to shard {shard}, which is at {found}: their watches \
         would miss events; migrate instead, or pass --lower-revisions if no client uses these keys"
    )]
    LowerRevision { shard: String, seen: i64, found: i64 },
}
