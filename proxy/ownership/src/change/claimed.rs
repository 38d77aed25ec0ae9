//! From the claim to the commit.

use std::collections::BTreeMap;

use super::decide::abort;
use super::plan::At;
use super::{Command, Driver, Plan, Reason};
use crate::definition::{Moved, Place};
use crate::txn::Txn;
use crate::value::{Begin, Claim, Fence, Pending, State, Table};

impl Driver {
    pub(super) fn go_on(
        &mut self,
        claim: Claim,
        table: &Table,
        pending: &Pending,
    ) -> Result<Command, Reason> {
        let plan = Plan::new(&table.layout()?, &pending.layout()?);
        match self.prepare(claim, table, pending, &plan) {
            Ok(command) => Ok(command),
            Err(reason) => {
                self.given_up = Some(reason);
                Ok(abort(claim.0, table))
            }
        }
    }

    fn prepare(
        &self,
        claim: Claim,
        table: &Table,
        pending: &Pending,
        plan: &Plan,
    ) -> Result<Command, Reason> {
        for at in &plan.begins {
            let n = self.facts.highest_reign(&at.route);
            let ready = self.facts.fence(at.shard, &at.route).is_some_and(|(_, fence)| {
                matches!(fence.state, State::Importing { claim: Some(c), .. } if c == claim) && fence.n == n
            });
            if !ready {
                let epoch = self.vacant(at)?;
                let state = State::Importing { peer: None, claim: Some(claim) };
                let fence = Fence { n, definition: at.definition, shard: at.shard, state };
                return Ok(Command::Write(Txn::fence(&at.route, epoch, fence)));
            }
        }
        for at in &plan.seals {
            let sealed = self.facts.fence(at.shard, &at.route).is_some_and(
                |(_, fence)| matches!(fence.state, State::Sealed { claim: Some(c), .. } if c == claim),
            );
            if !sealed {
                let (epoch, n) = self.sealable(at)?;
                let state = State::Sealed { peer: None, claim: Some(claim) };
                let fence = Fence { n, definition: at.definition, shard: at.shard, state };
                return Ok(Command::Write(Txn::fence(&at.route, epoch, fence)));
            }
        }
        for at in &plan.seals {
            let seal = (at.shard, at.route.clone(), self.facts.epoch(at.shard, &at.route));
            if !self.drained.contains_key(&seal) {
                let waiting = self.waiting.get(&at.shard).cloned().unwrap_or_default();
                return Ok(Command::List { shard: at.shard, waiting });
            }
        }
        if let Some(probe) = self.next_probe(claim, plan)? {
            return Ok(probe);
        }
        Ok(Command::Write(commit(claim, table, pending, self.begins(claim, plan))))
    }

    /// Whether a fence is open as the table says: its mod revision and reign.
    pub(super) fn sealable(&self, at: &At) -> Result<(i64, u64), Reason> {
        let (route, shard) = (at.route.clone(), self.name(at.shard));
        let Some((_, epoch, fence)) = self.facts.owner(&at.route).filter(|(owner, ..)| *owner == at.shard)
        else {
            let fence = self.facts.fence(at.shard, &at.route);
            let found = fence.map_or("not there", |(_, fence)| fence.state.name()).to_owned();
            return Err(Reason::NotOpen { route, shard, found });
        };
        if fence.state != (State::Open { peer: None }) {
            return Err(Reason::Migrating { route });
        }
        if self.facts.has_line(at.shard, &at.route) {
            // The next reign would have to take it over: otherwise revisions go back.
            return Err(Reason::Moved { route });
        }
        if fence.definition != at.definition {
            return Err(Reason::Definition { route, shard });
        }
        Ok((epoch, fence.n))
    }

