//! First start: how the first fences come to be.
//!
//! A fence is created only where nothing can vanish by it: all proxies have agreed on one table, no shard has a fence of
//! the route in any state, and no other shard holds keys of the route.

use std::collections::BTreeMap;

use crate::definition::Interval;
use crate::facts::{Facts, Snapshot};
use crate::id::ShardUid;
use crate::txn::Txn;
use crate::value::{Begin, Fence, State, Table, TableError, ValueError};

/// What to do next; one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Then [`FirstStart::read`].
    Read(ShardUid),
    /// Look linearizably for a first key in the intervals, then [`FirstStart::probed`].
    Probe { shard: ShardUid, route: String, intervals: Vec<Interval> },
    /// Then [`FirstStart::answered`].
    Write(Txn),
    /// Nothing is left to do. The routes that got no fence, with the reasons.
    Done(BTreeMap<String, Obstacle>),
    /// Nothing can be done.
    Refuse(Obstacle),
}

/// Why a fence is not created. Shards by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Obstacle {
    #[error(
        "shard {shard} holds keys of the route (such as {key:?}), which would vanish: move them with `etcd-prism \
         migrate`, correct the route's shard, or delete them"
    )]
    Keys { shard: String, key: String },
    #[error(
        "the table on shard {shard} (generation {generation}) is not this proxy's: give every proxy the same [[shard]] \
         and [[route]] entries, or run `etcd-prism route apply`"
    )]
    OtherTable { shard: String, generation: u64 },
    #[error("a change of routes is under way (shard {shard}): finish it with `etcd-prism route apply`")]
    Pending { shard: String },
    #[error(
        "shard {shard} has no table although another shard has: it was replaced, or `etcd-prism route apply` has not \
         finished; run that again, or `etcd-prism shard accept`"
    )]
    Gap { shard: String },
    #[error("shard {shard}: {error}")]
    Unreadable { shard: String, error: ValueError },
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The engine of one proxy that finds routes without a fence. It needs every shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FirstStart {
    mine: Table,
    facts: Facts,
    /// By route and shard: the first key found there, if any.
    probes: BTreeMap<(String, ShardUid), Option<Vec<u8>>>,
}

impl FirstStart {
    /// `mine` is this proxy's table, as made by [`Table::first`].
    pub fn new(mine: Table) -> Self {
        Self { mine, facts: Facts::default(), probes: BTreeMap::new() }
    }

    pub fn next(&self) -> Command {
        self.decide().unwrap_or_else(Command::Refuse)
    }

    pub fn read(&mut self, shard: ShardUid, snapshot: Snapshot) {
        self.facts.read(shard, snapshot);
    }

    /// The first key that was found, if any.
    pub fn probed(&mut self, shard: ShardUid, route: &str, found: Option<Vec<u8>>) {
        self.probes.insert((route.to_owned(), shard), found);
    }

    /// The outcome of a Txn: its revision if it succeeded, `None` if it was refused or nobody knows.
    pub fn answered(&mut self, txn: &Txn, revision: Option<i64>) {
        match revision {
            Some(revision) => self.facts.written(txn, revision),
            None => self.facts.forget(txn.shard),
        }
    }

    fn decide(&self) -> Result<Command, Obstacle> {
        let unread = self.mine.shards.iter().find(|s| self.facts.get(s.id).is_none());
        if let Some(shard) = unread {
            return Ok(Command::Read(shard.id));
        }
        if let Some((shard, error)) = self.facts.unreadable() {
            return Err(Obstacle::Unreadable { shard: self.name(shard), error: error.clone() });
        }
        if let Some(txn) = self.claim()? {
            return Ok(Command::Write(txn));
        }
        let layout = self.mine.layout()?;
        let mut refused = BTreeMap::new();
        for route in layout.routes() {
            if self.facts.fences().any(|(_, name, ..)| name == route.name) {
                continue;
            }
            let others = self.mine.shards.iter().filter(|s| s.id != route.shard);
            let mut obstacle = None;
            for shard in others {
                match self.probes.get(&(route.name.clone(), shard.id)) {
                    None => {
                        let intervals = route.definition.intervals.clone();
                        return Ok(Command::Probe { shard: shard.id, route: route.name.clone(), intervals });
                    }
                    Some(Some(key)) => {
                        let key = key.escape_ascii().to_string();
                        obstacle = Some(Obstacle::Keys { shard: shard.name.clone(), key });
                    }
                    Some(None) => {}
                }
            }
            if let Some(obstacle) = obstacle {
                refused.insert(route.name.clone(), obstacle);
                continue;
            }
            let definition = route.definition.hash();
            let fence = Fence { n: 1, definition, shard: route.shard, state: State::Open { peer: None } };
            return Ok(Command::Write(Txn::opening(&route.name, 0, fence, Begin::default())));
        }
        Ok(Command::Done(refused))
    }

    /// The next shard that needs the table, in ascending order of cluster id: whoever has the first shard wins, so two
    /// different tables are never both on every shard.
    fn claim(&self) -> Result<Option<Txn>, Obstacle> {
        let mut shards: Vec<_> = self.mine.shards.iter().collect();
        shards.sort_by_key(|s| s.cluster_id);
        let mut missing = None;
        for shard in shards {
            let name = || shard.name.clone();
            match self.facts.table(shard.id) {
                None => missing = missing.or(Some(shard)),
                Some((_, table)) => {
                    if let Some(missing) = missing {
                        return Err(Obstacle::Gap { shard: missing.name.clone() });
                    }
                    if !table.agrees(&self.mine.shards, &self.mine.routes) {
                        return Err(Obstacle::OtherTable { shard: name(), generation: table.generation });
                    }
                    if table.pending.is_some() {
                        return Err(Obstacle::Pending { shard: name() });
                    }
                }
            }
        }
        let Some(missing) = missing else { return Ok(None) };
        // A later generation is spread by the change that made it, which knows what else has to happen.
        let later =
            self.mine.shards.iter().find_map(|s| self.facts.table(s.id).filter(|(_, t)| t.generation > 1));
        if later.is_some() {
            return Err(Obstacle::Gap { shard: missing.name.clone() });
        }
        Ok(Some(Txn::table(missing.id, 0, self.mine.clone())))
    }

    fn name(&self, shard: ShardUid) -> String {
        self.mine.shards.iter().find(|s| s.id == shard).map_or_else(|| shard.to_string(), |s| s.name.clone())
    }
}

#[cfg(test)]
mod tests;
