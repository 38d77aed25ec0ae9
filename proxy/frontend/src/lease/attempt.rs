//! One attempt at bringing a lease to a shard.

use std::collections::BTreeSet;

use etcd_prism_ownership::ShardUid;
use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, LeaseGrantResponse, LeaseTimeToLiveResponse};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::Code;

use super::HOLDER_PATIENCE;
use super::grant::ask;
use super::holders::{Alive, Holders, uid};
use super::intent::Intent;
use super::lists::Lists;
use super::record::Created;
use super::revoke::revoke_on;
use super::standing::{counts, unknown};
use crate::context::Context;
use crate::error::{LEASE_EXISTS, RequestError};

/// Attempts at a step that may be repeated: a grant of which nobody knows what became is the same however often it is sent,
/// and so are records.
const ATTEMPTS: usize = 3;

/// How a lease stands on the shard that needs it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is there, and every list is whole.
    Here,
    /// It has ended, there or where it was.
    Ended,
    /// Somebody else is bringing it.
    Others(Progress),
}

/// How far another one has got. As long as this stays the same, nobody was seen to do anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was first a moment ago.
    Contended,
    /// By these, who wrote a record.
    Intended(BTreeSet<u64>),
    /// It was granted, and the lists are not whole.
    Granted,
}

#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) cx: &'a Context,
    /// Where it is needed.
    pub(super) shard: ShardId,
    pub(super) id: i64,
}

