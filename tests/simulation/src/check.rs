//! What must hold, at every commit and at the end.

use std::collections::{BTreeMap, BTreeSet};

use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::value::{Fence, State, Stored};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::oracle::Oracle;

use crate::clients::Told;
use crate::etcd::{Commit, Shard};
use crate::proxy::{PREFIX, ROUTE, SHARDS};

/// Looks at each commit of both shards, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Watchman {
    /// How far each log was looked at.
    seen: [usize; 2],
    fences: [Option<Fence>; 2],
    /// When clients were last seen to be held.
    pub held: Option<std::time::Duration>,
    /// What happened to the fences, for people.
    pub story: Vec<String>,
}

impl Watchman {
    /// # Errors
    /// What was committed that may not be.
    pub fn look(&mut self, shards: &[Shard; 2], at: std::time::Duration) -> Result<(), String> {
        let mut news: Vec<(usize, Commit)> = Vec::new();
        for (i, shard) in shards.iter().enumerate() {
            let store = shard.store();
            news.extend(store.log()[self.seen[i]..].iter().map(|commit| (i, commit.clone())));
            self.seen[i] = store.log().len();
        }
        news.sort_by_key(|(_, commit)| commit.place);
        for (i, commit) in news {
            self.commit(i, &commit, at)?;
        }
        if self.owner().is_none() && self.fences.iter().any(Option::is_some) {
            self.held = Some(at);
        }
        Ok(())
    }

