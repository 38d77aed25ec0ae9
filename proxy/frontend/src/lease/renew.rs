//! One renewal.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{Call, Class, Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::frame;
use prost::Message;
use tokio::time::Instant;

use super::copies::look_closer;
use super::everyone::ask_everyone;
use super::holders::{Holders, has_records, shard_of};
use super::{NO_LEASE, shown};
use crate::context::Context;
use crate::kv::forward;

/// Longest time for all that one renewal asks the shards.
const BOUND: Duration = Duration::from_secs(3);

/// Renews on every shard and answers the lowest TTL; 0 where the lease has ended.
pub(super) async fn renew(cx: &Context, id: i64) -> Result<Bytes, UpstreamError> {
    let deadline = Instant::now() + BOUND;
    let registry = &cx.gateway().leases;
    let saw = registry.get(id).shards;
    let mut holders = Holders { owed: registry.owed_by(id), ..Holders::default() };
    let asked = shown(cx, id);
    // What was revoked ends, also where that could not be told yet.
    let may_have = |shard: ShardId| asked != NO_LEASE && !holders.owed.contains(&shard);
    let answers = ask_everyone(
        cx,
        asked,
        |pool, patience| {
            let id = if may_have(pool.shard().id) { asked } else { NO_LEASE };
            ask(cx, pool, id, patience)
        },
        |reply| reply.ttl > 0,
    )
    .await;
    let (mut lowest, mut absent): (Option<LeaseKeepAliveResponse>, _) = (None, None);
    let (mut alive, mut failed, mut missed) = (BTreeSet::new(), Vec::new(), false);
    for (shard, answer) in answers {
        match answer {
            Ok(reply) if reply.ttl > 0 => {
                registry.on_shard(id, shard);
                alive.insert((shard, reply.ttl));
                if lowest.as_ref().is_none_or(|l| reply.ttl < l.ttl) {
                    lowest = Some(reply);
                }
            }
            Ok(reply) => {
                missed |= may_have(shard) && saw.contains(&shard);
                absent = Some(reply);
            }
            // Nobody has to be asked for what has ended anyway.
            Err(error) if may_have(shard) => failed.push((shard, error)),
            Err(_) => {}
        }
    }
    holders.alive = alive.into_iter().collect();
    holders.failed = failed.into_iter().collect();
    let Some(lowest) = lowest else {
        // It may be alive there.
        if let Some(error) = holders.failed.into_values().next() {
            return Err(error);
        }
        registry.forget(id);
        return Ok(answer(cx, id, 0, absent.unwrap_or_default()));
    };
    let ended = if has_records(cx) {
        // The lists decide: what is remembered may be of an older lease of that id.
        let look = ended_elsewhere(cx, id, &mut holders, &saw);
        cx.worker.pools().len() > 1 && tokio::time::timeout_at(deadline, look).await.unwrap_or(false)
    } else {
        missed
    };
    if !ended {
        return Ok(answer(cx, id, lowest.ttl, lowest));
    }
    // It has lost a part of its keys, so the rest has to go.
    let known = registry.get(id).shards;
    let silent = holders.failed.into_keys().filter(|shard| known.contains(shard));
    for shard in holders.alive.into_keys().chain(silent) {
        registry.owe_revoke(id, shard);
    }
    registry.forget(id);
    Ok(answer(cx, id, 0, absent.unwrap_or(lowest)))
}

async fn ask(
    cx: &Context,
    pool: &ShardPool,
    id: i64,
    patience: Duration,
) -> Result<LeaseKeepAliveResponse, UpstreamError> {
    let frame = rpc::frame_of(&LeaseKeepAliveRequest { id });
    let mut call = forward::call(cx, rpc::LEASE_KEEP_ALIVE, frame, Class::Unary, Retry::OnceElsewhere);
    call.metadata.remove("grpc-timeout");
    rpc::unary(pool, Call { timeout: Some(patience), ..call }).await
}

/// Whether a shard that has had the lease, by the lists of those that have it, has lost it. Lists that are not whole, because
/// whoever brought the lease did not get that far, are made so.
async fn ended_elsewhere(cx: &Context, id: i64, holders: &mut Holders, saw: &BTreeSet<ShardId>) -> bool {
    match look_elsewhere(cx, id, holders, saw).await {
        Ok(ended) => ended,
        // It is looked at again with the next renewal.
        Err(error) => {
            tracing::debug!(lease = id, %error, "whether a lease has ended elsewhere is not known");
            false
        }
    }
}

async fn look_elsewhere(
    cx: &Context,
    id: i64,
    holders: &mut Holders,
    saw: &BTreeSet<ShardId>,
) -> Result<bool, UpstreamError> {
    let mut lists = holders.lists(cx, id).await?;
    let list = lists.merged();
    for (of, record) in &list {
        let Some(shard) = shard_of(cx, *of) else { continue };
        // From now on it is waited for as long as for any that has the lease, or no longer than for others.
        if lists.is_copy(*of) {
            cx.gateway().leases.not_held(id, shard);
        } else if record.granted {
            cx.gateway().leases.on_shard(id, shard);
        }
    }
    if holders.lost(cx, id, &list, saw).await? {
        return Ok(true);
    }
    let alive = holders.identities(cx)?;
    look_closer(cx, id, &mut lists, &alive).await;
    if lists.are_whole(&alive) {
        return Ok(false);
    }
    Ok(!lists.complete(cx, id, &alive, None).await?)
}

fn answer(cx: &Context, id: i64, ttl: i64, reply: LeaseKeepAliveResponse) -> Bytes {
    let reply = LeaseKeepAliveResponse { id, ttl, ..reply };
    frame::encode(&[&reply.encode_to_vec(), &cx.gateway().identity.header_patch])
}
