//! Why a route cannot be served, in words that name what to do.

use crate::definition::DefinitionHash;
use crate::id::ShardUid;
use crate::identity::IdentityProblem;
use crate::value::ValueError;

/// Why a route waits or is refused. Shards are named as in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    // Wait: these pass by themselves, or as soon as a shard can be reached.
    #[error("the fence has not been read yet: shards {} were not reached", list(.shards))]
    Unread { shards: Vec<String> },
    #[error("shard {shard} has not said yet who it is")]
    Unidentified { shard: String },
    #[error("no shard has a fence of the route: it is created once every shard can be reached")]
    Missing,
    #[error(
        "the route is {state} on shard {shard}: it is moving or changing; if nobody drives that any more, run the \
         command again (`etcd-prism route apply`, or `etcd-prism migrate`)"
    )]
    Moving { shard: String, state: &'static str },
    #[error(
        "shard {shard} says open for reign {n}, another shard knows of reign {known}: the fence is read again"
    )]
    Rereading { shard: String, n: u64, known: u64 },
    #[error("shard {last} rules the route no more; whether shard {shard} does is being read")]
    Successor { shard: String, last: String },
    #[error("the record of reign {n} on shard {shard} has not been read yet")]
    ReignUnread { shard: String, n: u64 },

    // Refuse: an operator has to look.
    #[error(
        "the record of reign {n} is missing on shard {shard}: somebody deleted a key of the proxies'; without it nobody \
         knows which watches would miss events; `etcd-prism shard accept` makes another one, and all clients list again"
    )]
    ReignMissing { shard: String, n: u64 },
    #[error(
        "this proxy's table gives the route other keys ({ours:?}) than its fence on shard {shard} ({stored:?}): give \
         every proxy the same [[route]] entries, or run `etcd-prism route apply` to change what is stored"
    )]
    Definition { shard: String, ours: DefinitionHash, stored: DefinitionHash },
    #[error("shard {shard}: {problem}")]
    Identity { shard: String, problem: IdentityProblem },
    #[error(
        "the fence on shard {shard} was written for the shard {written_for}: the data is a copy of another shard's; \
         correct the endpoints, or run `etcd-prism shard accept`"
    )]
    Foreign { shard: String, written_for: ShardUid },
    #[error("shard {shard}: {error}")]
    Unreadable { shard: String, error: ValueError },
    #[error(
        "the fence on shard {shard} was at revision {known} and is now at {found} (0: gone), which no proxy does: the \
         shard was restored from a backup or somebody wrote to the reserved keys; run `etcd-prism shard accept` once \
         you know that its data is the newest"
    )]
    WentBack { shard: String, known: i64, found: i64 },
    #[error(
        "shard {shard} says open for reign {n}, but reign {known} has begun elsewhere: shard {shard} was restored from \
         a backup; its copy of the route is not used"
    )]
    Restored { shard: String, n: u64, known: u64 },
    #[error(
        "shards {first} and {second} both say open for reign {n}: one is a copy of the other; stop one of them and run \
         `etcd-prism shard accept`"
    )]
    TwoOwners { first: String, second: String, n: u64 },
    #[error(
        "no shard of this configuration has an open fence of the route (shard {shard} says {state}): add the shard \
         that rules it, or see `etcd-prism fence show`"
    )]
    NoOwner { shard: String, state: &'static str },
    #[error("the route table: {0}")]
    Table(String),
}

fn list(shards: &[String]) -> String {
    shards.join(", ")
}
