//! The shards of a configuration, for commands that need no proxy.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_ownership::id::ShardUid;
use etcd_prism_ownership::identity::{self, IdentityProblem, Live};
use etcd_prism_ownership::value::{Table, TableShard, ValueError};
use etcd_prism_upstream::{ShardPool, UpstreamError};

use crate::identity::give;
use crate::reading::Reading;

/// Why the shards cannot be worked on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SiteError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("shard {shard}: {problem}")]
    Identity { shard: String, problem: IdentityProblem },
    #[error("shard {shard}: {error}")]
    Unreadable { shard: String, error: ValueError },
    #[error("shard {0}: somebody else is giving it an identity; try again")]
    Race(String),
}

/// The shards, in the order of the configuration.
#[derive(Debug)]
pub struct Site {
    pub(crate) pools: Vec<ShardPool>,
    pub(crate) patience: Duration,
}

impl Site {
    /// `patience` is the longest wait for one answer of a shard.
    pub fn new(pools: Vec<ShardPool>, patience: Duration) -> Self {
        Self { pools, patience }
    }

    /// The shards' names, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pools.iter().map(|pool| &pool.shard().name[..])
    }

    /// Reads every shard, in the order of the configuration.
    pub async fn read(&self) -> Vec<Result<Reading, UpstreamError>> {
        futures_util::future::join_all(self.pools.iter().map(|pool| Reading::of(pool, self.patience))).await
    }

    /// Reads every shard.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub async fn read_all(&self) -> Result<Vec<Reading>, UpstreamError> {
        self.read().await.into_iter().collect()
    }

    pub(crate) fn pool(&self, at: usize) -> Option<&ShardPool> {
        self.pools.get(at)
    }

    /// Who the shards are, as the table and the sessions know them. A shard that no table names and that has no identity
    /// gets one; without `write` it gets one that is not stored.
    pub(crate) async fn introduce(&self, write: bool) -> Result<Vec<TableShard>, SiteError> {
        let readings = self.read_all().await?;
        let table = best_table(&readings);
        let known = remembered(&readings);
        let live: Vec<(String, Live)> =
            self.names().map(str::to_owned).zip(readings.iter().map(|r| r.live)).collect();
        if let Some((shard, problem)) = identity::doubles(&live).into_iter().next() {
            return Err(SiteError::Identity { shard, problem });
        }
        let mut out = Vec::new();
        for ((pool, reading), (name, live)) in self.pools.iter().zip(&readings).zip(live) {
            if let Some((_, Err(error))) = &reading.identity {
                return Err(SiteError::Unreadable { shard: name, error: error.clone() });
            }
            if let Some(expected) = table.and_then(|t| t.shards.iter().find(|s| s.name == name)) {
                let known = known.get(&expected.id).copied().unwrap_or(0);
                identity::check(expected, live, known)
                    .map_err(|problem| SiteError::Identity { shard: name.clone(), problem })?;
            }
            let id = match live.id {
                Some(id) => id,
                None if !write => ShardUid(rand::random()),
                None => give(pool, live.cluster_id, 0, self.patience)
                    .await?
                    .ok_or_else(|| SiteError::Race(name.clone()))?,
            };
            out.push(TableShard { name, id, cluster_id: live.cluster_id });
        }
        Ok(out)
    }
}

/// The table of the highest generation; of equals the arbiter's.
pub(crate) fn best_table(readings: &[Reading]) -> Option<&Table> {
    let tables = readings.iter().filter_map(|reading| match &reading.snapshot.table {
        Some((_, Ok(table))) => Some((reading.live.id == Some(table.arbiter), table)),
        _ => None,
    });
    tables.max_by_key(|(arbiter, table)| (table.generation, *arbiter)).map(|(_, table)| table)
}

/// The highest revision of each shard that any shard remembers.
pub(crate) fn remembered(readings: &[Reading]) -> BTreeMap<ShardUid, i64> {
    let mut out = BTreeMap::new();
    for (shard, revision) in readings.iter().flat_map(Reading::remembered) {
        let highest = out.entry(shard).or_insert(0);
        *highest = (*highest).max(revision);
    }
    out
}
