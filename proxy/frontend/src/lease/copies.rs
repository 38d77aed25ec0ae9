//! Copies of leases on standbys.
//!
//! A copy is put on a standby for the keys of one route, as often as it is lost there. Before that its record is written under
//! the lease on every shard that has it, so it is certain that it has not ended; and after it the copy gets the list of those,
//! so that it ends where they have lost it.

use std::collections::BTreeSet;

use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::{RouteId, ShardId};

use super::HOLDER_PATIENCE;
use super::attempt::{Attempt, Progress, State, in_order};
use super::holders::{Alive, Holders, shard_of, uid, unread};
use super::keys::routes_on;
use super::lists::Lists;
use super::record::{self, Created, List, Record};
use super::standing::{counts_beside, holds, rules, unknown};
use crate::context::Context;
use crate::error::RequestError;

/// What a standby has of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A copy: its loss ends nothing, and everybody who could say otherwise was asked.
    Copy,
    /// More, and not for keys of the route: keys that the standby rules are under it, or nothing of the route is.
    Own,
    /// Nothing: it has ended.
    Ended,
    /// It is not a copy for certain, and may become one: a shard that remembers it as more is away, say.
    Unknown,
}

/// One attempt at having a copy of a lease on a standby, and at having no more than a copy there.
pub(super) struct Copying<'a> {
    pub(super) at: Attempt<'a>,
    /// The route whose keys need it.
    pub(super) route: RouteId,
}

