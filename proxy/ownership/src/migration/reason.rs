//! Why a switch was aborted, and why a driver stops.

use serde::{Deserialize, Serialize};

use super::rows::NotNow;
use crate::id::ShardUid;
use crate::value::ValueError;

/// Why a switch was given up before the point of decision. The owner is open again, as before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason", content = "detail")]
pub enum Abort {
    #[error("it took longer than --max-pause allows: {0}")]
    MaxPause(String),
    #[error("the operator asked for it")]
    Asked,
    #[error("the target could not be reached")]
    TargetUnreachable,
    #[error("another driver has taken over")]
    Superseded,
    #[error("its driver had died or was asleep")]
    NoDriver,
    #[error("somebody else aborted it")]
    Elsewhere,
    #[error("the flip was made impossible before anybody made it")]
    Killed,
    #[error("{0}")]
    Other(String),
}

/// Why a driver does no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    #[error("another driver has taken over: the standby's fence is not the one that this driver raised")]
    Superseded,
    #[error("shard {shard}: {error}")]
    Unreadable { shard: ShardUid, error: ValueError },
    #[error(transparent)]
    NotNow(#[from] NotNow),
    #[error("no shard of the migration has an open or sealed fence of the route")]
    NoOwner,
    #[error(
        "both shards say open for reign {n}, or shard {shard} has gone back in time: see `etcd-prism shard accept`"
    )]
    Restored { shard: ShardUid, n: u64 },
    #[error("the route is being moved to shard {peer}: finish or cancel that first")]
    Other { peer: ShardUid },
    #[error(
        "by the configuration of this proxy the route owns other keys than by its fence on shard {shard}: see `etcd-prism \
         route diff`"
    )]
    Definition { shard: ShardUid },
    #[error("a migration with --no-copy={no_copy} is under way: cancel it first")]
    OtherOptions { no_copy: bool },
    #[error(
        "the data was dropped (--no-copy), so there is nothing to go back to: `complete`, then `create` the way back"
    )]
    NoWayBack,
    #[error("the definition of the route is being changed: finish or give up that first")]
    Changing,
    #[error("the route is owned by shard {owner}, not by the migration's source")]
    NotOwner { owner: ShardUid },
    #[error("no migration of the route is under way between these shards")]
    NotClaimed,
    #[error("the migration was cancelled or completed by somebody else")]
    EndedElsewhere,
    #[error("the migration is being ended: it cannot be switched any more")]
    Ending,
    #[error("the route has been switched already: use `reverse` and then `cancel`, or `complete`")]
    TooLate,
    #[error("the route has not been switched yet: use `cancel`")]
    TooEarly,
    #[error("the record of reign {n} on shard {shard} is missing: see `etcd-prism shard accept`")]
    ReignMissing { shard: ShardUid, n: u64 },
}