    /// Whether a route can begin on a shard: the mod revision of its fence there.
    pub(super) fn vacant(&self, at: &At) -> Result<i64, Reason> {
        match self.facts.fence(at.shard, &at.route) {
            None => Ok(0),
            // An importing one of this claim is raised: it knew of too few reigns.
            Some((epoch, fence))
                if matches!(fence.state, State::Retired | State::Importing { claim: Some(_), .. }) =>
            {
                Ok(epoch)
            }
            Some((_, fence)) => {
                let (route, shard) = (at.route.clone(), self.name(at.shard));
                Err(Reason::Occupied { route, shard, found: fence.state.name() })
            }
        }
    }

    /// The next probe that this claim lacks; once there is none, whether all of them allow the change.
    pub(super) fn next_probe(&self, claim: Claim, plan: &Plan) -> Result<Option<Command>, Reason> {
        for (shard, intervals) in plan.crossing() {
            match self.probes.get(&(claim, shard)) {
                None => return Ok(Some(Command::Probe { claim, shard, intervals })),
                Some(probe) => {
                    if let Some(key) = &probe.found {
                        let key = key.escape_ascii().to_string();
                        return Err(Reason::Keys { shard: self.name(shard), key });
                    }
                }
            }
        }
        if self.options.lower_revisions {
            return Ok(None);
        }
        let begins = |route: &str| plan.begins.iter().any(|at| at.route == route);
        let falls = |m: &&Moved| m.changes_shard() && !(self.options.lifted_reigns && begins(&m.to.route));
        for moved in plan.diff.moved.iter().filter(falls) {
            if let (Some(seen), Some(found)) = (self.seen(claim, &moved.from), self.seen(claim, &moved.to))
                && found < seen
            {
                return Err(Reason::LowerRevision { shard: self.name(moved.to.shard), seen, found });
            }
        }
        Ok(None)
    }

    /// The reigns that begin with the change: of routes that begin, and of those that stay and need a higher floor.
    fn begins(&self, claim: Claim, plan: &Plan) -> BTreeMap<String, Begin> {
        let seen = |place: &Place| self.seen(claim, place).unwrap_or(0);
        let floors = plan.floors(&seen, &|place| self.facts.floor(place.shard, &place.route));
        let floor = |at: &At| floors.get(&at.route).copied();
        let line = |at: &At| plan.gains(&at.route).map(|m| seen(&m.from)).max().unwrap_or(0);
        let begins = plan.begins.iter().map(|at| {
            // What was on this shard before goes on under its old revisions.
            let moves = plan.gains(&at.route).any(Moved::changes_shard);
            let after = if moves { line(at) } else { 0 };
            (at.route.clone(), Begin { after, floor: floor(at).unwrap_or(0), since: 0, earlier: Vec::new() })
        });
        let stays = plan.stays.iter().filter_map(|at| {
            let after = line(at).max(self.own_end(at));
            Some((at.route.clone(), Begin { after, floor: floor(at)?, since: 0, earlier: Vec::new() }))
        });
        begins.chain(stays).collect()
    }

    /// The highest virtual revision that clients can have seen at a place. Nobody can have seen more than what was probed
    /// once the seals were drained.
    fn seen(&self, claim: Claim, place: &Place) -> Option<i64> {
        let probe = self.probes.get(&(claim, place.shard))?;
        Some(probe.revision.saturating_add(self.facts.offset(place.shard, &place.route)))
    }

    /// The same of a route that stays, the shard of which may not have been probed.
    fn own_end(&self, at: &At) -> i64 {
        let seal = (at.shard, at.route.clone(), self.facts.epoch(at.shard, &at.route));
        let revision = self.drained.get(&seal).copied().unwrap_or(0);
        revision.saturating_add(self.facts.offset(at.shard, &at.route))
    }
}

/// The commit point: from here on there is only forward.
fn commit(claim: Claim, table: &Table, pending: &Pending, begins: BTreeMap<String, Begin>) -> Txn {
    let Pending { shards, routes } = pending.clone();
    let generation = table.generation + 1;
    let table = Table { generation, arbiter: table.arbiter, shards, routes, claim, begins, pending: None };
    Txn::table(table.arbiter, claim.0, table)
}
