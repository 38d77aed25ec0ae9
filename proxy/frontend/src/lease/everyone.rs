//! One question to all shards.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{ShardPool, UpstreamError};
use futures_util::future::join_all;

use super::{HOLDER_PATIENCE, PATIENCE};
use crate::context::Context;

/// Every shard's answer to a question for a lease. Who is not known to have it is given little time, so that one that hangs
/// does not delay the others' answer; and more, if the others do not `have` it.
pub(super) async fn ask_everyone<'a, T, F>(
    cx: &'a Context,
    id: i64,
    ask: impl Fn(&'a ShardPool, Duration) -> F,
    have: impl Fn(&T) -> bool,
) -> BTreeMap<ShardId, Result<T, UpstreamError>>
where
    F: Future<Output = Result<T, UpstreamError>>,
{
    let known = cx.gateway().leases.get(id).shards;
    let patience = |shard| if known.contains(&shard) { HOLDER_PATIENCE } else { PATIENCE };
    let first = cx.worker.pools().iter().map(|pool| {
        let shard = pool.shard().id;
        let answer = ask(pool, patience(shard));
        async move { (shard, answer.await) }
    });
    let mut answers: BTreeMap<_, _> = join_all(first).await.into_iter().collect();
    if answers.values().any(|answer| answer.as_ref().is_ok_and(&have)) {
        return answers;
    }
    let in_haste = |(shard, answer): &(&ShardId, &Result<T, UpstreamError>)| {
        matches!(answer, Err(UpstreamError::TimedOut { .. })) && !known.contains(shard)
    };
    let again: Vec<ShardId> = answers.iter().filter(in_haste).map(|(shard, _)| *shard).collect();
    let second = again.into_iter().map(|shard| {
        let answer = ask(cx.worker.pool(shard), HOLDER_PATIENCE);
        async move { (shard, answer.await) }
    });
    answers.extend(join_all(second).await);
    answers
}
