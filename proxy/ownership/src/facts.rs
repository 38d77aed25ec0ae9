//! What a driver has read of the shards.

use std::collections::BTreeMap;

use crate::id::ShardUid;
use crate::keys::{self, Key};
use crate::timeline::Reign;
use crate::txn::{Txn, Write};
use crate::value::{Fence, ReignRecord, Table, ValueError};

/// Table, fences and reign records of a shard, read in one linearizable Txn.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The table with its mod revision, if there is one.
    pub table: Option<(i64, Result<Table, ValueError>)>,
    /// By route: mod revision and value.
    pub fences: BTreeMap<String, (i64, Result<Fence, ValueError>)>,
    /// By route and number: mod revision and value.
    pub reigns: BTreeMap<(String, u64), (i64, Result<ReignRecord, ValueError>)>,
}

impl Snapshot {
    /// The floor of the route's present reign; 0 if it has no readable record.
    pub fn floor(&self, route: &str) -> i64 {
        let floor = || {
            let (_, fence) = self.fences.get(route)?;
            match self.reigns.get(&(route.to_owned(), fence.as_ref().ok()?.n))? {
                (revision, Ok(record)) => Some(record.effective_floor(*revision)),
                _ => None,
            }
        };
        floor().unwrap_or(0)
    }
}

/// Snapshots by shard. What is missing has to be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Facts(BTreeMap<ShardUid, Snapshot>);

impl Facts {
    pub(crate) fn get(&self, shard: ShardUid) -> Option<&Snapshot> {
        self.0.get(&shard)
    }

    pub(crate) fn read(&mut self, shard: ShardUid, snapshot: Snapshot) {
        self.0.insert(shard, snapshot);
    }

    pub(crate) fn forget(&mut self, shard: ShardUid) {
        self.0.remove(&shard);
    }

    /// Takes over what a Txn wrote at this revision.
    pub(crate) fn written(&mut self, txn: &Txn, revision: i64) {
        let Some(snapshot) = self.0.get_mut(&txn.shard) else { return };
        for (key, write) in &txn.puts {
            match write {
                Write::Table(table) => snapshot.table = Some((revision, Ok(Table::clone(table)))),
                Write::Fence(fence) => {
                    if let Some(Key::Fence(route)) = keys::parse(key) {
                        snapshot.fences.insert(route.to_owned(), (revision, Ok(fence.clone())));
                    }
                }
                Write::Reign(reign) => {
                    if let Some(Key::Reign { route, n }) = keys::parse(key) {
                        snapshot.reigns.insert((route.to_owned(), n), (revision, Ok(reign.clone())));
                    }
                }
                // Not part of a snapshot.
                Write::Migration(_) => {}
            }
        }
    }

    /// The table of a shard with its mod revision: `None` if there is none or it cannot be read.
    pub(crate) fn table(&self, shard: ShardUid) -> Option<(i64, &Table)> {
        match &self.get(shard)?.table {
            Some((revision, Ok(table))) => Some((*revision, table)),
            _ => None,
        }
    }

    /// Every readable table with its mod revision.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (ShardUid, i64, &Table)> {
        self.0.iter().filter_map(|(shard, snapshot)| match &snapshot.table {
            Some((revision, Ok(table))) => Some((*shard, *revision, table)),
            _ => None,
        })
    }

    /// What is added to raw revisions of the route's present reign on a shard; 0 if it has no record there.
    pub(crate) fn offset(&self, shard: ShardUid, route: &str) -> i64 {
        let reign = || {
            let (_, fence) = self.fence(shard, route)?;
            match self.get(shard)?.reigns.get(&(route.to_owned(), fence.n))? {
                (revision, Ok(record)) => Some(Reign::new(record, *revision).offset()),
                _ => None,
            }
        };
        reign().unwrap_or(0)
    }

    /// Whether the route's present reign continues those of other shards.
    pub(crate) fn has_line(&self, shard: ShardUid, route: &str) -> bool {
        let record = || {
            let (_, fence) = self.fence(shard, route)?;
            self.get(shard)?.reigns.get(&(route.to_owned(), fence.n))?.1.as_ref().ok()
        };
        record().is_some_and(|record| !record.earlier.is_empty())
    }

    /// The floor of the route's present reign on a shard; 0 if it has no record there.
    pub(crate) fn floor(&self, shard: ShardUid, route: &str) -> i64 {
        self.get(shard).map_or(0, |snapshot| snapshot.floor(route))
    }

    /// The readable fence of a route on a shard.
    pub(crate) fn fence(&self, shard: ShardUid, route: &str) -> Option<(i64, &Fence)> {
        match self.get(shard)?.fences.get(route)? {
            (revision, Ok(fence)) => Some((*revision, fence)),
            _ => None,
        }
    }

    /// The mod revision of a route's fence on a shard; 0 if there is none.
    pub(crate) fn epoch(&self, shard: ShardUid, route: &str) -> i64 {
        self.get(shard).and_then(|s| s.fences.get(route)).map_or(0, |(revision, _)| *revision)
    }

    /// Every readable fence: `(shard, route, mod revision, fence)`.
    pub(crate) fn fences(&self) -> impl Iterator<Item = (ShardUid, &str, i64, &Fence)> {
        self.0.iter().flat_map(|(shard, snapshot)| {
            snapshot.fences.iter().filter_map(|(route, (revision, fence))| {
                fence.as_ref().ok().map(|fence| (*shard, &route[..], *revision, fence))
            })
        })
    }

    /// The first value that cannot be read.
    pub(crate) fn unreadable(&self) -> Option<(ShardUid, &ValueError)> {
        self.0.iter().find_map(|(shard, snapshot)| {
            let table = snapshot.table.iter().filter_map(|(_, table)| table.as_ref().err());
            let fences = snapshot.fences.values().filter_map(|(_, fence)| fence.as_ref().err());
            let reigns = snapshot.reigns.values().filter_map(|(_, reign)| reign.as_ref().err());
            table.chain(fences).chain(reigns).next().map(|error| (*shard, error))
        })
    }

    /// The highest reign that any shard's fence of the route knows of.
    pub(crate) fn highest_reign(&self, route: &str) -> u64 {
        self.fences().filter(|(_, r, ..)| *r == route).map(|(.., fence)| fence.n).max().unwrap_or(0)
    }

    /// Where the route is open; the highest reign if there are several.
    pub(crate) fn owner(&self, route: &str) -> Option<(ShardUid, i64, &Fence)> {
        let open = self.fences().filter(|(_, r, _, fence)| *r == route && fence.state.is_open());
        open.max_by_key(|(.., fence)| fence.n).map(|(shard, _, revision, fence)| (shard, revision, fence))
    }
}