impl Copying<'_> {
    /// `dead`: what was left by somebody who has gone silent, to be taken over.
    pub(super) async fn run(&self, dead: Option<&Progress>) -> Result<State, RequestError> {
        let Attempt { cx, shard, id } = self.at;
        // Without records nobody could tell a copy.
        let Some(here) = uid(cx, shard)? else { return self.at.run(dead).await };
        let Some(mut holders) = self.at.ask().await? else { return Ok(State::Ended) };
        let mut lists = holders.lists(cx, id).await?;
        if holders.alive.contains_key(&shard) {
            return self.stands(&holders, &mut lists, here, dead).await;
        }
        let mut list = lists.merged();
        match list.remove(&here) {
            // It was more than a copy, so it has ended.
            Some(record) if record.granted => return self.at.appeared().await,
            Some(record) if record.is_copy() => match counts_beside(cx, shard, &record, Some(self.route)) {
                Some(true) => return self.at.appeared().await,
                Some(false) => {}
                None => return Err(unknown(cx, shard).into()),
            },
            _ => {}
        }
        // Those that were asked in haste get the time that a holder gets.
        holders.failed.clear();
        if holders.lost(cx, id, &list, &BTreeSet::new()).await? {
            return Ok(State::Ended);
        }
        let alive = holders.identities(cx)?;
        if alive.contains_key(&shard) {
            return Ok(State::Others(Progress::Granted));
        }
        // A copy is no reason for another one.
        let real = holders.alive.iter().filter(|(holder, _)| self.is_real(&lists, &alive, **holder));
        let Some(ttl) = real.map(|(_, ttl)| *ttl).max() else { return Ok(State::Ended) };
        if let Some(intended) = self.at.intended(&lists, &alive, here)
            && dead != Some(&intended)
        {
            return Ok(State::Others(intended));
        }
        let routes = BTreeSet::from([self.name()]);
        if let Some(state) = self.record(&mut lists, &alive, here, &routes).await? {
            return Ok(state);
        }
        self.at.grant(ttl).await.map_err(|(error, _)| error)?;
        self.at.settle_granted(alive, &lists).await
    }

    fn name(&self) -> String {
        self.at.cx.gateway().keyspace.route(self.route).name.to_string()
    }

    fn is_real(&self, lists: &Lists, alive: &Alive, holder: ShardId) -> bool {
        alive.get(&holder).is_some_and(|uid| uid.is_none_or(|uid| !lists.is_copy(uid)))
    }

    /// It is there already.
    async fn stands(
        &self,
        holders: &Holders,
        lists: &mut Lists,
        here: ShardUid,
        dead: Option<&Progress>,
    ) -> Result<State, RequestError> {
        let alive = holders.identities(self.at.cx)?;
        let is_copy = lists.is_copy(here);
        // One that has become the owner with a copy is to be known as more than that before this one ceases to be.
        if !is_copy && look_closer(self.at.cx, self.at.id, lists, &alive).await {
            self.at.settle(alive, lists).await?;
            return Ok(State::Others(Progress::Contended));
        }
        let found = if is_copy { Some(BTreeSet::new()) } else { self.only_follows(lists, &alive).await? };
        let Some(mut routes) = found else {
            // One that began to count: nobody else is about to say so.
            if lists.merged().get(&here).is_some_and(Record::is_copy) {
                return self.at.settle(alive, lists).await;
            }
            return self.at.finish(holders, lists, dead).await;
        };
        routes.insert(self.name());
        loop {
            let written = self.record(lists, &alive, here, &routes).await?;
            if !is_copy {
                match self.only_follows(lists, &alive).await? {
                    Some(now) if now.is_subset(&routes) => {}
                    // Another driver's, which took it for more than a copy.
                    Some(now) => {
                        routes.extend(now);
                        continue;
                    }
                    None => self.promote(lists, &alive, here).await?,
                }
            }
            match written {
                Some(state) => return Ok(state),
                None => break,
            }
        }
        let state = self.at.settle(alive, lists).await?;
        // A renewal that had read only a part of it may have written what it took to be missing.
        if state == State::Here
            && !is_copy
            && lists.is_copy(here)
            && !holders.lists(self.at.cx, self.at.id).await?.is_copy(here)
        {
            return Ok(State::Others(Progress::Contended));
        }
        Ok(state)
    }

    /// A key came in between that makes it more than a copy: everybody is told at once.
    async fn promote(&self, lists: &mut Lists, alive: &Alive, here: ShardUid) -> Result<(), RequestError> {
        lists.promote(here);
        for holder in in_order(alive, lists).into_iter().filter(|holder| *holder != self.at.shard) {
            let granted = List::from([(here, Record::granted())]);
            record::write(self.at.cx.worker.pool(holder), self.at.id, &granted).await?;
        }
        Ok(())
    }

    /// The routes of what the standby has under the lease, if this one is among them and it rules none, and another shard has
    /// the lease: then it is a copy, whatever it was before.
    async fn only_follows(
        &self,
        lists: &Lists,
        alive: &Alive,
    ) -> Result<Option<BTreeSet<String>>, RequestError> {
        let Attempt { cx, shard, id } = self.at;
        if !alive.keys().any(|holder| *holder != shard && self.is_real(lists, alive, *holder)) {
            return Ok(None);
        }
        let keys = routes_on(cx, self.at.pool(), id, HOLDER_PATIENCE).await?;
        let follows = keys.contains_key(&self.route) && holds(cx, shard, &keys) == Some(false);
        let name = |route: &RouteId| cx.gateway().keyspace.route(*route).name.to_string();
        Ok(follows.then(|| keys.keys().map(name).collect()))
    }

    /// What the standby has of it, once [`Self::run`] has made of it what can be made.
    pub(super) async fn kept(&self) -> Result<Kept, RequestError> {
        let Attempt { cx, shard, id } = self.at;
        // Without records nobody could tell a copy.
        let Some(here) = uid(cx, shard)? else { return Ok(Kept::Own) };
        let Some(holders) = self.at.ask().await? else { return Ok(Kept::Ended) };
        if !holders.alive.contains_key(&shard) {
            return Ok(Kept::Ended);
        }
        let lists = holders.lists(cx, id).await?;
        let is_copy = lists.is_copy(here);
        if !is_copy {
            let keys = routes_on(cx, self.at.pool(), id, HOLDER_PATIENCE).await?;
            match holds(cx, shard, &keys) {
                _ if !keys.contains_key(&self.route) => return Ok(Kept::Own),
                Some(true) => return Ok(Kept::Own),
                Some(false) => {}
                None => return Ok(Kept::Unknown),
            }
        }
        // Those that are away may remember that it is more.
        let alive = holders.identities(cx)?;
        let silent = lists.merged().into_iter().filter(|(of, record)| *of != here && record.granted);
        let mut silent = silent.filter(|(of, _)| !alive.values().flatten().any(|known| known == of));
        let is_away = |of: ShardUid| match shard_of(cx, of) {
            Some(shard) => holders.failed.contains_key(&shard),
            None => !unread(cx).is_empty(),
        };
        if silent.any(|(of, _)| is_away(of)) {
            return Ok(Kept::Unknown);
        }
        let others = alive.keys().any(|holder| *holder != shard && self.is_real(&lists, &alive, *holder));
        Ok(match (is_copy, others) {
            (true, _) => Kept::Copy,
            (false, true) => Kept::Unknown,
            // Wherever else it was it has ended, and so has the lease.
            (false, false) => Kept::Own,
        })
    }

    /// Writes on every shard that has the lease that the standby has a copy, for these routes too. `None`: all have it.
    async fn record(
        &self,
        lists: &mut Lists,
        alive: &Alive,
        here: ShardUid,
        names: &BTreeSet<String>,
    ) -> Result<Option<State>, RequestError> {
        let Attempt { cx, shard, id } = self.at;
        for holder in in_order(alive, lists).into_iter().filter(|holder| *holder != shard) {
            let seen = lists.record(holder, here);
            let mut routes = seen.map(|seen| seen.copy_of.clone()).unwrap_or_default();
            if seen.is_some_and(Record::is_copy) && names.is_subset(&routes) {
                continue;
            }
            routes.extend(names.iter().cloned());
            let (pool, ours) = (cx.worker.pool(holder), Record::copy(routes));
            let created = match seen {
                Some(seen) => record::replace(pool, id, here, seen, &ours).await?,
                None => record::create(pool, id, here, &ours).await?,
            };
            match created {
                Created::Ours => lists.note_copy(holder, here, ours),
                Created::Known => return Ok(Some(State::Others(Progress::Contended))),
                Created::NoLease => return Ok(Some(State::Ended)),
            }
        }
        Ok(None)
    }
}

/// Finds the copies that carry a key of a route that their shard rules: a client has put it under the lease as it found it
/// there. These count from here on. Whether there are any.
pub(super) async fn look_closer(cx: &Context, id: i64, lists: &mut Lists, alive: &Alive) -> bool {
    let mut found = false;
    for uid in alive.values().flatten().filter(|uid| lists.is_copy(**uid)).copied().collect::<Vec<_>>() {
        let Some(shard) = shard_of(cx, uid) else { continue };
        match routes_on(cx, cx.worker.pool(shard), id, HOLDER_PATIENCE).await {
            Ok(keys) if keys.keys().any(|route| rules(cx, *route, shard) == Some(true)) => {
                found |= lists.promote(uid);
            }
            Ok(_) => {}
            // With the next renewal.
            Err(error) => {
                tracing::debug!(lease = id, %error, "whether a copy of a lease counts is not known")
            }
        }
    }
    found
}
