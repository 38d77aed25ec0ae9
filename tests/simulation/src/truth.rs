//! What really happened, from the logs of the shards: the line of the route that clients must have seen.

use std::collections::BTreeMap;

use etcd_prism_ownership::id::ShardUid;
use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::timeline::{Reign, Timeline};
use etcd_prism_ownership::value::{Identity, ReignRecord, Stored};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::oracle::Oracle;

use crate::etcd::{Commit, Shard};
use crate::proxy::{PREFIX, ROUTE};

/// Puts together what the owners committed while they ruled, in the revisions of the line.
///
/// # Errors
/// The reigns that are stored follow no order.
pub fn line(shards: &[Shard; 2]) -> Result<Oracle, String> {
    let mut reigns: BTreeMap<u64, Reign> = BTreeMap::new();
    for shard in shards {
        for (_, event) in events(shard.store().log()) {
            let Some(kv) = put(&event) else { continue };
            if let Some(Key::Reign { route: ROUTE, n }) = keys::parse(&kv.key) {
                let record = ReignRecord::decode(&kv.value).map_err(|e| e.to_string())?;
                let reign = record.on_line(kv.mod_revision);
                // Whoever abandons a shard raises the floor in the record, and nothing else.
                if let Some(before) = reigns.insert(n, reign)
                    && before != reign
                {
                    return Err(format!("reign {n} has begun twice: {before:?}, {reign:?}"));
                }
            }
        }
    }
    let timeline = Timeline::new(reigns.into_values().collect()).map_err(|e| e.to_string())?;
    let mut events_of_line = BTreeMap::new();
    for shard in shards {
        let uid = uid(shard)?;
        for (revision, event) in events(shard.store().log()) {
            let is_ours = event.kv.as_ref().is_some_and(|kv| kv.key.starts_with(PREFIX.as_bytes()));
            if let (true, Ok(on_line)) = (is_ours, timeline.up(uid, revision)) {
                events_of_line.entry(on_line).or_insert_with(Vec::new).push(event);
            }
        }
    }
    let mut oracle = Oracle::default();
    for (revision, events) in events_of_line {
        for event in events {
            let kv = event.kv.unwrap_or_default();
            let key = String::from_utf8_lossy(&kv.key);
            match event.r#type {
                kind if kind == i32::from(EventType::Put) => oracle.put(&key, &kv.value, kv.lease, revision),
                _ if !oracle.now().contains_key(&kv.key) => {
                    return Err(format!("{key} is deleted at {revision} and was not there"));
                }
                _ => oracle.delete(&key, revision),
            }
        }
    }
    Ok(oracle)
}

/// Who a shard is.
///
/// # Errors
/// Nobody has told it yet.
pub fn uid(shard: &Shard) -> Result<ShardUid, String> {
    let store = shard.store();
    let kv = store.key(keys::IDENTITY).ok_or("a shard has no identity")?;
    Ok(Identity::decode(&kv.value).map_err(|e| e.to_string())?.id)
}

fn events(log: &[Commit]) -> Vec<(i64, Event)> {
    let of = |commit: &Commit| {
        commit.events.iter().map(|event| (commit.revision, event.clone())).collect::<Vec<_>>()
    };
    log.iter().flat_map(of).collect()
}

fn put(event: &Event) -> Option<&etcd_prism_proto::mvccpb::KeyValue> {
    event.kv.as_ref().filter(|_| event.r#type() == EventType::Put)
}
