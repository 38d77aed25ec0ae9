//! An etcd, as far as it matters here.

use std::collections::BTreeMap;

use etcd_prism_ownership::definition::Interval;
use etcd_prism_ownership::drain::SessionList;
use etcd_prism_ownership::facts::Snapshot;
use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::txn::{Txn, Write};
use etcd_prism_ownership::value::{PROTOCOL, ReignRecord, Session, Table};
use etcd_prism_ownership::{Claim, Fence, ProxyId, State};

use super::Variant;
use super::tables::{KEY, Tables};

/// A stored fence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredFence {
    pub mod_revision: i64,
    /// Kept for [`Variant::EpochIsVersion`]: writes since the key was made, 0 while it is deleted.
    pub version: i64,
    pub fence: Fence,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shard {
    pub revision: i64,
    pub table: (i64, Table),
    pub fences: BTreeMap<String, StoredFence>,
    reigns: BTreeMap<(String, u64), (i64, ReignRecord)>,
    /// Whether the clients' key exists.
    pub key: bool,
    /// When a route that owns the key was last sealed here: clients may have seen this revision of it.
    pub sealed: i64,
}

impl Shard {
    pub(super) fn new(table: &Table, fences: BTreeMap<String, Fence>) -> Self {
        let store = |(route, fence)| (route, StoredFence { mod_revision: 3, version: 1, fence });
        let fences = fences.into_iter().map(store).collect();
        Self {
            revision: 3,
            table: (2, table.clone()),
            fences,
            reigns: BTreeMap::new(),
            key: false,
            sealed: 0,
        }
    }

    /// The claim that is under way, if this is the arbiter.
    pub(super) fn pending(&self) -> Option<Claim> {
        self.table.1.pending.as_ref().map(|_| Claim(self.table.0))
    }

    /// The revision if every compare held.
    pub(super) fn handle(&mut self, txn: &Txn, tables: &Tables, variant: Variant) -> Option<i64> {
        let holds = |(key, expected): &(Vec<u8>, i64)| match keys::parse(key) {
            Some(Key::Table) => variant == Variant::BlindTable || self.table.0 == *expected,
            Some(Key::Fence(route)) => self.fences.get(route).map_or(0, |f| f.mod_revision) == *expected,
            Some(Key::Reign { route, n }) => {
                self.reigns.get(&(route.to_owned(), n)).map_or(0, |(revision, _)| *revision) == *expected
            }
            _ => false,
        };
        if !txn.compares.iter().all(holds) {
            return None;
        }
        self.revision += 1;
        for (key, write) in &txn.puts {
            match (keys::parse(key), write) {
                (_, Write::Table(table)) => self.table = (self.revision, Table::clone(table)),
                (Some(Key::Fence(route)), Write::Fence(fence)) => {
                    let version = self.fences.get(route).map_or(0, |f| f.version);
                    // Only the variant that seals by deleting looks at versions.
                    let gone = matches!(fence.state, State::Sealed { .. });
                    let version = match variant {
                        Variant::EpochIsVersion => {
                            if gone {
                                0
                            } else {
                                version + 1
                            }
                        }
                        _ => 1,
                    };
                    let mut fence = fence.clone();
                    if gone && tables.covers_key(fence.definition) {
                        self.sealed = self.revision;
                    }
                    if variant == Variant::NoFloor {
                        fence.n = self.reopened(route).unwrap_or(fence.n);
                    }
                    let stored = StoredFence { mod_revision: self.revision, version, fence };
                    self.fences.insert(route.to_owned(), stored);
                }
                (Some(Key::Reign { route, n }), Write::Reign(record)) => {
                    self.reigns.insert((route.to_owned(), n), (self.revision, record.clone()));
                }
                other => unreachable!("{other:?}"),
            }
        }
        Some(self.revision)
    }

    /// The reign of a route that is sealed.
    fn reopened(&self, route: &str) -> Option<u64> {
        let fence = &self.fences.get(route)?.fence;
        matches!(fence.state, State::Sealed { .. }).then_some(fence.n)
    }

    /// The floor of a route, by the record of its reign.
    pub(super) fn floor(&self, route: &str) -> i64 {
        let record = self.fences.get(route).and_then(|f| self.reigns.get(&(route.to_owned(), f.fence.n)));
        record.map_or(0, |(_, record)| record.floor)
    }

    /// What a driver reads. A `blind` one takes every claim for ended; where `current` is given, every claim passes for it.
    pub(super) fn snapshot(&self, blind: bool, current: Option<Claim>) -> Snapshot {
        let mut table = self.table.clone();
        if blind {
            table.1.pending = None;
        }
        let fence = |(route, stored): (&String, &StoredFence)| {
            let mut fence = stored.fence.clone();
            if let (
                Some(current),
                State::Importing { claim: Some(c), .. } | State::Sealed { claim: Some(c), .. },
            ) = (current, &mut fence.state)
            {
                *c = current;
            }
            (route.clone(), (stored.mod_revision, Ok(fence)))
        };
        let reigns = self
            .reigns
            .iter()
            .map(|(key, (revision, record))| (key.clone(), (*revision, Ok(record.clone()))));
        Snapshot {
            table: Some((table.0, Ok(table.1))),
            fences: self.fences.iter().map(fence).collect(),
            reigns: reigns.collect(),
        }
    }

    pub(super) fn sessions(&self, acks: Vec<BTreeMap<String, i64>>) -> SessionList {
        let session = |(i, acks)| {
            let (name, address, revisions) = (String::new(), String::new(), BTreeMap::new());
            let session = Session { protocol: PROTOCOL, name, address, started: 0, acks, revisions };
            (ProxyId(i as u128), Ok(session))
        };
        SessionList { revision: self.revision, sessions: acks.into_iter().enumerate().map(session).collect() }
    }

    pub(super) fn find(&self, intervals: &[Interval]) -> Option<Vec<u8>> {
        let inside = intervals.iter().any(|(start, end)| &**start <= KEY && KEY < &**end);
        (self.key && inside).then(|| KEY.to_vec())
    }
}