    fn commit(&mut self, i: usize, commit: &Commit, at: std::time::Duration) -> Result<(), String> {
        let before = self.fences[i].clone();
        for event in &commit.events {
            let Some(kv) = &event.kv else { continue };
            match keys::parse(&kv.key) {
                Some(Key::Fence(ROUTE)) => {
                    if event.r#type() == EventType::Delete {
                        return Err(format!("the fence on {} was deleted", SHARDS[i]));
                    }
                    self.fence(i, kv, at)?;
                }
                None if kv.key.starts_with(PREFIX.as_bytes()) => {
                    let state = before.as_ref().map(|fence| &fence.state);
                    let is_held = matches!(state, Some(State::Sealed { .. } | State::Flipping { .. }));
                    if is_held && !commit.expired {
                        return Err(format!("{} was written under {state:?}", text(&kv.key)));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fence(&mut self, i: usize, kv: &KeyValue, at: std::time::Duration) -> Result<(), String> {
        let fence = Fence::decode(&kv.value).map_err(|e| e.to_string())?;
        self.story.push(format!(
            "{at:?} {}@{}: {} n={}",
            SHARDS[i],
            kv.mod_revision,
            fence.state.name(),
            fence.n
        ));
        if let Some(before) = &self.fences[i]
            && fence.begun() < before.begun()
        {
            return Err(format!("the fence on {} goes back from {before:?} to {fence:?}", SHARDS[i]));
        }
        self.fences[i] = Some(fence);
        if self.fences.iter().flatten().filter(|fence| fence.state.is_open()).count() > 1 {
            return Err(format!("two open fences: {:?}", self.fences));
        }
        Ok(())
    }

    /// The shard whose fence is open.
    pub fn owner(&self) -> Option<usize> {
        self.fences.iter().position(|fence| fence.as_ref().is_some_and(|fence| fence.state.is_open()))
    }

    /// Whether a migration is under way: the owner takes part in one. A target may be left from one that was abandoned.
    pub fn is_migrating(&self) -> bool {
        match self.owner() {
            Some(owner) => self.fences[owner].as_ref().is_some_and(Fence::is_migrating),
            None => true,
        }
    }

    /// Whether a target is left from a migration that was abandoned.
    pub fn is_left_over(&self) -> bool {
        !self.is_migrating() && self.fences.iter().flatten().any(Fence::is_migrating)
    }
}

/// Compares what clients were told with what happened.
///
/// # Errors
/// The first thing that is wrong.
pub fn clients(told: &Told, line: &Oracle) -> Result<(), String> {
    if let Some(wrong) = told.wrong.first() {
        return Err(wrong.clone());
    }
    acknowledged(told, line)?;
    let mut states = line.walk();
    let mut reads: Vec<_> = told.reads.iter().collect();
    reads.sort_by_key(|read| revision(&read.reply.header));
    for read in reads {
        let at = revision(&read.reply.header);
        if at < read.known {
            return Err(format!("a read at {at}, and {} was known before it was asked", read.known));
        }
        let there = states.at(at);
        let expected: Vec<&KeyValue> = match &read.key {
            None => there.values().copied().collect(),
            Some(key) => there.get(key.as_bytes()).copied().into_iter().collect(),
        };
        if let Some(wrong) = first_difference(&read.reply.kvs, &expected) {
            return Err(format!("a read of {:?} at {at}: {wrong}", read.key));
        }
    }
    for segment in &told.watches {
        let expected = line.since(segment.from);
        for (i, event) in segment.events.iter().enumerate() {
            if expected.get(i) != Some(event) {
                let (from, wanted) = (segment.from, expected.get(i));
                return Err(format!("event {i} of a watch from {from}: {event:?}, not {wanted:?}"));
            }
        }
    }
    Ok(())
}

/// Every watcher was told of everything up to the end.
///
/// # Errors
/// Which one was not.
pub fn watches_are_complete(told: &Told, line: &Oracle) -> Result<(), String> {
    let watchers: BTreeSet<usize> = told.watches.iter().map(|segment| segment.watcher).collect();
    for watcher in watchers {
        let last = told.watches.iter().rfind(|segment| segment.watcher == watcher);
        let Some(last) = last else { continue };
        let expected = line.since(last.from).len();
        if last.events.len() != expected {
            let (from, found) = (last.from, last.events.len());
            return Err(format!("watcher {watcher} has {found} of {expected} events from {from}"));
        }
    }
    Ok(())
}

fn acknowledged(told: &Told, line: &Oracle) -> Result<(), String> {
    let mut changes = BTreeMap::new();
    let mut values = BTreeSet::new();
    for event in line.since(0) {
        let kv = event.kv.clone().unwrap_or_default();
        if event.r#type() == EventType::Put && !values.insert((kv.key.clone(), kv.value.clone())) {
            return Err(format!("{} was written twice: {}", text(&kv.value), text(&kv.key)));
        }
        changes.insert((kv.mod_revision, kv.key.clone()), event);
    }
    for write in &told.acknowledged {
        let found = changes.get(&(write.revision, write.key.clone().into()));
        let value = found.map(|event| match event.r#type() {
            EventType::Put => event.kv.as_ref().map(|kv| text(&kv.value)),
            EventType::Delete => None,
        });
        if value.as_ref() != Some(&write.value) {
            return Err(format!("{write:?} was acknowledged, and is {value:?}"));
        }
    }
    Ok(())
}

fn first_difference(found: &[KeyValue], expected: &[&KeyValue]) -> Option<String> {
    let pair = found.iter().zip(expected).find(|(found, expected)| found != *expected);
    match pair {
        Some((found, expected)) => Some(format!("{found:?}, not {expected:?}")),
        None if found.len() != expected.len() => {
            Some(format!("{} keys, not {}", found.len(), expected.len()))
        }
        None => None,
    }
}

/// Whether both shards hold the same of the route: how the first difference looks.
pub fn difference(shards: &[Shard; 2]) -> Option<String> {
    let [a, b] = shards.each_ref().map(contents);
    (a != b).then(|| {
        let one_sided = a.symmetric_difference(&b).next();
        format!("{} keys on a, {} on b; {one_sided:?}", a.len(), b.len())
    })
}

fn contents(shard: &Shard) -> BTreeSet<(String, String, i64)> {
    let range = etcd_prism_tests::request::list(PREFIX);
    let store = shard.store();
    store.all(&range.key, &range.range_end).map(|kv| (text(&kv.key), text(&kv.value), kv.lease)).collect()
}

/// How many keys of the route a shard holds.
pub fn keys_of_route(shard: &Shard) -> usize {
    contents(shard).len()
}

fn revision(header: &Option<etcd_prism_proto::etcdserverpb::ResponseHeader>) -> i64 {
    header.as_ref().map_or(0, |header| header.revision)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
