//! An etcd, as far as it matters here: one route with one key.

use std::collections::BTreeMap;

use etcd_prism_ownership::drain::SessionList;
use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::migration::{Event, Phase, Record, View};
use etcd_prism_ownership::timeline::Reign;
use etcd_prism_ownership::txn::{Txn, Write};
use etcd_prism_ownership::value::{MIGRATES, ReignRecord, Session};
use etcd_prism_ownership::{DefinitionHash, Fence, ProxyId, ShardUid, State};

use super::Variant;

pub(super) const ROUTE: &str = "pods";
pub(super) const DEFINITION: DefinitionHash = DefinitionHash([1; 32]);

/// The value of the key; `None`: deleted.
pub type Value = Option<u8>;

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shard {
    pub id: ShardUid,
    pub revision: i64,
    pub fence: Option<(i64, Fence)>,
    pub reigns: BTreeMap<u64, (i64, ReignRecord)>,
    pub record: Option<(i64, Record)>,
    pub value: Value,
    /// The key has ended by itself where nobody ruled.
    pub(super) faded: bool,
    guard: Option<i64>,
    /// Of the key: raw revision and value.
    pub events: Vec<(i64, Value)>,
    /// By proxy, while its session stands: the fence that it has acknowledged; 0: none.
    pub sessions: Vec<Option<i64>>,
}

impl Shard {
    pub(super) fn new(id: ShardUid, revision: i64, proxies: usize) -> Self {
        Self {
            id,
            revision,
            fence: None,
            reigns: BTreeMap::new(),
            record: None,
            value: None,
            faded: false,
            guard: None,
            events: Vec::new(),
            sessions: vec![Some(0); proxies],
        }
    }

    /// The shard rules from the beginning.
    pub(super) fn owned(mut self) -> Self {
        self.revision += 1;
        let fence = Fence { n: 1, definition: DEFINITION, shard: self.id, state: State::Open { peer: None } };
        self.fence = Some((self.revision, fence));
        let record = ReignRecord { n: 1, shard: self.id, after: 0, floor: 0, since: 0, earlier: Vec::new() };
        self.reigns.insert(1, (self.revision, record));
        self
    }

    /// The fence's mod revision.
    pub(super) fn epoch(&self) -> i64 {
        self.fence.as_ref().map_or(0, |(revision, _)| *revision)
    }

    pub(super) fn state(&self) -> Option<&State> {
        self.fence.as_ref().map(|(_, fence)| &fence.state)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().is_some_and(State::is_open)
    }

