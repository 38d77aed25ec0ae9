//! The next command, from what was read.

use super::{Command, Driver, Goal, Plan, Reason};
use crate::id::ShardUid;
use crate::txn::Txn;
use crate::value::{Claim, Pending, Table};

impl Driver {
    pub(super) fn decide(&mut self) -> Result<Command, Reason> {
        if let Some(shard) = self.unread() {
            return Ok(Command::Read(shard));
        }
        if let Some((shard, error)) = self.facts.unreadable() {
            return Err(Reason::Unreadable { shard: self.name(shard), error: error.clone() });
        }
        let (revision, table) = self.agreed()?;
        if let Some(txn) = self.resolve(revision, &table)? {
            return Ok(Command::Write(txn));
        }
        let goal = match &self.goal {
            Goal::Apply(goal) => Some(goal.clone()),
            Goal::GiveUp => None,
        };
        if let Some(pending) = &table.pending {
            if goal.as_ref().is_some_and(|goal| !goal.agrees(pending)) {
                return Err(Reason::Other);
            }
            if *self.claim.get_or_insert(Claim(revision)) != Claim(revision) {
                return Err(self.ended());
            }
            if goal.is_none() || self.given_up.is_some() {
                return Ok(abort(revision, &table));
            }
            return self.go_on(Claim(revision), &table, pending);
        }
        if let Some(txn) = self.mirror(&table) {
            return Ok(Command::Write(txn));
        }
        match goal {
            Some(goal) if table.agrees(&goal.shards, &goal.routes) => {
                Ok(Command::Done { generation: table.generation })
            }
            Some(goal) if self.claim.is_none() && self.given_up.is_none() => {
                self.claim(revision, &table, &goal)
            }
            _ => Err(self.ended()),
        }
    }

    /// Why there is nothing left to do although the goal was not reached.
    fn ended(&self) -> Reason {
        match (&self.given_up, &self.goal) {
            (Some(reason), _) => reason.clone(),
            (None, Goal::Apply(_)) => Reason::GivenUpElsewhere,
            (None, Goal::GiveUp) if self.claim.is_some() => Reason::Ended,
            (None, Goal::GiveUp) => Reason::Nothing,
        }
    }

    fn unread(&self) -> Option<ShardUid> {
        let arbiter = self.arbiter();
        let mut missing = self.shards.iter().copied().filter(|id| self.facts.get(*id).is_none()).peekable();
        let first = missing.peek().copied();
        missing.find(|id| Some(*id) != arbiter).or(first)
    }

    /// The table that counts, with its mod revision.
    fn agreed(&self) -> Result<(i64, Table), Reason> {
        let Some(arbiter) = self.arbiter() else { return Err(Reason::NoTable) };
        if let Some((shard, ..)) = self.facts.tables().find(|(.., table)| table.arbiter != arbiter) {
            return Err(Reason::OtherArbiter { shard: self.name(shard) });
        }
        if !self.shards.contains(&arbiter) {
            return Err(Reason::ArbiterGone { shard: self.name(arbiter) });
        }
        let Some((revision, table)) = self.facts.table(arbiter) else {
            return Err(Reason::FirstStart { shard: self.name(arbiter) });
        };
        if let Some((shard, ..)) = self.facts.tables().find(|(.., copy)| copy.generation > table.generation) {
            return Err(Reason::Restored { arbiter: self.name(arbiter), shard: self.name(shard) });
        }
        Ok((revision, table.clone()))
    }

    /// The next copy of the table that is out of date.
    fn mirror(&self, table: &Table) -> Option<Txn> {
        let copies = table.shards.iter().filter(|s| self.shards.contains(&s.id));
        let stale = copies.map(|s| (s.id, self.facts.table(s.id))).find(|(_, copy)| match copy {
            Some((_, copy)) => *copy != table,
            None => true,
        });
        stale.map(|(shard, copy)| Txn::table(shard, copy.map_or(0, |(revision, _)| revision), table.clone()))
    }

    /// Announces the change, if nothing speaks against it.
    fn claim(&mut self, revision: i64, table: &Table, goal: &Pending) -> Result<Command, Reason> {
        let listed = |id: ShardUid| goal.shards.iter().any(|s| s.id == id);
        if !listed(table.arbiter) {
            return Err(Reason::ArbiterGone { shard: self.name(table.arbiter) });
        }
        if let Some(route) = table.routes.iter().find(|r| !listed(r.shard)) {
            let shard = self.name(route.shard);
            return Err(Reason::ShardInUse { shard, route: route.name.clone() });
        }
        let plan = Plan::new(&table.layout()?, &goal.layout()?);
        for at in &plan.seals {
            self.sealable(at)?;
        }
        for at in &plan.begins {
            self.vacant(at)?;
        }
        // What was probed before the seals says nothing later; it only spares a pause that would lead nowhere.
        if let Some(probe) = self.next_probe(Claim(0), &plan)? {
            return Ok(probe);
        }
        let pending = Some(goal.clone());
        let table = Table { pending, ..table.clone() };
        Ok(Command::Write(Txn::table(table.arbiter, revision, table)))
    }
}

/// Ends what is under way, before the commit.
pub(super) fn abort(revision: i64, table: &Table) -> Command {
    let table = Table { pending: None, ..table.clone() };
    Command::Write(Txn::table(table.arbiter, revision, table))
}
