//! Gives a shard its identity.

use std::time::Duration;

use etcd_prism_ownership::id::{ClusterId, ShardUid};
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{Identity, Stored};
use etcd_prism_proto::etcdserverpb::PutRequest;
use etcd_prism_upstream::{ShardPool, UpstreamError};

use crate::call;

/// Writes a new, random identity if the stored one is at `mod_revision` (0: there is none). Returns it, or `None` if
/// somebody else was first.
pub(crate) async fn give(
    pool: &ShardPool,
    cluster_id: ClusterId,
    mod_revision: i64,
    patience: Duration,
) -> Result<Option<ShardUid>, UpstreamError> {
    let id = ShardUid(rand::random());
    let identity = Identity { id, cluster_id, name: pool.shard().name.clone() };
    let value = identity.encode().map_err(|e| call::bad(pool, e.to_string()))?;
    let put = PutRequest { key: keys::IDENTITY.into(), value: value.into(), ..PutRequest::default() };
    let compares = [(keys::IDENTITY.to_vec(), mod_revision)];
    let answers = call::put_if(pool, &compares, vec![put], None, patience).await?;
    Ok(answers.succeeded.then_some(id))
}
