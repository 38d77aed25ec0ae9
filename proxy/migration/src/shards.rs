//! The shards by name and identity.

use std::sync::Arc;

use etcd_prism_control::Ownership;
use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{ShardPool, UpstreamError};

/// The configured shards, with the identities that ownership has read.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    own: Arc<Ownership>,
    pools: Arc<[Arc<ShardPool>]>,
}

impl Shards {
    /// `pools` in the order of the shards' ids.
    pub(crate) fn new(own: Arc<Ownership>, pools: Vec<Arc<ShardPool>>) -> Self {
        Self { own, pools: pools.into() }
    }

    pub(crate) fn pools(&self) -> &[Arc<ShardPool>] {
        &self.pools
    }

    /// The identity of a shard, once it was read.
    pub(crate) fn id_of(&self, at: usize) -> Option<ShardUid> {
        self.own.shard_uid(ShardId(u16::try_from(at).ok()?))
    }

    pub(crate) fn pool(&self, id: ShardUid) -> Option<&Arc<ShardPool>> {
        self.at(id).and_then(|at| self.pools.get(at))
    }

    /// # Errors
    /// The configuration has no such shard, or it is not identified yet.
    pub(crate) fn get(&self, id: ShardUid) -> Result<Arc<ShardPool>, UpstreamError> {
        self.pool(id).cloned().ok_or_else(|| UpstreamError::Unreachable {
            shard: id.to_string(),
            reason: "the configuration has no shard of this identity, or it is not identified yet".to_owned(),
        })
    }

    /// The shard's name; its identity if the configuration does not have it.
    pub(crate) fn name(&self, id: ShardUid) -> String {
        self.pool(id).map_or_else(|| id.to_string(), |pool| pool.shard().name.clone())
    }

    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|pool| pool.shard().name == name)
    }

    fn at(&self, id: ShardUid) -> Option<usize> {
        (0..self.pools.len()).find(|at| self.id_of(*at) == Some(id))
    }
}
