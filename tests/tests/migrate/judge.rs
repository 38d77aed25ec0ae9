//! What must be true of everything that clients were told, whatever has happened.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::oracle::Oracle;
use etcd_prism_tests::watch_check::{key, revision};
use tokio::time::Instant;

use crate::follow::Followed;
use crate::work::{Read, Told, Write};

/// The one history that all writes are: those that were acknowledged, and of the others those that some watcher was told of.
/// Panics where there is none.
pub fn history(start: &Oracle, told: &Told, followed: &[&Followed]) -> Oracle {
    let mut writes: Vec<(i64, &Write)> =
        told.writes.iter().filter_map(|write| Some((write.acked?.1, write))).collect();
    let acked: HashMap<(i64, &[u8]), &Write> =
        writes.iter().map(|(at, write)| ((*at, write.key.as_bytes()), *write)).collect();
    assert_eq!(acked.len(), writes.len(), "one revision for two writes of a key");
    let mut unknown: Vec<&Write> = told.writes.iter().filter(|write| write.acked.is_none()).collect();
    for ((at, key), event) in events(followed) {
        if at <= start.revision() || acked.contains_key(&(at, &key[..])) {
            continue;
        }
        let is_it = |write: &&Write| {
            let value = write.value.as_ref().map(String::as_bytes);
            let kv = event.kv.as_ref().expect("a key");
            let seen = (event.r#type() == EventType::Put).then_some(&kv.value[..]);
            write.key.as_bytes() == key && value == seen
        };
        // Each happened once at most.
        let found = unknown.iter().position(is_it).unwrap_or_else(|| panic!("nobody wrote this: {event:?}"));
        writes.push((at, unknown.swap_remove(found)));
    }
    writes.sort_by_key(|(at, _)| *at);
    for pair in writes.windows(2) {
        assert!(pair[0].0 < pair[1].0, "one revision for two writes: {pair:?}");
    }
    in_real_time(&writes);
    let mut oracle = start.clone();
    for (at, write) in writes {
        match &write.value {
            Some(value) => oracle.put(&write.key, value.as_bytes(), write.lease, at),
            None => oracle.delete(&write.key, at),
        }
    }
    oracle
}

/// What watchers were told, each event once; no two of them were told different things.
fn events<'a>(followed: &[&'a Followed]) -> BTreeMap<(i64, Bytes), &'a Event> {
    let mut out = BTreeMap::new();
    for of in followed {
        for event in of.log.events() {
            let before = out.insert((revision(event), Bytes::copy_from_slice(key(event))), event);
            assert!(
                before.is_none_or(|before| before.kv == event.kv),
                "{before:?} and {event:?} ({})",
                of.name
            );
        }
    }
    out
}

/// A write that was acknowledged before another one was sent has the lower revision.
fn in_real_time(writes: &[(i64, &Write)]) {
    let mut latest: Option<(Instant, i64)> = None;
    for (at, write) in writes {
        if let (Some((sent, before)), Some((acked, _))) = (latest, write.acked) {
            assert!(sent <= acked, "revisions go back: {before} was sent after {write:?} was acknowledged");
        }
        if latest.is_none_or(|(sent, _)| sent < write.sent) {
            latest = Some((write.sent, *at));
        }
    }
}

/// Every list shows exactly what there was at the revision that it names, and that is not older than what was acknowledged
/// before it was asked for.
pub fn reads(told: &mut Told, oracle: &Oracle) {
    let mut acked: Vec<(Instant, i64)> = told.writes.iter().filter_map(|write| write.acked).collect();
    acked.sort();
    let highest: Vec<i64> = acked
        .iter()
        .scan(0, |highest, (_, at)| {
            *highest = (*at).max(*highest);
            Some(*highest)
        })
        .collect();
    told.reads.sort_by_key(at);
    let mut line = oracle.walk();
    for read in &told.reads {
        let before = acked.partition_point(|(when, _)| *when < read.sent);
        let least = before.checked_sub(1).map_or(0, |last| highest[last]);
        assert!(at(read) >= least, "a list at {} was asked for when {least} was acknowledged", at(read));
        let expected = line.at(at(read));
        let is_it = read.reply.kvs.iter().eq(expected.values().copied());
        assert!(is_it, "a list at {} shows {:?}, not {expected:?}", at(read), read.reply.kvs);
    }
}

fn at(read: &Read) -> i64 {
    read.reply.header.as_ref().expect("a header").revision
}

/// Everything since it began, once, in order, and with the numbers that one etcd would have given.
pub fn watcher(of: &Followed, oracle: &Oracle) {
    of.log.check().unwrap_or_else(|error| panic!("{}: {error}", of.name));
    let found: Vec<&Event> = of.log.events().collect();
    let expected = oracle.since(of.from);
    let differs = found.iter().zip(&expected).position(|(found, expected)| **found != *expected);
    if let Some(i) = differs {
        panic!("event {i} of {} from {}: {:?}, not {:?}", of.name, of.from, found[i], expected[i]);
    }
    assert_eq!(found.len(), expected.len(), "events of {} from {}", of.name, of.from);
}
