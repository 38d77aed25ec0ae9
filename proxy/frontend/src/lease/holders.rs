//! Where a lease is, by asking.

use std::collections::{BTreeMap, BTreeSet};

use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;
use futures_util::future::join_all;

use super::HOLDER_PATIENCE;
use super::everyone::ask_everyone;
use super::grant::ask;
use super::lists::Lists;
use super::record::{List, Record};
use super::standing::{counts, unknown};
use crate::context::Context;

/// Shards that have a lease, with their identities; none where there are no records.
pub(super) type Alive = BTreeMap<ShardId, Option<ShardUid>>;

/// Every shard's answer to the question for one lease. What a shard has of a lease that it is still to be told the end of
/// counts for nothing.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// With the TTL it was granted with, in seconds.
    pub(super) alive: BTreeMap<ShardId, i64>,
    /// Did not answer.
    pub(super) failed: BTreeMap<ShardId, UpstreamError>,
    /// Are still to be told that it was revoked.
    pub(super) owed: BTreeSet<ShardId>,
}

impl Holders {
    pub(super) async fn ask(cx: &Context, id: i64) -> Self {
        let registry = &cx.gateway().leases;
        let mut out = Self { owed: registry.owed_by(id), ..Self::default() };
        let answers = ask_everyone(cx, id, |pool, patience| ask(pool, id, patience), Option::is_some).await;
        for (shard, answer) in answers.into_iter().filter(|(shard, _)| !out.owed.contains(shard)) {
            match answer {
                Ok(Some(reply)) => {
                    registry.on_shard(id, shard);
                    out.alive.insert(shard, reply.granted_ttl);
                }
                Ok(None) => {}
                Err(error) => {
                    out.failed.insert(shard, error);
                }
            }
        }
        out
    }

    /// The records of all that have it.
    pub(super) async fn lists(&self, cx: &Context, id: i64) -> Result<Lists, UpstreamError> {
        Lists::read(cx, id, self.alive.keys().copied()).await
    }

    /// Those that have it, with their identities.
    ///
    /// # Errors
    /// One has not been read yet.
    pub(super) fn identities(&self, cx: &Context) -> Result<Alive, UpstreamError> {
        self.alive.keys().map(|shard| Ok((*shard, uid(cx, *shard)?))).collect()
    }

    /// Whether a shard of the list has lost the lease. One that is only about to get it, by the list, counts if this proxy
    /// `saw` it there; a copy, if the shard rules a route that it is for. Those that have it after all are added to the
    /// living.
    ///
    /// # Errors
    /// None is known to have lost it, and one does not answer, or whether its copy counts cannot be told.
    pub(super) async fn lost(
        &mut self,
        cx: &Context,
        id: i64,
        list: &List,
        saw: &BTreeSet<ShardId>,
    ) -> Result<bool, UpstreamError> {
        let unread = unread(cx);
        let unnamed = |(of, record): &(&ShardUid, &Record)| {
            shard_of(cx, **of).is_none() && unread.iter().any(|shard| may_count(cx, *shard, record))
        };
        // It may be any of those that were not identified yet, so it can be neither asked nor passed over.
        let stranger = list.iter().find(unnamed).and_then(|_| unread.first().copied());
        // A shard that is not configured any more holds no key that matters.
        let listed = list.iter().filter_map(|(of, record)| Some((shard_of(cx, *of)?, record)));
        let listed = listed.filter(|(shard, _)| !self.alive.contains_key(shard));
        let (owed, failed) = (&self.owed, &self.failed);
        // Nobody is asked for what would not count.
        let listed =
            listed.filter(|(shard, record)| !record.is_copy() || counts(cx, *shard, record) != Some(false));
        let asks = listed.map(|(shard, record)| async move {
            let answer = match failed.get(&shard) {
                _ if owed.contains(&shard) => Ok(None),
                Some(error) => Err(error.clone()),
                // It may have been granted there since everybody was asked.
                None => ask(cx.worker.pool(shard), id, HOLDER_PATIENCE).await,
            };
            let had = match record.is_copy() {
                true => counts(cx, shard, record),
                false => Some(record.granted || saw.contains(&shard)),
            };
            (shard, had, answer)
        });
        let answers = join_all(asks).await;
        let (mut lost, mut failure) = (false, stranger.map(|shard| unidentified(cx, shard)));
        for (shard, had, answer) in answers {
            match answer {
                Ok(Some(reply)) => {
                    self.alive.insert(shard, reply.granted_ttl);
                }
                Ok(None) => match had {
                    Some(had) => lost |= had,
                    None => failure = Some(unknown(cx, shard)),
                },
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !lost => Err(error),
            _ => Ok(lost),
        }
    }
}

/// The shard of an identity.
pub(super) fn shard_of(cx: &Context, uid: ShardUid) -> Option<ShardId> {
    cx.gateway().shards.iter().map(|s| s.id).find(|id| cx.ownership().shard_uid(*id) == Some(uid))
}

/// The shards of the configuration that were not identified yet: a name on a list that is no other shard's may be theirs.
pub(super) fn unread(cx: &Context) -> Vec<ShardId> {
    let snapshot = cx.ownership().snapshot();
    // One that keeps no records is on no list.
    let denied = |shard: ShardId| snapshot.shards.get(usize::from(shard.0)).is_some_and(|s| s.denied);
    let all = cx.gateway().shards.iter().map(|s| s.id);
    all.filter(|shard| cx.ownership().shard_uid(*shard).is_none() && !denied(*shard)).collect()
}

/// Whether what a shard has by this record may be more than a copy that does not count.
pub(super) fn may_count(cx: &Context, shard: ShardId, record: &Record) -> bool {
    record.granted || record.is_copy() && counts(cx, shard, record) != Some(false)
}

/// Whether shards keep records of leases. Otherwise each proxy goes by its memory.
pub(super) fn has_records(cx: &Context) -> bool {
    let (snapshot, shards) = (cx.ownership().snapshot(), &cx.gateway().shards);
    let known = |shard| cx.ownership().shard_uid(shard).is_some();
    snapshot.fences && snapshot.shards.iter().zip(shards).any(|(seen, s)| !seen.denied && known(s.id))
}

/// The identity of a shard; `None` where leases are not recorded: without fences, or without rights on the reserved keys.
///
/// # Errors
/// It has not been read yet.
pub(super) fn uid(cx: &Context, shard: ShardId) -> Result<Option<ShardUid>, UpstreamError> {
    let snapshot = cx.ownership().snapshot();
    // Who may look at records may still not be allowed to write them.
    let may_write = snapshot.shards.get(usize::from(shard.0)).is_some_and(|s| !s.denied);
    if !snapshot.fences || !may_write {
        return Ok(None);
    }
    if let Some(found) = cx.ownership().shard_uid(shard) {
        return Ok(Some(found));
    }
    Err(unidentified(cx, shard))
}

fn unidentified(cx: &Context, shard: ShardId) -> UpstreamError {
    UpstreamError::Unreachable {
        shard: cx.gateway().shard(shard).name.clone(),
        reason: "its identity has not been read yet".to_owned(),
    }
}
