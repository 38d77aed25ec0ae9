//! Keys, their versions, and the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_proto::mvccpb::{Event, KeyValue};

use super::Refusal;
use super::lease::Lease;

/// What one revision changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    pub revision: i64,
    /// Its place among the commits of all shards.
    pub place: u64,
    /// In the order in which they were made, with what was there before.
    pub events: Vec<Event>,
    /// A lease ended; nobody wrote this.
    pub expired: bool,
}

/// A key at a revision; `None`: it was deleted there.
#[derive(Debug)]
struct Version {
    revision: i64,
    kv: Option<KeyValue>,
}

/// Everything that a shard holds.
#[derive(Debug)]
pub struct Store {
    /// Counts the commits of all shards.
    pub(super) places: Arc<AtomicU64>,
    revision: i64,
    compacted: i64,
    pub(super) was_compacted: bool,
    /// The quota is used up: nothing that grows is taken.
    pub full: bool,
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// The whole log, what was compacted included. Revision 2 is the first.
    log: Vec<Commit>,
    pub(super) leases: BTreeMap<i64, Lease>,
    pub(super) next_lease: i64,
}

impl Store {
    pub(super) fn new(places: Arc<AtomicU64>) -> Self {
        Self {
            places,
            revision: 1,
            compacted: -1,
            was_compacted: false,
            full: false,
            keys: BTreeMap::new(),
            log: Vec::new(),
            leases: BTreeMap::new(),
            next_lease: 1000,
        }
    }
}

/// Changes under way, all of one revision.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) events: Vec<Event>,
}

impl Store {
    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Everything that was ever committed.
    pub fn log(&self) -> &[Commit] {
        &self.log
    }

    /// The log from a revision on.
    pub fn since(&self, revision: i64) -> &[Commit] {
        let begun = self.log.partition_point(|commit| commit.revision < revision);
        &self.log[begun..]
    }

    /// # Errors
    /// As etcd: below what is compacted already, or above the present revision.
    pub fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::Future);
        }
        (self.compacted, self.was_compacted) = (revision, true);
        Ok(())
    }

    /// The keys of a range as they are (`at`: 0) or were.
    pub(super) fn keys<'s>(
        &'s self,
        key: &[u8],
        end: &[u8],
        at: i64,
    ) -> impl Iterator<Item = &'s KeyValue> + use<'s> {
        let from = Bytes::copy_from_slice(key);
        let end = match end {
            b"" => [key, b"\0"].concat(),
            b"\0" => Vec::new(),
            end => end.to_vec(),
        };
        self.keys.range(from..).take_while(move |(key, _)| end.is_empty() || key[..] < end[..]).filter_map(
            move |(_, versions)| {
                let known = match at {
                    0 => versions.len(),
                    at => versions.partition_point(|version| version.revision <= at),
                };
                versions[..known].last()?.kv.as_ref()
            },
        )
    }

    /// The keys of a range as they are.
    pub fn all<'s>(&'s self, key: &[u8], end: &[u8]) -> impl Iterator<Item = &'s KeyValue> + use<'s> {
        self.keys(key, end, 0)
    }

    /// A key as it is.
    pub fn key(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    pub(super) fn put(&mut self, changes: &mut Changes, key: Bytes, value: Bytes, lease: i64) {
        let revision = self.revision + 1;
        let before = self.key(&key).cloned();
        let kv = KeyValue {
            key: key.clone(),
            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.as_ref().map_or(0, |kv| kv.version) + 1,
            value,
            lease,
        };
        self.attach(&key, before.as_ref().map_or(0, |kv| kv.lease), lease);
        self.keys.entry(key).or_default().push(Version { revision, kv: Some(kv.clone()) });
        changes.events.push(Event { r#type: EventType::Put.into(), kv: Some(kv), prev_kv: before });
    }

    pub(super) fn delete(&mut self, changes: &mut Changes, key: &Bytes) {
        let revision = self.revision + 1;
        let Some(before) = self.key(key).cloned() else { return };
        self.attach(key, before.lease, 0);
        self.keys.entry(key.clone()).or_default().push(Version { revision, kv: None });
        let kv = KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() };
        changes.events.push(Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: Some(before) });
    }

    /// Ends a write: nothing that changed nothing has a revision.
    pub(super) fn commit(&mut self, changes: Changes, expired: bool) {
        if !changes.events.is_empty() {
            self.revision += 1;
            let place = self.places.fetch_add(1, Ordering::Relaxed);
            self.log.push(Commit { revision: self.revision, place, events: changes.events, expired });
        }
    }
}
