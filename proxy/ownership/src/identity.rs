//! Whether a shard is the one that it is taken for.

use std::collections::BTreeMap;

use crate::id::{ClusterId, ShardUid};
use crate::value::TableShard;

/// Why a shard is not to be trusted. Its routes are refused until an operator has looked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IdentityProblem {
    #[error(
        "the endpoints lead to etcd cluster {found}, the route table says {expected}: correct the endpoints, or run \
         `etcd-prism shard accept` if the cluster was rebuilt on purpose"
    )]
    OtherCluster { expected: ClusterId, found: ClusterId },
    #[error(
        "the shard's identity is {found}, the route table says {expected}: correct the endpoints, or run \
         `etcd-prism shard accept` if the data was replaced on purpose"
    )]
    OtherIdentity { expected: ShardUid, found: ShardUid },
    #[error(
        "the shard has lost its identity: its data was replaced; run `etcd-prism shard accept` if on purpose"
    )]
    NoIdentity,
    #[error("the shard is the same etcd cluster as shard {other}: correct the endpoints of one of them")]
    Twice { other: String },
    #[error(
        "the shard is at revision {found}, but revision {known} of it was seen before: it was restored from a backup; \
         run `etcd-prism shard accept` once no newer copy of its data runs anywhere"
    )]
    Restored { known: i64, found: i64 },
}

/// What a shard says of itself, read linearizably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Live {
    pub cluster_id: ClusterId,
    /// The stored identity, if there is one.
    pub id: Option<ShardUid>,
    /// Of the reply header.
    pub revision: i64,
}

/// Compares a shard with what the table and others know of it. `known` is the highest of its revisions that anybody
/// remembers.
///
/// # Errors
/// The shard is not the one of the table, or has gone back in time.
pub fn check(expected: &TableShard, live: Live, known: i64) -> Result<(), IdentityProblem> {
    if live.cluster_id != expected.cluster_id {
        let (expected, found) = (expected.cluster_id, live.cluster_id);
        return Err(IdentityProblem::OtherCluster { expected, found });
    }
    let found = live.id.ok_or(IdentityProblem::NoIdentity)?;
    if found != expected.id {
        return Err(IdentityProblem::OtherIdentity { expected: expected.id, found });
    }
    if live.revision < known {
        return Err(IdentityProblem::Restored { known, found: live.revision });
    }
    Ok(())
}

/// Shards that are the same cluster under two names, with the problem of each. An identity may be missing.
pub fn doubles(shards: &[(String, Live)]) -> BTreeMap<String, IdentityProblem> {
    let mut out = BTreeMap::new();
    for (i, (name, live)) in shards.iter().enumerate() {
        let twin = shards.iter().enumerate().find(|(j, (_, other))| {
            *j != i && (other.cluster_id == live.cluster_id || (other.id.is_some() && other.id == live.id))
        });
        if let Some((_, (other, _))) = twin {
            out.insert(name.clone(), IdentityProblem::Twice { other: other.clone() });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> TableShard {
        TableShard { name: "pods".into(), id: ShardUid(1), cluster_id: ClusterId(10) }
    }

    fn live(cluster: u64, id: Option<u128>, revision: i64) -> Live {
        Live { cluster_id: ClusterId(cluster), id: id.map(ShardUid), revision }
    }

    #[test]
    fn ce26_a_shard_is_known_by_cluster_identity_and_revision() {
        let problem = |live| check(&shard(), live, 100).unwrap_err();
        assert_eq!(check(&shard(), live(10, Some(1), 100), 100), Ok(()));
        assert!(matches!(problem(live(11, Some(1), 100)), IdentityProblem::OtherCluster { .. }));
        assert!(matches!(problem(live(10, Some(2), 100)), IdentityProblem::OtherIdentity { .. }));
        assert_eq!(problem(live(10, None, 100)), IdentityProblem::NoIdentity);
        assert_eq!(problem(live(10, Some(1), 99)), IdentityProblem::Restored { known: 100, found: 99 });
    }

    #[test]
    fn ce26_two_entries_of_one_cluster_are_both_named() {
        let shards = |second| [("a".to_owned(), live(10, Some(1), 1)), ("b".to_owned(), second)];
        assert!(doubles(&shards(live(11, Some(2), 1))).is_empty());
        assert!(doubles(&shards(live(11, None, 1))).is_empty());
        for second in [live(10, Some(2), 1), live(11, Some(1), 1)] {
            let found = doubles(&shards(second));
            assert_eq!(found["a"], IdentityProblem::Twice { other: "b".into() });
            assert_eq!(found["b"], IdentityProblem::Twice { other: "a".into() });
        }
    }
}