impl Attempt<'_> {
    /// `dead`: what was left by somebody who has gone silent, to be taken over.
    pub(super) async fn run(&self, dead: Option<&Progress>) -> Result<State, RequestError> {
        let (cx, id) = (self.cx, self.id);
        let here = uid(cx, self.shard)?;
        let Some(mut holders) = self.ask().await? else { return Ok(State::Ended) };
        let mut lists = holders.lists(cx, id).await?;
        // What was a copy until now is from here on to count.
        let was_copy = here.is_some_and(|here| lists.promote(here));
        if holders.alive.contains_key(&self.shard) {
            if was_copy {
                return self.settle(holders.identities(cx)?, &lists).await;
            }
            return self.finish(&holders, &lists, dead).await;
        }
        let list = lists.merged();
        let saw = cx.gateway().leases.get(id).shards;
        match here.and_then(|here| list.get(&here)) {
            Some(record) if record.is_copy() => match counts(cx, self.shard, record) {
                Some(true) => return self.appeared().await,
                Some(false) => {}
                None => return Err(unknown(cx, self.shard).into()),
            },
            // If it is not there now, it has ended.
            Some(record) if record.granted || saw.contains(&self.shard) => return self.appeared().await,
            Some(_) => {}
            // Without records there is only what was seen from here.
            None if here.is_none() && saw.contains(&self.shard) => return self.appeared().await,
            None => {}
        }
        // Those that were asked in haste get the time that a holder gets.
        holders.failed.clear();
        if holders.lost(cx, id, &list, &saw).await? {
            return Ok(State::Ended);
        }
        let Some(ttl) = holders.alive.values().copied().max() else { return Ok(State::Ended) };
        let alive = holders.identities(cx)?;
        let Some(here) = here else { return self.grant_and_settle(ttl, alive, &lists).await };
        if let Some(intended) = self.intended(&lists, &alive, here) {
            if dead != Some(&intended) {
                return Ok(State::Others(intended));
            }
            // Had that one granted it, it might have expired by now.
            let records = alive.keys().filter_map(|holder| lists.record(*holder, here));
            // A copy's loss ends nothing, however long ago it was made.
            if !records.filter(|record| !record.is_copy()).all(|record| record.is_young(ttl)) {
                return Ok(State::Ended);
            }
        }
        self.bring_recorded(here, ttl, alive, &lists).await
    }

    /// Who has it; `None`: nobody.
    ///
    /// # Errors
    /// Nobody is known to have it, and one does not answer; or the shard that needs it does not.
    pub(super) async fn ask(&self) -> Result<Option<Holders>, UpstreamError> {
        let mut holders = Holders::ask(self.cx, self.id).await;
        // It has just answered the write, so it is worth another wait.
        if holders.failed.remove(&self.shard).is_some()
            && let Some(found) = self.look().await?
        {
            holders.alive.insert(self.shard, found.granted_ttl);
        }
        if holders.alive.is_empty() {
            // It may be alive on a shard that did not answer: "not found" would be final to clients.
            return holders.failed.into_values().next().map_or(Ok(None), Err);
        }
        Ok(Some(holders))
    }

    /// It is there, by whoever brought it. That one may have stopped before everybody knew.
    pub(super) async fn finish(
        &self,
        holders: &Holders,
        lists: &Lists,
        dead: Option<&Progress>,
    ) -> Result<State, RequestError> {
        let alive = holders.identities(self.cx)?;
        if lists.suffice(&alive, uid(self.cx, self.shard)?) {
            return Ok(State::Here);
        }
        if dead != Some(&Progress::Granted) {
            return Ok(State::Others(Progress::Granted));
        }
        self.settle(alive, lists).await
    }

    /// The writers of the records that say that it is about to be granted here.
    pub(super) fn intended(&self, lists: &Lists, alive: &Alive, here: ShardUid) -> Option<Progress> {
        let records = alive.keys().filter_map(|holder| lists.record(*holder, here));
        let writers: BTreeSet<u64> = records.filter(|r| !r.is_copy()).map(|record| record.writer).collect();
        (!writers.is_empty()).then_some(Progress::Intended(writers))
    }

    async fn bring_recorded(
        &self,
        here: ShardUid,
        ttl: i64,
        alive: Alive,
        lists: &Lists,
    ) -> Result<State, RequestError> {
        let mut intent = Intent::new(self.cx, self.id, here);
        for holder in in_order(&alive, lists) {
            let written = intent.write(holder, lists.record(holder, here)).await;
            if matches!(written, Ok(Created::Ours)) {
                continue;
            }
            intent.withdraw().await;
            return Ok(match written? {
                Created::Known => State::Others(Progress::Contended),
                Created::Ours | Created::NoLease => State::Ended,
            });
        }
        match self.grant(ttl).await {
            Ok(()) => self.settle_granted(alive, lists).await,
            Err((error, certain)) => {
                if certain {
                    intent.withdraw().await;
                }
                Err(error.into())
            }
        }
    }

    async fn grant_and_settle(&self, ttl: i64, alive: Alive, lists: &Lists) -> Result<State, RequestError> {
        self.grant(ttl).await.map_err(|(error, _)| error)?;
        self.settle_granted(alive, lists).await
    }

    pub(super) async fn settle_granted(
        &self,
        mut alive: Alive,
        lists: &Lists,
    ) -> Result<State, RequestError> {
        alive.insert(self.shard, uid(self.cx, self.shard)?);
        let settled = self.settle(alive, lists).await?;
        if settled == State::Here {
            self.cx.gateway().metrics.leases_brought.increment(1);
        }
        Ok(settled)
    }

    /// Grants it here. An error comes with whether it certainly was not granted.
    pub(super) async fn grant(&self, ttl: i64) -> Result<(), (UpstreamError, bool)> {
        let pool = self.pool();
        let mut call = rpc::call(rpc::LEASE_GRANT, &LeaseGrantRequest { id: self.id, ttl }, Retry::Never);
        call.timeout = Some(HOLDER_PATIENCE);
        let mut attempt = 1;
        loop {
            let error = match rpc::unary::<LeaseGrantResponse>(pool, call.clone()).await {
                Ok(_) => return Ok(()),
                Err(UpstreamError::Status(status)) if status.message == LEASE_EXISTS => return Ok(()),
                Err(error) => error,
            };
            let refused = !may_have_been(&error);
            if refused || attempt == ATTEMPTS {
                return Err((error, refused && attempt == 1));
            }
            attempt += 1;
        }
    }

    /// Makes it count: all who had the lease must still have it, for it may have been revoked there in the meantime, and
    /// every list must be whole. Taken back is only what certainly has ended: others may use the lease here by now, and
    /// where nobody knows it lives on, at most for its TTL if it did end.
    pub(super) async fn settle(&self, alive: Alive, lists: &Lists) -> Result<State, RequestError> {
        let here = uid(self.cx, self.shard)?;
        let mut attempt = 1;
        loop {
            match lists.complete(self.cx, self.id, &alive, here).await {
                Ok(true) => break,
                Ok(false) => {
                    self.take_back().await;
                    return Ok(State::Ended);
                }
                Err(error) if attempt < ATTEMPTS => {
                    tracing::debug!(lease = self.id, %error, "the list of a lease is not whole yet");
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let registry = &self.cx.gateway().leases;
        match here {
            Some(here) if lists.is_copy(here) => registry.not_held(self.id, self.shard),
            _ => registry.on_shard(self.id, self.shard),
        }
        Ok(State::Here)
    }

    async fn take_back(&self) {
        let registry = &self.cx.gateway().leases;
        registry.take_back(self.id, self.shard);
        // Otherwise it is told as soon as the shard answers again.
        if revoke_on(self.pool(), self.id, HOLDER_PATIENCE).await.is_ok() {
            registry.revoke_told(self.id, self.shard);
        }
    }

    /// It was granted here before, by all that is known: if it is not there, it has ended.
    pub(super) async fn appeared(&self) -> Result<State, RequestError> {
        Ok(if self.look().await?.is_some() { State::Others(Progress::Granted) } else { State::Ended })
    }

    async fn look(&self) -> Result<Option<LeaseTimeToLiveResponse>, UpstreamError> {
        ask(self.pool(), self.id, HOLDER_PATIENCE).await
    }

    pub(super) fn pool(&self) -> &ShardPool {
        self.cx.worker.pool(self.shard)
    }
}

/// Those who have more than a copy, for everybody in the same order, so that of two at once one gets all.
pub(super) fn in_order(alive: &Alive, lists: &Lists) -> Vec<ShardId> {
    let known = alive.iter().filter_map(|(holder, uid)| Some(((*uid)?, *holder)));
    let mut order: Vec<(ShardUid, ShardId)> = known.filter(|(uid, _)| !lists.is_copy(*uid)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, holder)| holder).collect()
}

/// Whether the shard may have done what was asked.
fn may_have_been(error: &UpstreamError) -> bool {
    match error {
        // Its other refusals are decided before anything is done.
        UpstreamError::Status(status) => matches!(
            status.code,
            Code::Unavailable | Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::Canceled
        ),
        other => !other.not_sent(),
    }
}
