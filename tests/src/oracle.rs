//! What one etcd would have held, from the writes that clients were told of: whatever a route has been through, they must see
//! nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_proto::mvccpb::{Event, KeyValue};

/// Every event of one line of revisions, in order, with previous values.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    events: Vec<Event>,
    now: BTreeMap<Bytes, KeyValue>,
}

impl Oracle {
    /// A put was acknowledged at this revision.
    pub fn put(&mut self, key: &str, value: &[u8], lease: i64, revision: i64) {
        self.rises(revision);
        let key = Bytes::copy_from_slice(key.as_bytes());
        let before = self.now.get(&key).cloned();
        let kv = KeyValue {
            key: key.clone(),
            value: Bytes::copy_from_slice(value),
            lease,
            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.as_ref().map_or(0, |kv| kv.version) + 1,
        };
        self.now.insert(key, kv.clone());
        self.push(EventType::Put, kv, before);
    }

    /// A deletion of a key that was there was acknowledged at this revision, or it expired.
    pub fn delete(&mut self, key: &str, revision: i64) {
        self.rises(revision);
        let before = self.now.remove(key.as_bytes());
        assert!(before.is_some(), "{key} was not there");
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.push(EventType::Delete, KeyValue { key, mod_revision: revision, ..KeyValue::default() }, before);
    }

    fn push(&mut self, kind: EventType, kv: KeyValue, prev_kv: Option<KeyValue>) {
        self.events.push(Event { r#type: kind.into(), kv: Some(kv), prev_kv });
    }

    fn rises(&self, revision: i64) {
        assert!(revision >= self.revision(), "revision {revision} after {}", self.revision());
    }

    /// Of the last event; 0 before the first.
    pub fn revision(&self) -> i64 {
        self.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision)
    }

    /// Every event, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What is there now.
    pub fn now(&self) -> &BTreeMap<Bytes, KeyValue> {
        &self.now
    }

    /// What was there at a revision.
    pub fn at(&self, revision: i64) -> Vec<KeyValue> {
        let mut out = BTreeMap::new();
        for event in &self.events {
            let Some(kv) = event.kv.as_ref().filter(|kv| kv.mod_revision <= revision) else { break };
            match event.r#type() {
                EventType::Put => out.insert(kv.key.clone(), kv.clone()),
                EventType::Delete => out.remove(&kv.key),
            };
        }
        out.into_values().collect()
    }

    /// What was there, revision after revision.
    pub fn walk(&self) -> Walk<'_> {
        Walk { rest: &self.events, now: BTreeMap::new() }
    }

    /// Every event from a revision on.
    pub fn since(&self, revision: i64) -> Vec<Event> {
        let late = |event: &&Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision >= revision);
        self.events.iter().filter(late).cloned().collect()
    }
}

/// One state after the other.
#[derive(Debug)]
pub struct Walk<'a> {
    rest: &'a [Event],
    now: BTreeMap<&'a [u8], &'a KeyValue>,
}

impl<'a> Walk<'a> {
    /// What was there at a revision; none of those asked for before is higher.
    pub fn at(&mut self, revision: i64) -> &BTreeMap<&'a [u8], &'a KeyValue> {
        while let Some((event, rest)) = self.rest.split_first() {
            let Some(kv) = event.kv.as_ref().filter(|kv| kv.mod_revision <= revision) else { break };
            match event.r#type() {
                EventType::Put => self.now.insert(&kv.key, kv),
                EventType::Delete => self.now.remove(&kv.key[..]),
            };
            self.rest = rest;
        }
        &self.now
    }
}
