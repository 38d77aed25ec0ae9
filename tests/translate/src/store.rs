//! A store as etcd keeps one: every key's past, by revision.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use etcd_prism_proto::mvccpb::{Event, KeyValue};

/// A change of one key: its new value, or its end.
pub type Change = (String, Option<Bytes>);

#[derive(Debug, Default)]
pub struct Store {
    revision: i64,
    /// By key: its states, each with the revision at which it began; `None` is a delete.
    keys: BTreeMap<String, Vec<(i64, Option<KeyValue>)>>,
    /// What was written, in order.
    log: Vec<(i64, String)>,
}

impl Store {
    /// An empty store; etcd's first revision is 1.
    pub fn new() -> Self {
        Self { revision: 1, ..Self::default() }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Writes of others.
    pub fn advance(&mut self, by: i64) {
        self.revision += by;
    }

    /// One transaction. Deletes of what is not there are no changes; without a change there is no new revision.
    pub fn write(&mut self, changes: &[Change]) -> i64 {
        self.write_at(self.revision + 1, changes)
    }

    /// The same, at a revision above the present one.
    pub fn write_at(&mut self, revision: i64, changes: &[Change]) -> i64 {
        let before = self.revision;
        for (key, value) in changes {
            let old = self.get(key, before);
            let new = value.as_ref().map(|value| KeyValue {
                key: Bytes::from(key.clone()),
                create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                mod_revision: revision,
                version: old.as_ref().map_or(1, |old| old.version + 1),
                value: value.clone(),
                lease: 0,
            });
            if old.is_some() || new.is_some() {
                self.keys.entry(key.clone()).or_default().push((revision, new));
                self.log.push((revision, key.clone()));
                self.revision = revision;
            }
        }
        self.revision
    }

    pub fn get(&self, key: &str, at: i64) -> Option<KeyValue> {
        let states = self.keys.get(key)?;
        states.iter().rev().find(|(revision, _)| *revision <= at)?.1.clone()
    }

    /// Every key with this prefix that is there at a revision.
    pub fn range(&self, prefix: &str, at: i64) -> Vec<KeyValue> {
        let keys = self.keys.range(prefix.to_owned()..).map(|(key, _)| key);
        keys.take_while(|key| key.starts_with(prefix)).filter_map(|key| self.get(key, at)).collect()
    }

    /// What a watch on the prefix delivers, each event with the state before it.
    pub fn events(&self, prefix: &str, revisions: RangeInclusive<i64>) -> Vec<Event> {
        let log = self.log.iter().filter(|(at, key)| revisions.contains(at) && key.starts_with(prefix));
        log.map(|(at, key)| {
            let kv = self.get(key, *at);
            let gone = KeyValue { key: Bytes::from(key.clone()), mod_revision: *at, ..KeyValue::default() };
            Event {
                r#type: i32::from(kv.is_none()),
                kv: Some(kv.unwrap_or(gone)),
                prev_kv: self.get(key, at - 1),
            }
        })
        .collect()
    }
}