    /// Whether a seal or a flip stands.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.state(), Some(State::Sealed { .. } | State::Flipping { .. }))
    }

    /// The last reign of the shard.
    pub(super) fn reign(&self) -> Option<Reign> {
        self.reigns.values().next_back().map(|(revision, record)| Reign::new(record, *revision))
    }

    pub(super) fn view(&self) -> View {
        View {
            revision: self.revision,
            fence: self.fence.clone().map(|(revision, fence)| (revision, Ok(fence))),
            reign: self.reigns.values().next_back().map(|(revision, r)| (*revision, Ok(r.clone()))),
            record: self.record.clone().map(|(revision, record)| (revision, Ok(record))),
        }
    }

    fn found(&self, key: &[u8]) -> i64 {
        match keys::parse(key) {
            Some(Key::Fence(_)) => self.epoch(),
            Some(Key::Reign { n, .. }) => self.reigns.get(&n).map_or(0, |(revision, _)| *revision),
            Some(Key::Migration(_)) => self.record.as_ref().map_or(0, |(revision, _)| *revision),
            other => unreachable!("{other:?}"),
        }
    }

    /// Whether it can still succeed, now or later.
    pub(super) fn may_handle(&self, txn: &Txn, variant: Variant) -> bool {
        let again = variant == Variant::SealDeletes;
        txn.compares.iter().all(|(key, expected)| again || self.found(key) <= *expected)
    }

    /// The revision if every compare held.
    pub(super) fn handle(&mut self, txn: &Txn, variant: Variant) -> Option<i64> {
        if txn.compares.iter().any(|(key, expected)| self.found(key) != *expected) {
            return None;
        }
        if let Some(kept) = self.kept(txn, variant) {
            self.write(txn, Some(kept), variant);
            return Some(kept);
        }
        self.revision += 1;
        self.write(txn, None, variant);
        Some(if variant == Variant::SealDeletes { self.epoch() } else { self.revision })
    }

    /// The epoch that a broken rule does not move on.
    fn kept(&self, txn: &Txn, variant: Variant) -> Option<i64> {
        let record = txn.puts.iter().find_map(|(_, write)| match write {
            Write::Migration(record) => Some(record.phase),
            _ => None,
        });
        let (epoch, before) = self.fence.as_ref()?;
        let fence = txn.puts.iter().find_map(|(_, write)| match write {
            Write::Fence(fence) => Some(fence),
            _ => None,
        })?;
        let keeps = match variant {
            Variant::NoDecision => matches!(fence.state, State::Flipping { .. }),
            Variant::NoRaise | Variant::RememberedG => fence == before && record.is_none(),
            Variant::PurgedUnderOneEpoch => fence == before && record == Some(Phase::Copy),
            _ => false,
        };
        keeps.then_some(*epoch)
    }

    fn write(&mut self, txn: &Txn, kept: Option<i64>, variant: Variant) {
        let revision = kept.unwrap_or(self.revision);
        for (key, write) in &txn.puts {
            match (keys::parse(key), write) {
                (_, Write::Fence(fence)) => {
                    let gone = variant == Variant::SealDeletes && matches!(fence.state, State::Sealed { .. });
                    self.fence = Some((if gone { 0 } else { revision }, fence.clone()));
                }
                (Some(Key::Reign { n, .. }), Write::Reign(record)) => {
                    self.reigns.insert(n, (revision, record.clone()));
                }
                (_, Write::Migration(record)) => self.record = Some((self.revision, terse(record))),
                other => unreachable!("{other:?}"),
            }
        }
    }

    /// A guarded apply under an epoch: whether the fence let it pass.
    pub(super) fn apply(&mut self, epoch: i64, at: i64, value: Value) -> bool {
        if self.epoch() != epoch {
            return false;
        }
        if self.guard.is_none_or(|guard| guard < at) {
            self.guard = Some(at);
            self.put(value);
        }
        true
    }

    /// A client's write, or an expiry.
    pub(super) fn put(&mut self, value: Value) -> i64 {
        self.revision += 1;
        self.value = value;
        self.faded = false;
        self.events.push((self.revision, value));
        self.revision
    }

    pub(super) fn fade(&mut self) {
        self.put(None);
        self.faded = true;
    }

    /// One page of a purge: whether the fence let it pass.
    pub(super) fn purge(&mut self, epoch: i64) -> bool {
        if self.epoch() != epoch {
            return false;
        }
        if self.value.is_some() || self.guard.is_some() {
            if self.value.is_some() {
                self.put(None);
            }
            self.guard = None;
        }
        true
    }

    /// What the key was at a raw revision.
    pub(super) fn at(&self, raw: i64) -> Value {
        self.events.iter().rev().find(|(revision, _)| *revision <= raw).and_then(|(_, value)| *value)
    }

    pub(super) fn list(&self, ack: impl Fn(i64) -> i64) -> SessionList {
        let session = |(i, ack_of): (usize, &Option<i64>)| {
            let acks = BTreeMap::from([(ROUTE.to_owned(), ack((*ack_of)?))]);
            let (name, address, revisions) = (String::new(), String::new(), BTreeMap::new());
            let session = Session { protocol: MIGRATES, name, address, started: 0, acks, revisions };
            Some((ProxyId(i as u128), Ok(session)))
        };
        SessionList {
            revision: self.revision,
            sessions: self.sessions.iter().enumerate().filter_map(session).collect(),
        }
    }
}

/// A record without what only people read.
fn terse(record: &Record) -> Record {
    let mut record = record.clone();
    record.history.retain(|event| !matches!(event, Event::Driver { .. }));
    let from = record.history.len().saturating_sub(1);
    record.history.drain(..from);
    record
}
